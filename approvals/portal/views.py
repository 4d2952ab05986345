"""What every page's view shares: who may call it and how, refusals as pages, cursors in links."""

import uuid
from collections.abc import Callable
from datetime import datetime
from functools import wraps
from typing import Any, Concatenate, ParamSpec, cast

from django.conf import settings
from django.contrib.auth.views import redirect_to_login
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import render, resolve_url
from django.utils.cache import add_never_cache_headers
from django.utils.http import urlencode
from django_htmx.http import HttpResponseClientRedirect
from django_htmx.middleware import HtmxDetails

from approvals.directory.models import User
from approvals.domain.refusals import Invalid, NotFound, Refusal
from approvals.selectors.requests import Cursor

P = ParamSpec("P")


class PortalRequest(HttpRequest):
    """A request of somebody who is signed in, as `page` hands it to a view."""

    user: User
    htmx: HtmxDetails


def page(
    *methods: str,
) -> Callable[
    [Callable[Concatenate[PortalRequest, P], HttpResponse]],
    Callable[Concatenate[HttpRequest, P], HttpResponse],
]:
    """Make a view a page of the portal: signed in, of these methods only, never cached.

    Others are sent to sign in. A refusal that the view lets through becomes a page with its
    message and status; what is none of the person's business is the 404 page.
    """
    allowed = {*methods, *(["HEAD"] if "GET" in methods else [])}

    def decorate(
        view: Callable[Concatenate[PortalRequest, P], HttpResponse],
    ) -> Callable[Concatenate[HttpRequest, P], HttpResponse]:
        @wraps(view)
        def wrapper(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponse:
            if request.method not in allowed:
                return HttpResponseNotAllowed(sorted(allowed))
            if not request.user.is_authenticated:
                return _sign_in(request)
            try:
                response = view(cast(PortalRequest, request), *args, **kwargs)
            except NotFound as refusal:
                raise Http404(refusal.message) from refusal
            except Refusal as refusal:
                response = render(
                    request, "refused.html", {"refusal": refusal}, status=refusal.status
                )
            add_never_cache_headers(response)
            return response

        return wrapper

    return decorate


def _sign_in(request: HttpRequest) -> HttpResponse:
    htmx: HtmxDetails = request.htmx  # type: ignore[attr-defined]
    if htmx:  # a fragment must not be filled with the sign-in page
        here = htmx.current_url_abs_path or "/"
        query = urlencode({"next": here})
        return HttpResponseClientRedirect(f"{resolve_url(settings.LOGIN_URL)}?{query}")
    return redirect_to_login(request.get_full_path() if request.method == "GET" else "/")


def wants_fragment(request: PortalRequest) -> bool:
    """Return whether htmx asks for a part of the page, not for a page that it lost."""
    return bool(request.htmx) and not request.htmx.history_restore_request


def text(value: Any) -> str:
    """Return a query parameter as text that may be searched for: no NULs, 200 characters."""
    return str(value or "").replace("\0", "")[:200].strip()


def cursor_text(cursor: Cursor) -> str:
    """Return a cursor as it stands in a link."""
    return f"{cursor.at.isoformat()}~{cursor.id}"


def read_cursor(value: str | None) -> Cursor | None:
    """Return the cursor of a link, None without one. Raises: Invalid."""
    if not value:
        return None
    at, _, key = value.partition("~")
    try:
        cursor = Cursor(datetime.fromisoformat(at), uuid.UUID(key))
    except ValueError as error:
        raise Invalid("This link to the next rows is broken. Start from the first page.") from error
    if cursor.at.tzinfo is None:
        raise Invalid("This link to the next rows is broken. Start from the first page.")
    return cursor
