"""Removals that are late though nothing was tried: each is recorded and shown, none is silent.

A removal whose try fails says so itself (`provisioning`). What waits behind a target's open
circuit, or for workers that don't come to it, is found here.
"""

import uuid
from datetime import datetime

import structlog
from django.conf import settings
from django.db import transaction

from approvals.models import GrantEvent
from approvals.outbox import queue
from approvals.selectors import people
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
    if not late:
        return 0
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
    operators = [person.pk for person in people.operators()]
    told: set[str] = set()
    records = reads.current_many(reasons)
    for item, _ in late:
        record = records.get(uuid.UUID(item.payload["request_id"]))
        if record is None or record.removal_due_at is None or item.target in told:
            continue
        told.add(item.target)
        error = reasons[record.request_id]
        notices.stuck(record, error=error, now=now, operators=operators)
    log.error("removals.late", removals=len(late), targets=sorted(told))
    queue.mark_failed(
        {item.pk: reasons[uuid.UUID(item.payload["request_id"])] for item, _ in late}, now=now
    )
    return len(late)
