"""Several requests at once: one page that shows what will happen, then what came of each."""

import uuid
from typing import Any, NamedTuple

from django.http import HttpResponse
from django.shortcuts import redirect, render

from approvals.domain.refusals import Invalid, NotFound, Refusal, StaleRevision
from approvals.portal import inbox, repeats, views
from approvals.portal.views import PortalRequest
from approvals.selectors import clock, deciding, requests, sifting
from approvals.selectors.asking import AccessRequest
from approvals.services import bulk

VERDICTS = {"approve": "Approve", "deny": "Deny"}
#: Where the session has what came of the last decisions: a page that is loaded again tells it.
_KEPT = "decided_together"


class Line(NamedTuple):
    """What came of one decision, in a sentence; `record` is None for what one may not see."""

    record: AccessRequest | None
    told: str
    is_done: bool
    again: bool
    """Whether reading it again and deciding then may work."""


@views.page("GET", "POST")
def page(request: PortalRequest) -> HttpResponse:
    """Show what the verdict will do to what is selected; when posted decide, then lead to `done`.

    The same form again decides nothing again.
    """
    given = request.POST if request.method == "POST" else request.GET
    verdict = given.get("verdict", "")
    if verdict not in VERDICTS:
        raise Invalid("Choose approve or deny.")
    seen = sifting.selected(given.getlist("pick")[: 2 * bulk.MOST])
    sieve = inbox.sieve_of(given.get("sieve", ""))
    problem: Refusal | None = None
    form_key = given.get(repeats.FIELD, "")[:100]
    if request.method == "POST" and form_key and form_key == _kept(request).get("key"):
        return redirect("inbox_bulk_done")
    if request.method == "POST":
        try:
            outcomes = bulk.decide(
                actor=request.user,
                seen=[bulk.Seen(key, revision) for key, revision in seen.items()],
                verdict=verdict,
                comment=given.get("comment", ""),
                clock=clock.now,
            )
        except Invalid as refusal:
            problem = refusal
        else:
            lines = [_line(request, outcome) for outcome in outcomes]
            request.session[_KEPT] = {
                "key": form_key,
                "sieve": sieve.query,
                "lines": [
                    (str(line.record.request_id) if line.record else "", *line[1:])
                    for line in lines
                ],
            }
            return redirect("inbox_bulk_done")
    elif not seen:
        raise Invalid("Select at least one request in the inbox.")
    elif len(seen) > bulk.MOST:
        raise Invalid(f"Decide on at most {bulk.MOST} requests at once.")
    context = {
        "found": sifting.together(person=request.user, seen=seen),
        "verdict": verdict,
        "word": VERDICTS[verdict],
        "comment": given.get("comment", "") if problem else "",
        "problem": problem,
        "sieve": sieve,
        "now": clock.now(),
    }
    return render(request, "inbox/bulk.html", context, status=problem.status if problem else 200)


@views.page("GET")
def done(request: PortalRequest) -> HttpResponse:
    """Tell what came of each that the person decided on last, however often it is loaded."""
    kept = _kept(request)
    if not kept:
        return redirect("inbox")
    records = requests.current_many(uuid.UUID(line[0]) for line in kept["lines"] if line[0])
    lines = [
        Line(records.get(uuid.UUID(key)) if key else None, *rest) for key, *rest in kept["lines"]
    ]
    context = {
        "lines": lines,
        "done": sum(line.is_done for line in lines),
        "sieve": inbox.sieve_of(kept["sieve"]),
    }
    return render(request, "inbox/bulk_done.html", context)


def _kept(request: PortalRequest) -> dict[str, Any]:
    """Return what came of the last decisions of this session, empty before any."""
    found: dict[str, Any] = request.session.get(_KEPT) or {}
    return found


def _line(request: PortalRequest, outcome: bulk.Outcome) -> Line:
    """Return the outcome as the page tells it (of what was refused at most nine queries)."""
    if outcome.record is not None:
        return Line(outcome.record, _done(outcome.record), is_done=True, again=False)
    assert outcome.refusal is not None
    try:
        record = deciding.readable(outcome.seen.request_id, by=request.user)
    except NotFound as unknown:
        return Line(None, unknown.message, is_done=False, again=False)
    refusal = inbox.explained(request, outcome.seen.request_id, outcome.refusal)
    return Line(
        record,
        refusal.message,
        is_done=False,
        again=isinstance(refusal, StaleRevision) or refusal.code == "unavailable",
    )


def _done(record: AccessRequest) -> str:
    if record.state == "denied":
        return "Denied. The requester is told, with your comment."
    if record.state == "approved":
        return "Approved. The access is being made."
    return f"Approved. Level {record.level}, {record.level_name}, is asked."
