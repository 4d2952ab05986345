"""From approved to active to gone: the time-boxed access that a request becomes.

Nothing here talks to a target (that is `provisioning`); it records what was confirmed.
"""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from django.db import connection, transaction

from approvals.domain.refusals import Invalid, NotAllowed, Settled
from approvals.domain.states import WAITING, EndReason, Event, State
from approvals.models import AccessRequest, GrantEvent, User
from approvals.outbox import queue
from approvals.selectors import leases, people
from approvals.selectors import requests as reads
from approvals.services import extensions, notices, recording, requests, starts
from approvals.services.requests import COMMENT_MOST

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


@transaction.atomic
def activate(*, request_id: uuid.UUID, attempt: Attempt, now: datetime) -> AccessRequest | None:
    """Record that the target has confirmed the access; the clock starts at that confirmation.

    Returns None when the request is not waiting any more (cancelled meanwhile): then the caller
    must take the access away again. A second call for an active request returns it unchanged.
    """
    record = recording.locked(request_id)
    recording.lock_leases([leases.key(record)])
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
def attempted(*, request_id: uuid.UUID, kind: str, attempt: Attempt) -> None:
    """Record a call to the target that changes no state: it failed, or made something ready."""
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

    Whoever takes it from others says why. Raises: NotFound; NotAllowed for whoever may not end it;
    Settled when it is not active; Invalid.
    """
    _check(comment)
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
        if not own and not comment.strip():
            raise Invalid("Say why you end it, so that they learn.", field="comment")
    recording.lock_leases([leases.key(record)])
    revision = _ending(record, actor=actor, reason=reason, due_at=now, now=now, comment=comment)
    recording.write(revision)
    _put_withdrawals([revision], now=now)
    extensions.settle(revision, now=now)
    return revision


class EndedAll(NamedTuple):
    """What came of ending everything of one person."""

    ended: tuple[AccessRequest, ...]
    cancelled: tuple[AccessRequest, ...]


@transaction.atomic
def end_all(*, person: User, actor: User, reason: str, now: datetime) -> EndedAll:
    """End all active access of a person, and cancel what would become access; in one transaction.

    Their sign-in and their groups are the directory's business. Raises: NotAllowed for others than
    operators and compliance; Invalid without a reason.
    """
    if not (actor.is_active and actor.roles):
        raise NotAllowed("Only operators and compliance may do this.", code="not_compliance")
    _check(reason)
    if not reason.strip():
        raise Invalid("Say why, so that they and the auditors learn.", field="reason")
    recording.lock_many(row.request_id for row in reads.open_of(subject=person))
    rows = reads.open_of(subject=person)
    waiting = [row for row in rows if row.state in WAITING]
    active = [row for row in rows if row.state == State.ACTIVE]
    cancelled = tuple(
        requests.call_off(row, actor=actor, now=now, comment=reason.strip()) for row in waiting
    )
    recording.lock_leases(leases.key(row) for row in active)
    ended = recording.write_many(
        _ending(
            row, actor=actor, reason=EndReason.REVOKED, due_at=now, now=now, comment=reason.strip()
        )
        for row in active
    )
    _put_withdrawals(ended, now=now)
    return EndedAll(tuple(ended), cancelled)


def _check(comment: str) -> None:
    if "\0" in comment or len(comment) > COMMENT_MOST:
        raise Invalid(f"Use at most {COMMENT_MOST:,} ordinary characters.", field="comment")


def may_end(actor: User, record: AccessRequest) -> bool:
    """Return whether this person may end the access before its time."""
    if not actor.is_active:
        return False
    if actor.pk in (record.subject_id, record.requester_id) or actor.roles:
        return True
    return people.is_manager_or_owner(actor, record)


_DUE = """
WITH due AS MATERIALIZED (
    SELECT c.request_id, x.request_id AS extension FROM approvals_currentrequest c
    LEFT JOIN approvals_currentrequest x ON x.extends = c.request_id AND x.extends IS NOT NULL
        AND x.state IN ('pending', 'approved')
    WHERE c.state = 'active' AND c.due_at <= %s{share} ORDER BY c.due_at LIMIT %s)
SELECT request_id, extension FROM due
WHERE pg_try_advisory_xact_lock(hashtextextended(request_id::text, 1))
  AND (extension IS NULL OR pg_try_advisory_xact_lock(hashtextextended(extension::text, 1)))
