"""What becomes of a request that prolongs access when that access ends.

At the end of its time the extension takes over in the same transaction: the access goes on without
a gap and, where it is the same at the target, without touching it. After an early end there is
nothing to prolong, and the extension is cancelled.
"""

from collections.abc import Sequence
from datetime import datetime

import structlog

from approvals.domain.documents import DocumentError
from approvals.domain.states import EndReason, Event, State
from approvals.models import AccessRequest
from approvals.outbox import queue
from approvals.selectors import requests as reads
from approvals.services import notices, recording, requests, starts

log = structlog.get_logger(__name__)

_WHY = {
    EndReason.GIVEN_BACK: "was given back",
    EndReason.REVOKED: "was ended early",
    EndReason.LEFT: "ended because the person left",
    EndReason.RETIRED: "ended because it was retired",
}


def take_over(
    pairs: Sequence[tuple[AccessRequest, AccessRequest]], *, now: datetime
) -> list[AccessRequest]:
    """Activate extensions where their originals (first of each pair) just ended; return them.

    Runs in the transaction of the ends, under the locks of both. One that today's policy refuses
    fails; one whose target is not ready yet is left to its own start, and so is one whose policy
    can't be read, since it must not hold up anybody's end.
    """
    followers: list[AccessRequest] = []
    for original, record in pairs:
        if record.state != State.APPROVED or original.end_reason != EndReason.TIME:
            continue
        needs_readiness = starts.needs_readiness(record, original)
        is_made_ready = needs_readiness and starts.is_made_ready(record.request_id)
        try:
            refusal = starts.blocked(record)
        except DocumentError:
            log.exception("extension.unreadable", request=record.reference)
            continue
        if refusal:
            _fail(record, refusal, made=is_made_ready, now=now)
            continue
        if needs_readiness and not is_made_ready:
            continue
        revision = record.revise(
            event=Event.ACTIVATED,
            actor=None,
            now=now,
            detail={"receipt": {"continued": original.reference}},
        )
        revision.activate(since=original.ends_at)
        followers.append(revision)
    recording.write_many(followers)
    for revision in followers:
        notices.active(revision, now=now)
    return followers


def _fail(record: AccessRequest, reason: str, *, made: bool, now: datetime) -> None:
    revision = record.revise(event=Event.FAILED, actor=None, now=now, comment=reason)
    revision.fail()
    recording.write(revision)
    notices.failed(revision, now=now)
    if made:
        queue.put_many([starts.item("grant.cleanup", record, now=now, certain=True)])


def settle(original: AccessRequest, *, now: datetime) -> AccessRequest | None:
    """Cancel the extension of access that ended early; return it, None where there is none."""
    waiting = reads.extension_of(original.request_id)
    if waiting is None:
        return None
    why = _WHY[EndReason(original.end_reason)]
    comment = f"{original.reference}, whose access it was to prolong, {why}."
    return requests.cancel(actor=None, request_id=waiting.request_id, comment=comment, now=now)
