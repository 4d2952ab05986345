"""When approved access begins: at its start, inside its policy's windows, or where it follows on.

Nothing waits under a lease's key in the outbox but what is due: a start that lies ahead has a key
of its own, so that the end of other grants of the same access never waits for it.
"""

import uuid
from datetime import datetime, timedelta
from typing import NamedTuple

from django.db import transaction

from approvals.domain import policy as policies
from approvals.domain import windows
from approvals.domain.states import State
from approvals.models import AccessRequest, GrantEvent, OutboxItem
from approvals.outbox import queue
from approvals.selectors import chains, leases, standing
from approvals.selectors import requests as reads
from approvals.selectors.standing import Standing
from approvals.services import recording

LANE = "provisioning"
#: How long before the end an extension is made ready where the target has to know of it.
READY_BEFORE = timedelta(minutes=2)
_AGAIN = timedelta(seconds=1)


class Verdict(NamedTuple):
    """Whether approved access may begin: why it never may, or from when on it may."""

    refusal: str
    at: datetime


def judge(record: AccessRequest, *, now: datetime, stands: Standing | None = None) -> Verdict:
    """Return whether and when an approved request may be activated (policy, people, catalogue).

    A start must lie in a window of the policy that the request came under and of today's. One
    query unless the caller knows how the subject stands.
    """
    if stands is None:
        stands = standing.of(subject=record.subject_id, entitlement=record.entitlement_id)
    if refusal := blocked(record, stands=stands):
        return Verdict(refusal, now)
    limits = [
        chains.pinned_rule(record).windows,
        policies.windows_for(stands.policy, subject_groups=stands.groups, duration=record.duration),
    ]
    earliest = max(now, record.starts_at or now)
    at = windows.next_open(limits, at=earliest)
    if at is None:
        return Verdict("No time is left at which both policies let it start. Ask again.", now)
    return Verdict("", at)


def blocked(record: AccessRequest, *, stands: Standing | None = None) -> str:
    """Return why an approved request must not be activated at any time, or nothing."""
    if stands is None:
        stands = standing.of(subject=record.subject_id, entitlement=record.entitlement_id)
    if stands.target["login"] != record.target["login"]:
        return (
            "The login name has changed since the approval, and may be somebody else's. Ask again."
        )
    refused = stands.refusal(duration=record.duration)
    return refused.reason if refused else ""


def schedule(record: AccessRequest, *, now: datetime, stands: Standing | None = None) -> None:
    """Have the access of a request that was just approved made, now or when it may begin.

    An extension of active access waits for the end that it follows on.
    """
    original = _original(record)
    if original is not None and original.state == State.ACTIVE:
        _follow(record, original, now=now, is_ready=False)
        return
    verdict = judge(record, now=now, stands=stands)
    if verdict.at > now and not verdict.refusal:
        later(record, at=verdict.at, now=now)
    else:
        _put("grant.apply", record, now=now)


def _put(topic: str, record: AccessRequest, *, now: datetime) -> None:
    """Put it behind what was put for the same access, in the order in which it is committed.

    Without the lease's lock a removal that was put later could be begun before this is seen.
    """
    recording.lock_leases([leases.key(record)])
    queue.put_many([item(topic, record, now=now)])


def later(record: AccessRequest, *, at: datetime, now: datetime, is_ready: bool = False) -> None:
    """Look again at `at` whether the access may begin."""
    queue.put(
        topic="grant.start",
        lane=LANE,
        key=start_key(record.request_id),
        payload={"request_id": str(record.request_id), "is_ready": is_ready},
        now=now,
        not_before=at,
    )


def start_key(request_id: uuid.UUID) -> str:
    """Return the outbox key under which one request's start waits."""
    return f"start:{request_id}"


def item(topic: str, record: AccessRequest, *, now: datetime, **payload: bool) -> OutboxItem:
    """Return an unsaved item that changes this request's access, in its lease's order."""
    return queue.item(
        topic,
        LANE,
        {"request_id": str(record.request_id), **payload},
        now=now,
        key=leases.key(record),
        target=record.resource_name,
    )


@transaction.atomic
def begin(*, request_id: uuid.UUID, is_ready: bool, now: datetime) -> None:
    """Begin what has waited for its start: have it made, or go on waiting for what it follows."""
    held = [key for key in (reads.extends(request_id), request_id) if key is not None]
    recording.lock_many(held)
    record = reads.current(request_id)
    if record.state != State.APPROVED:
        return
    original = _original(record)
    if original is not None and original.state == State.ACTIVE:
        _follow(record, original, now=now, is_ready=is_ready)
        return
    verdict = judge(record, now=now)
    if verdict.at > now and not verdict.refusal:
        later(record, at=verdict.at, now=now)
    else:
        _put("grant.apply", record, now=now)


def _follow(
    record: AccessRequest, original: AccessRequest, *, now: datetime, is_ready: bool
) -> None:
    """Wait for the original's end; make the target ready a while before where it must know."""
    assert original.ends_at is not None
    at = max(original.ends_at, now + _AGAIN)
    if needs_readiness(record, original) and not is_ready:
        ready_at = original.ends_at - READY_BEFORE
        if ready_at > now:
            at = ready_at
        else:
            _put("grant.ready", record, now=now)
            is_ready = True
    later(record, at=at, now=now, is_ready=is_ready)


def needs_readiness(record: AccessRequest, original: AccessRequest) -> bool:
    """Return whether an extension is not simply the same access going on.

    The target ends it by itself unless told, each request has credentials of its own, or what is
    made at the target has been configured otherwise since.
    """
    return bool(record.target.get("knows_its_end")) or leases.key(record) != leases.key(original)


def is_made_ready(request_id: uuid.UUID) -> bool:
    """Return whether the target has confirmed access for a request that isn't active yet."""
    return GrantEvent.objects.filter(request_id=request_id, kind=GrantEvent.Kind.GRANTED).exists()


def _original(record: AccessRequest) -> AccessRequest | None:
    return reads.current(record.extends) if record.extends else None
