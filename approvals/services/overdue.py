"""Removals that are late though nothing was tried: each is recorded and shown, none is silent.

A removal whose try fails says so itself (`removals`). What waits behind a target's open
circuit, or for workers that don't come to it, is found here: what nobody has tried, and what failed
before the circuit opened and is not tried again.
"""

import uuid
from collections.abc import Sequence
from datetime import datetime

import structlog
from django.conf import settings
from django.db import transaction

from approvals.models import GrantEvent, OutboxItem
from approvals.outbox import queue
from approvals.selectors import failing, people
from approvals.selectors import requests as reads
from approvals.services import grants, notices

log = structlog.get_logger(__name__)

#: Removals that are recorded as late in one transaction.
BATCH = 500


@transaction.atomic
def note(*, now: datetime) -> int:
    """Record late removals that nobody has tried, with the reason; return how many.

    Each is recorded once, and from then on it is among what fails. For each target one alarm goes
    to its owner and the operators at a time, about the removal that has been due for longest.
    """
    late = queue.untried_since(
        topics=grants.REMOVALS, before=now - settings.STUCK_AFTER, limit=BATCH, now=now
    )
    if late:
        _record(late, now=now)
    else:
        _alarm(failing.unalarmed(before=now - settings.STUCK_AFTER), now=now)
    return len(late)


def _record(late: Sequence[tuple[OutboxItem, str]], *, now: datetime) -> None:
    reasons = {
        uuid.UUID(item.payload["request_id"]): (
            f"Not tried, because {item.target} does not answer: {error}"
            if error
            else "Not tried yet: no worker has come to it."
        )
        for item, error in late
    }
    GrantEvent.insert(
        [
            GrantEvent(
                request_id=request_id,
                kind=GrantEvent.Kind.REMOVE_FAILED,
                attempt=0,
                started_at=now,
                occurred_at=now,
                error=reason[:2000],
                detail={"tried": False},
            )
            for request_id, reason in reasons.items()
        ]
    )
    errors = {item.pk: reasons[uuid.UUID(item.payload["request_id"])] for item, _ in late}
    for item, _ in late:
        item.last_error = errors[item.pk]
    told = _alarm([item for item, _ in late], now=now)
    log.error("removals.late", removals=len(late), targets=sorted(told))
    queue.mark_failed(errors, now=now)


def _alarm(items: Sequence[OutboxItem], *, now: datetime) -> set[str]:
    """Alarm of the first of these removals at each target; return the targets."""
    told: set[str] = set()
    if not items:
        return told
    operators = [person.pk for person in people.operators()]
    records = reads.current_many(uuid.UUID(item.payload["request_id"]) for item in items)
    for item in items:
        record = records.get(uuid.UUID(item.payload["request_id"]))
        if record is not None and item.target not in told:
            told.add(item.target)
            notices.stuck(record, item, error=item.last_error, now=now, operators=operators)
    return told
