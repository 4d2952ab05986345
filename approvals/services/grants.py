"""From approved to active to gone: the time-boxed access that a request becomes.

Nothing here talks to a target (that is `provisioning`); it records what was confirmed.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction

from approvals.domain.refusals import Invalid, NotAllowed, Settled
from approvals.domain.states import EndReason, Event, State
from approvals.models import AccessRequest, GrantEvent, OutboxItem, User
from approvals.outbox import queue
from approvals.selectors import people, standing
from approvals.selectors import requests as reads
from approvals.services import notices, recording
from approvals.services.requests import COMMENT_MOST, grant_key

#: Grants that one sweep ends in one transaction.
BATCH = 200


@dataclass(frozen=True)
class Attempt:
    """One call to a target: when it was made and answered, and what came of it."""

    number: int
    started_at: datetime
    finished_at: datetime
    detail: dict[str, Any] = field(default_factory=dict)
    sessions_closed: int = 0
    error: str = ""
    permanent: bool = False


def blocked(record: AccessRequest, *, now: datetime) -> str | None:
    """Return why an approved request must not be activated, or None (policy, people, catalogue)."""
    stands = standing.of(subject=record.subject_id, entitlement=record.entitlement_id)
    if stands.target["login"] != record.target["login"]:
        return (
            "The login name has changed since the approval, and may be somebody else's. Ask again."
        )
    refused = stands.refusal(duration=record.duration)
    return refused.reason if refused else None


@transaction.atomic
def activate(*, request_id: uuid.UUID, attempt: Attempt, now: datetime) -> AccessRequest | None:
    """Record that the target has confirmed the access; the clock starts at that confirmation.

    Returns None when the request is not waiting any more (cancelled meanwhile): then the caller
    must take the access away again. A second call for an active request returns it unchanged.
    """
    record = recording.locked(request_id)
    if record.state == State.ACTIVE:
        return record
    if record.state != State.APPROVED:
        return None
    _event(record, GrantEvent.Kind.GRANTED, attempt)
    revision = record.revise(
        event=Event.ACTIVATED, actor=None, now=now, detail={"receipt": attempt.detail}
    )
    revision.activate()
    recording.write(revision)
    notices.active(revision, now=now)
    return revision


@transaction.atomic
def fail(*, request_id: uuid.UUID, reason: str, now: datetime) -> AccessRequest | None:
    """Give up on an approved request: the target refuses for good, or the policy does by now."""
    record = recording.locked(request_id)
    if record.state != State.APPROVED:
        return None
    revision = record.revise(event=Event.FAILED, actor=None, now=now, comment=reason)
    revision.fail()
    recording.write(revision)
    notices.failed(revision, now=now)
    return revision


@transaction.atomic
def attempt_failed(*, request_id: uuid.UUID, kind: str, attempt: Attempt) -> None:
    """Record an attempt at the target that did not succeed."""
    _event(reads.current(request_id), kind, attempt)


@transaction.atomic
def end(
    *,
    actor: User | None,
    request_id: uuid.UUID,
    now: datetime,
    comment: str = "",
    reason: EndReason | None = None,
) -> AccessRequest:
    """End active access before its time; it is gone when the target has confirmed.

    Raises: NotFound; NotAllowed for whoever may not end it; Settled when it is not active; Invalid.
    """
    if "\0" in comment or len(comment) > COMMENT_MOST:
        raise Invalid(f"Use at most {COMMENT_MOST:,} ordinary characters.", field="comment")
    record = recording.locked(request_id)
    if actor is not None and not may_end(actor, record):
        raise NotAllowed(
            "Only the subject, the requester, their manager, the resource's owner, compliance and "
            "operators may end this access.",
            code="not_yours",
        )
    if record.state != State.ACTIVE:
        raise Settled(f"This access is {record.state}, not active.", code=record.state)
    if reason is None:
        own = actor is not None and actor.pk in (record.subject_id, record.requester_id)
        reason = EndReason.GIVEN_BACK if own else EndReason.REVOKED
    revision = _ending(record, actor=actor, reason=reason, due_at=now, now=now, comment=comment)
    recording.write(revision)
    queue.put_many([_withdrawal(revision, now=now)])
    return revision


def may_end(actor: User, record: AccessRequest) -> bool:
    """Return whether this person may end the access before its time."""
    if not actor.is_active:
        return False
    if actor.pk in (record.subject_id, record.requester_id) or actor.roles:
        return True
    return people.is_manager_or_owner(actor, record)


_DUE = """
WITH due AS MATERIALIZED (
    SELECT request_id FROM approvals_currentrequest
    WHERE state = 'active' AND due_at <= %s ORDER BY due_at LIMIT %s)
