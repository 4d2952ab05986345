"""What every page's view shares: who may call it and how, refusals as pages, cursors in links."""

import uuid
from collections.abc import Callable
from datetime import datetime
from functools import wraps
from typing import Any, Concatenate, ParamSpec, cast

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.views import redirect_to_login
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import render, resolve_url
from django.utils.cache import add_never_cache_headers
from django.utils.http import urlencode
from django_htmx.http import HttpResponseClientRedirect, reswap, retarget
from django_htmx.middleware import HtmxDetails

from approvals.directory.models import User
from approvals.domain.refusals import Invalid, NotFound, Refusal
from approvals.selectors.requests import Cursor

P = ParamSpec("P")

#: Marks an answer of 4xx as a part of a page, for live.js.
PART = "X-Page-Part"


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
    message and status; what the person may not see is the 404 page. To htmx either is
    a message on the page that it has, and every refusal that is a part of a page is marked as
    one (PART): nothing else with a status of 4xx is put into it.
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
            asked = cast(PortalRequest, request)
            try:
                response = view(asked, *args, **kwargs)
            except (NotFound, Http404) as refusal:
                if not wants_fragment(asked):
                    raise Http404(str(refusal)) from refusal
                response = _told(
                    asked, "Not found. It may not exist, or you may not have access.", status=404
                )
            except Refusal as refusal:
                if wants_fragment(asked):
                    response = _told(asked, refusal.message, status=refusal.status)
                else:
                    response = render(
                        request, "refused.html", {"refusal": refusal}, status=refusal.status
                    )
            if wants_fragment(asked) and response.status_code >= 400 and _is_part(response):
                response[PART] = "1"
            add_never_cache_headers(response)
            return response

        return wrapper

    return decorate


def _told(request: PortalRequest, message: str, *, status: int) -> HttpResponse:
    """Return the messages of the page that htmx has, with this one as an error."""
    messages.error(request, message)
    response = render(request, "_messages.html", status=status)
    return reswap(retarget(response, "#messages"), "outerHTML")


def _is_part(response: HttpResponse) -> bool:
    return not response.streaming and response.content.lstrip()[:9].lower() != b"<!doctype"


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
