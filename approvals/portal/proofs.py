"""Where a request's revisions stand in the log, and the files that prove it without the portal."""

import uuid
from collections.abc import Callable

from django.http import HttpResponse
from django.shortcuts import render

from approvals.domain.refusals import Invalid, NotFound, Refusal
from approvals.portal import views
from approvals.portal.views import PortalRequest
from approvals.selectors import requests as reads
from approvals.selectors import sealing
from approvals.selectors.timeline import AccessRequest
from audit.selectors import log as ledger
from audit.selectors import proofs
from audit.selectors.proofs import NoSuchLeaf, Proven
from audit.selectors.state import Log

#: What is sent, how the file's name ends, and its type.
PARTS: dict[str, tuple[Callable[[Proven], bytes | None], str, str]] = {
    "proof": (lambda proven: proven.proof, "tlog-proof", "text/plain; charset=utf-8"),
    "entry": (lambda proven: proven.entry, "entry.json", "application/json"),
    "payload": (lambda proven: proven.payload, "payload.json", "application/json"),
}


class NotSealed(Refusal):
    """The entry still waits for the sealer."""


@views.page("GET")
def card(request: PortalRequest, request_id: uuid.UUID) -> HttpResponse:
    """Return the Proof card alone, which asks for itself while the newest revision waits."""
    record = reads.visible(request_id, to=request.user)
    return render(request, "request/_proof.html", context(request, record))


@views.page("GET")
def proof(request: PortalRequest, request_id: uuid.UUID) -> HttpResponse:
    """Send the proof of the newest revision, or of `?revision=`."""
    return _file_of(request, request_id, "proof")


@views.page("GET")
def entry(request: PortalRequest, request_id: uuid.UUID) -> HttpResponse:
    """Send the exact bytes that the proof is about."""
    return _file_of(request, request_id, "entry")


@views.page("GET")
def payload(request: PortalRequest, request_id: uuid.UUID) -> HttpResponse:
    """Send the values that the entry committed to, and their salts, to compliance and operators.

    A revision holds more than its page shows to everybody concerned, such as the target's settings.
    """
    return _file_of(request, request_id, "payload")


def context(request: PortalRequest, record: AccessRequest) -> dict[str, object]:
    """Return what the Proof card shows (one query)."""
    return {
        "record": record,
        "place": sealing.place(record),
        "may_see_all": bool(request.user.roles),
    }


def send(proven: Proven, part: str, *, stem: str) -> HttpResponse:
    """Return one of an entry's files as a download. Raises: NotFound for an erased payload."""
    choose, suffix, kind = PARTS[part]
    body = choose(proven)
    if body is None:
        raise NotFound("Nothing is left of what this entry committed to: it was erased.")
    response = HttpResponse(body, content_type=kind)
    response["Content-Disposition"] = f'attachment; filename="{stem}.{suffix}"'
    response["X-Content-Type-Options"] = "nosniff"
    return response


def proven(log: Log, index: int) -> Proven:
    """Return all that proves a leaf. Raises: NotFound."""
    try:
        return proofs.of_leaf(log=log, index=index)
    except (NoSuchLeaf, ledger.NoSuchTile) as error:
        raise NotFound("The log has no such entry.") from error


def _file_of(request: PortalRequest, request_id: uuid.UUID, part: str) -> HttpResponse:
    record = reads.visible(request_id, to=request.user)
    if part == "payload" and not request.user.roles:
        raise NotFound
    record = sealing.revision(record, number=_revision(request, newest=record.revision))
    place = sealing.place(record)
    if place is None:
        raise NotFound("The log does not know this revision.")
    if place.log is None or place.index is None:
        raise NotSealed(
            "This revision waits to be sealed, which takes about a second. Try again.",
            code="not_sealed",
        )
    return send(proven(place.log, place.index), part, stem=f"{record.reference}-{record.revision}")


def _revision(request: PortalRequest, *, newest: int) -> int:
    """Return the revision that is asked for. Raises: Invalid."""
    text = request.GET.get("revision", "") or str(newest)
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise Invalid("A revision is a number.", field="revision")
    return int(text)
