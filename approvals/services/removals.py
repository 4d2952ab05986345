"""Takes access away for certain: what has ended, and what a grant that came to nothing has left.

The targets are called by `provisioning`; what they confirmed is recorded by `grants`. No
transaction is open meanwhile, and everything may run twice.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import structlog
from django.conf import settings
from django.db import transaction

from approvals.domain.states import State
from approvals.models import AccessRequest, GrantEvent, OutboxItem
from approvals.outbox import queue
from approvals.selectors import clock, leases, people
from approvals.selectors import requests as reads
from approvals.services import grants, isolation, notices, provisioning, recording, targets

log = structlog.get_logger(__name__)


def withdraw(items: Sequence[OutboxItem]) -> None:
    """Take the access of ended requests away; they are expired or revoked once it is confirmed.

    What another active grant holds too is left at the target. A failure of any kind is tried again,
    for ever, with growing pauses of an hour at most; when it lasts, owner and operators are
    alarmed.
    """
    due: list[tuple[OutboxItem, AccessRequest]] = []
    for item, record in provisioning.with_records(items):
        if record is None or record.state != State.REVOKING:
            queue.done([item])
        else:
            due.append((item, record))
    due = _without_covered(due)
    for done in isolation.call(due, provisioning.revoke):
        now = clock.now()
        good = [row for row in done if not row[2].error]
        with transaction.atomic():
            grants.confirm_many(
                [(r.request_id, o.attempt(item.attempts)) for item, r, o in good],
                now=now,
                known=[record for _, record, _ in good],
            )
            queue.done([item for item, _, _ in good])
        for item, record, outcome in done:
            if outcome.error:
                _not_withdrawn(item, record, outcome, now=now)


def _without_covered(
    due: list[tuple[OutboxItem, AccessRequest]],
) -> list[tuple[OutboxItem, AccessRequest]]:
    """Record what another grant holds as gone for its own request; return the others."""
    shared = leases.covers(record for _, record in due)
    if not shared:
        return due
    with transaction.atomic():
        kept = grants.keep_covered(
            [(r.request_id, item.attempts) for item, r in due if r.request_id in shared],
            now=clock.now(),
        )
        queue.done([item for item, record in due if record.request_id in kept])
    return [(item, record) for item, record in due if record.request_id not in kept]


def _not_withdrawn(
    item: OutboxItem, record: AccessRequest, outcome: targets.Outcome, *, now: datetime
) -> None:
    """Record that access may still be there, and alarm when that lasts; it is tried again."""
    what = "cleanup.failed" if item.topic == "grant.cleanup" else "removal.failed"
    log.error(what, request=record.reference, error=outcome.error)
    with transaction.atomic():
        grants.attempted(
            request_id=record.request_id,
            kind=GrantEvent.Kind.REMOVE_FAILED,
            attempt=outcome.attempt(item.attempts),
        )
        provisioning.give_back(item, outcome, now=now)
        since = record.removal_due_at if record.state == State.REVOKING else item.first_failed_at
        if now - (since or now) >= settings.STUCK_AFTER:
            notices.stuck(
                record,
                item,
                error=outcome.error,
                now=now,
                operators=[person.pk for person in people.operators()],
            )


def cleanup(items: Sequence[OutboxItem]) -> None:
    """Remove what a grant that never became active may have left at the target.

    Tried for ever where an attempt may have had its effect, like every removal, and alarmed when it
    lasts. What an active grant holds, this request's own or another one, is left alone.
    """
    due = [
        (item, record) for item, record in provisioning.with_records(items) if record is not None
    ]
    with transaction.atomic():
        recording.lock_leases(leases.key(record) for _, record in due)
        held = set(leases.covers(record for _, record in due))
        newest = reads.current_many(record.request_id for _, record in due)
        held |= {key for key, record in newest.items() if record.state == State.ACTIVE}
        now = clock.now()
        for item, record in due:
            if record.request_id in held:
                _is_clean(item, record, grants.Attempt(item.attempts, now, now))
    due = [row for row in due if row[1].request_id not in held]
    for done in isolation.call(due, provisioning.revoke):
        for item, record, outcome in done:
            _cleaned_up(item, record, outcome)


def _cleaned_up(item: OutboxItem, record: AccessRequest, outcome: targets.Outcome) -> None:
    now = clock.now()
    needless = outcome.permanent and not item.payload.get("certain")
    if outcome.error and not needless:
        _not_withdrawn(item, record, outcome, now=now)
        return
    with transaction.atomic():
        recording.lock_leases([leases.key(record)])
        if not needless:
            grants.make_again([record], now=now)
        _is_clean(item, record, replace(outcome.attempt(item.attempts), error="", permanent=False))


def _is_clean(item: OutboxItem, record: AccessRequest, attempt: grants.Attempt) -> None:
    """Remove the item; where it was told that this failed, record that it is over."""
    if item.first_failed_at is not None and record.activated_at is None:
        grants.attempted(
            request_id=record.request_id,
            kind=GrantEvent.Kind.GONE,
            attempt=replace(attempt, detail=attempt.detail | {"cleaned_up": True}),
        )
    queue.done([item])
