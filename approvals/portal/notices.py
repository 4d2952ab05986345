"""The notice centre: everything that concerned a person, newest first, and what is unread."""

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import urlencode

from approvals.domain.notices import QUESTIONS
from approvals.domain.refusals import Invalid, NotFound
from approvals.portal import views
from approvals.portal.views import PortalRequest
from approvals.selectors import clock, frame, noticing
from approvals.services import notice_centre

ROWS = 25
#: Where notices lead that are about no request, by their kind's first word.
_PAGES = {"ledger": "audit", "review": "reviews"}


@views.page("GET")
def page(request: PortalRequest) -> HttpResponse:
    """Show the notices; to htmx only what changes, 204 while nothing did."""
    before = _number(request.GET.get("before"))
    only_unread = request.GET.get("show") == "unread"
    lines = noticing.centre(
        person=request.user, before=before, only_unread=only_unread, limit=ROWS + 1
    )
    more, lines = len(lines) > ROWS, lines[:ROWS]
    seen = noticing.mark(lines)
    fragment = views.wants_fragment(request)
    if fragment and request.GET.get("seen") == seen:
        return HttpResponse(status=204)
    context = {
        "lines": lines,
        "now": clock.now(),
        "before": before,
        "only_unread": only_unread,
        "older": lines[-1].id if more else None,
        "newest": lines[0].id if lines else 0,
        "seen": seen,
        "polls": before is None,
    }
    return render(request, "notices/_live.html" if fragment else "notices/page.html", context)


@views.page("GET")
def count(request: PortalRequest) -> HttpResponse:
    """Return the counts of the navigation, the inbox's too; 204 while the page shows them."""
    counts = frame.counts(person=request.user)
    if request.GET.get("seen") == f"{counts.notices}.{counts.inbox}":
        return HttpResponse(status=204)
    context = {"notice_count": counts.notices, "inbox_count": counts.inbox, "with_inbox": True}
    return render(request, "notices/_count.html", context)


@views.page("GET")
def follow(request: PortalRequest, notice_id: int) -> HttpResponse:
    """Lead to what a notice is about; it is read then.

    What asks for a decision leads to the inbox, what asks for an answer to the request's questions.
    """
    line = noticing.line(person=request.user, notice_id=notice_id)
    if line is None:
        raise NotFound("There is no such notice.")
    if request.method == "GET":  # a link that is only looked at reads nothing
        notice_centre.read(actor=request.user, notice_id=notice_id, now=clock.now())
    if line.request_id is None:
        return redirect(_PAGES.get(line.kind.partition("_")[0], "notices"))
    if line.kind in QUESTIONS:
        return redirect(reverse("request", args=[line.request_id]) + "#questions")
    if line.is_asking:
        return redirect(f"{reverse('inbox')}?{urlencode({'request': str(line.request_id)})}")
    return redirect("request", request_id=line.request_id)


@views.page("POST")
def read(request: PortalRequest, notice_id: int) -> HttpResponse:
    """Mark one notice as read."""
    notice_centre.read(actor=request.user, notice_id=notice_id, now=clock.now())
    return _back(request)


@views.page("POST")
def read_all(request: PortalRequest) -> HttpResponse:
    """Mark everything up to the newest notice that the page showed as read."""
    up_to = _number(request.POST.get("up_to")) or 0
    notice_centre.read_all(actor=request.user, up_to=up_to, now=clock.now())
    messages.success(request, "All notices are read.")
    return _back(request)


def _back(request: PortalRequest) -> HttpResponse:
    only_unread = request.POST.get("show") == "unread"
    return redirect(reverse("notices") + ("?show=unread" if only_unread else ""))


def _number(value: str | None) -> int | None:
    """Return a notice's number in a link, None without one. Raises: Invalid."""
    if not value:
        return None
    if not (value.isascii() and value.isdigit() and len(value) <= 18):
        raise Invalid("This link to the next notices is broken. Start from the newest.")
    return int(value)