SELECT request_id FROM due
WHERE pg_try_advisory_xact_lock(hashtextextended(request_id::text, 1))
"""


@transaction.atomic
def end_due(*, now: datetime, limit: int = BATCH) -> int:
    """End grants whose time is up, in one transaction; return how many.

    Requests that another transaction holds are left to the next sweep. Two sweeps never end the
    same grant: the lock is taken before the revision is read, and the revision's key is unique.
    """
    with connection.cursor() as cursor:
        cursor.execute(_DUE, [now, limit])
        keys = [row[0] for row in cursor.fetchall()]
    if not keys:
        return 0
    current = reads.current_many(keys)
    endings = [
        _ending(row, actor=None, reason=EndReason.TIME, due_at=row.ends_at, now=now)
        for row in current.values()
        if row.state == State.ACTIVE and row.ends_at is not None and row.ends_at <= now
    ]
    recording.write_many(endings)
    queue.put_many(_withdrawal(row, now=now) for row in endings)
    return len(endings)


def _ending(
    record: AccessRequest,
    *,
    actor: User | None,
    reason: EndReason,
    due_at: datetime | None,
    now: datetime,
    comment: str = "",
) -> AccessRequest:
    revision = record.revise(
        event=Event.ENDED,
        actor=actor,
        now=now,
        comment=comment,
        end_reason=str(reason),
        removal_due_at=due_at,
        removal_started_at=now,
    )
    revision.end()
    return revision


def _withdrawal(record: AccessRequest, *, now: datetime) -> OutboxItem:
    return queue.item(
        "grant.withdraw",
        "provisioning",
        {"request_id": str(record.request_id)},
        now=now,
        key=grant_key(record),
    )


@transaction.atomic
def confirm_many(
    confirmed: Sequence[tuple[uuid.UUID, Attempt]], *, now: datetime
) -> list[AccessRequest]:
    """Record that the target has confirmed removals: expired, or revoked when ended early.

    Requests that are confirmed already are passed over, so that a repeated task changes nothing.
    """
    attempts = dict(confirmed)
    recording.lock_many(attempts)
    revisions: list[AccessRequest] = []
    events: list[GrantEvent] = []
    for request_id, record in reads.current_many(attempts).items():
        if record.state != State.REVOKING:
            continue
        attempt = attempts[request_id]
        revision = record.revise(
            event=Event.CONFIRMED,
            actor=None,
            now=now,
            removal_confirmed_at=max(attempt.finished_at, record.removal_started_at or now),
            detail={"receipt": attempt.detail, "sessions_closed": attempt.sessions_closed},
        )
        revision.confirm()
        revisions.append(revision)
        events.append(_grant_event(record, GrantEvent.Kind.REMOVED, attempt))
    recording.write_many(revisions)
    GrantEvent.insert(events)
    queue.put_many(item for row in revisions for item in notices.ended(row, now=now))
    return revisions


def stuck(*, now: datetime, after: timedelta) -> list[AccessRequest]:
    """Return removals that have been due for longer than `after` and are not confirmed."""
    return [
        row
        for row in AccessRequest.objects.filter(id__in=people.revoking_records()).select_related(
            "entitlement__resource__owner"
        )
        if row.removal_due_at is not None and row.removal_due_at <= now - after
    ]


def _event(record: AccessRequest, kind: str, attempt: Attempt) -> None:
    _grant_event(record, kind, attempt).save()


def _grant_event(record: AccessRequest, kind: str, attempt: Attempt) -> GrantEvent:
    return GrantEvent(
        request_id=record.request_id,
        kind=kind,
        attempt=attempt.number,
        started_at=attempt.started_at,
        occurred_at=attempt.finished_at,
        permanent=attempt.permanent,
        error=attempt.error[:2000],
        detail=attempt.detail,
    )