"""


_SHARE = " AND hashtextextended(c.request_id::text, 5) & %s = %s"


@transaction.atomic
def end_due(*, now: datetime, limit: int = BATCH, share: int | None = None) -> int:
    """End grants whose time is up, in one transaction; return how many.

    `share` limits it to one of the two halves of all requests, 0 or 1, for two that work at a
    backlog side by side. What was approved to prolong one takes over in the same transaction.
    Requests that another transaction holds are left to the next sweep. Two sweeps never end the
    same grant: the lock is taken before the revision is read, and the revision's key is unique.
    """
    with connection.cursor() as cursor:
        if share is None:
            cursor.execute(_DUE.format(share=""), [now, limit])
        else:
            cursor.execute(_DUE.format(share=_SHARE), [now, 1, share, limit])
        extension_of = dict(cursor.fetchall())
    if not extension_of:
        return 0
    waiting = [key for key in extension_of.values() if key is not None]
    current = reads.current_many([*extension_of, *waiting])
    endings = [
        _ending(row, actor=None, reason=EndReason.TIME, due_at=row.ends_at, now=now)
        for row in (current[key] for key in extension_of)
        if row.state == State.ACTIVE and row.ends_at is not None and row.ends_at <= now
    ]
    recording.lock_leases(leases.key(row) for row in endings)
    recording.write_many(endings)
    if waiting:
        ended = [(row, extension_of[row.request_id]) for row in endings]
        pairs = [(row, current[key]) for row, key in ended if key is not None]
        extensions.take_over(pairs, now=now)
    _put_withdrawals(endings, now=now)
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


def _put_withdrawals(records: Sequence[AccessRequest], *, now: datetime) -> None:
    """Have accesses removed; what failed earlier for the same access does not hold that up."""
    queue.put_many(starts.item("grant.withdraw", row, now=now) for row in records)
    let_pass(leases.key(row) for row in records)


#: What takes access away. Each looks whether another grant holds the access before it does.
REMOVALS = ("grant.withdraw", "grant.cleanup")


def let_pass(keys: Iterable[str]) -> None:
    """Let removals go before whatever pauses after a failure at the same access."""
    queue.step_behind(keys=keys, topics=("grant.apply", "grant.ready", *REMOVALS), past=REMOVALS)


@transaction.atomic
def keep_covered(
    confirmed: Sequence[tuple[uuid.UUID, int]], *, now: datetime
) -> dict[uuid.UUID, leases.Cover]:
    """Record ended grants (id, attempt) as gone whose access another active grant holds too.

    The target is not touched: what it holds is the other one's by now. Decided and recorded while
    the leases are held, so that the other can't end in between. Returns those and what holds them.
    """
    recording.lock_many(key for key, _ in confirmed)
    records = reads.current_many(key for key, _ in confirmed)
    rows = [row for row in records.values() if row.state == State.REVOKING]
    recording.lock_leases(leases.key(row) for row in rows)
    found = leases.covers(rows)
    attempts = dict(confirmed)
    kept = [
        (key, Attempt(attempts[key], now, now, detail=_kept(key, cover)))
        for key, cover in found.items()
    ]
    confirm_many(kept, now=now)
    return found


def _kept(request_id: uuid.UUID, cover: leases.Cover) -> dict[str, Any]:
    detail: dict[str, Any] = {"kept": True, "covered_by": cover.reference}
    return detail | ({"continues": True} if cover.extends == request_id else {})


@transaction.atomic
def confirm_many(
    confirmed: Sequence[tuple[uuid.UUID, Attempt]],
    *,
    now: datetime,
    known: Iterable[AccessRequest] = (),
) -> list[AccessRequest]:
    """Record that the target has confirmed removals: expired, or revoked when ended early.

    Of requests that are `known`, as read before, only those that have changed are read again.
    Requests that are confirmed already are passed over, so that a repeated task changes nothing but
    that access which another grant holds by now is made once more (`make_again`).
    """
    attempts = dict(confirmed)
    recording.lock_many(attempts)
    revisions: list[AccessRequest] = []
    events: list[GrantEvent] = []
    records = reads.current_many(attempts, known=known)
    rows = {key: row for key, row in records.items() if row.state == State.REVOKING}
    recording.lock_leases(leases.key(row) for row in records.values())
    for request_id, record in rows.items():
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
    queue.put_many(
        item
        for row in revisions
        if not attempts[row.request_id].detail.get("continues")  # nothing has ended for anybody
        for item in notices.ended(row, now=now)
    )
    touched = [row for key, row in records.items() if not attempts[key].detail.get("kept")]
    make_again(touched, now=now)
    return revisions


def make_again(removed: Sequence[AccessRequest], *, now: datetime) -> None:
    """Have access made once more that an active grant holds and that was just removed for others.

    It became active while the target was called, as when a worker was thought dead. To be called
    while the leases are held.
    """
    holds = {cover.request_id for cover in leases.covers(removed).values()}
    if waiting := [row.request_id for row in removed if row.state == State.APPROVED]:
        newest = reads.current_many(waiting)
        holds |= {key for key, row in newest.items() if row.state == State.ACTIVE}
    if holds:
        rows = reads.current_many(holds).values()
        queue.put_many(starts.item("grant.ready", row, now=now) for row in rows)


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
