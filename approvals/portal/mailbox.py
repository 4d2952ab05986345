"""The demo's page with the mail that was sent. There is no such page outside a demo."""

from collections.abc import Callable
from functools import partial, wraps
from pathlib import Path

from csp.decorators import csp, csp_update
from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.views.decorators.http import require_safe

from approvals.selectors import demo_mail

_View = Callable[..., HttpResponseBase]

#: A mail may show itself with its own inline styles and open its links in a new tab; nothing else.
_MAIL_POLICY = {
    "sandbox": ["allow-popups", "allow-popups-to-escape-sandbox"],
    "default-src": ["'none'"],
    "style-src": ["'unsafe-inline'"],
    "form-action": ["'none'"],
    "base-uri": ["'none'"],
    "frame-ancestors": ["'self'"],
}


def _only_in_a_demo(view: _View) -> _View:
    """Let signed-in people of a demo in; everywhere else there is nothing here."""
    guarded = login_required(view)

    @wraps(view)
    def wrapped(request: HttpRequest, **arguments: str) -> HttpResponseBase:
        if not (settings.DEMO and settings.DEMO_MAIL_DIR):
            raise Http404
        return guarded(request, **arguments)

    return wrapped


@require_safe
@_only_in_a_demo
def page(request: HttpRequest) -> HttpResponse:
    """List the mail that was sent, newest first; `?to=` leaves one person's."""
    to = request.GET.get("to", "")
    mails, people = demo_mail.newest(Path(settings.DEMO_MAIL_DIR), to=to)
    context = {"mails": mails, "people": people, "to": to, "most": demo_mail.NEWEST}
    return render(request, "demo/mail.html", context)


@require_safe
@_only_in_a_demo
def message(request: HttpRequest, *, name: str) -> HttpResponseBase:
    """Show one mail in both its forms; `?form=html` is the HTML form alone, in a sandbox."""
    mail = demo_mail.one(Path(settings.DEMO_MAIL_DIR), name=name)
    if mail is None:
        raise Http404
    if request.GET.get("form") == "html":
        return csp(_MAIL_POLICY)(partial(_alone, mail=mail))(request)
    return csp_update({"frame-src": ["'self'"]})(partial(_framed, mail=mail))(request)


def _framed(request: HttpRequest, *, mail: demo_mail.Mail) -> HttpResponse:
    return render(request, "demo/message.html", {"mail": mail})


def _alone(request: HttpRequest, *, mail: demo_mail.Mail) -> HttpResponse:
    if not mail.html:
        raise Http404
    return HttpResponse(mail.html, headers={"X-Frame-Options": "SAMEORIGIN"})
