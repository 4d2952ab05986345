"""The look that somebody chose: a theme, single keys or none, and pages that stay as they are.

They are kept in cookies, not with the person: they belong to a screen and a keyboard, and the pages
that come before sign-in have them too. The frame renders them, so that no page flashes.
"""

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect
from django.utils.cache import add_never_cache_headers
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST

THEMES = ("system", "light", "dark")
_YEAR_SECONDS = 365 * 24 * 3600
_DEFAULTS = {"theme": "system", "keys": "on", "live": "on"}
_CHOICES = {"theme": THEMES, "keys": ("on", "off"), "live": ("on", "off")}


def chosen(request: HttpRequest, name: str) -> str:
    """Return what was chosen for `theme`, `keys` or `live`, or the default."""
    value = request.COOKIES.get(name, "")
    return value if value in _CHOICES[name] else _DEFAULTS[name]


def next_theme(theme: str) -> str:
    """Return the theme that a press on the switch goes to."""
    return THEMES[(THEMES.index(theme) + 1) % len(THEMES)]


@require_POST
def choose(request: HttpRequest) -> HttpResponse:
    """Keep what was posted of `theme`, `keys` and `live`, and go back to `next`; anybody may.

    What is no choice changes nothing.
    """
    target = request.POST.get("next", "")
    is_ours = url_has_allowed_host_and_scheme(
        target, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    )
    response = redirect(target if is_ours else "/")
    for name, choices in _CHOICES.items():
        value = request.POST.get(name)
        if value in choices:
            _keep(response, name, value)
    add_never_cache_headers(response)
    return response


def _keep(response: HttpResponseBase, name: str, value: str) -> None:
    if value == _DEFAULTS[name]:
        response.delete_cookie(name, samesite="Lax")
        return
    response.set_cookie(
        name,
        value,
        max_age=_YEAR_SECONDS,
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )
