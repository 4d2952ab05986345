"""Compares what targets hold with what the portal granted, shows what differs, and repairs it.

No path leads from an observation to access for a request that isn't active: a repair only puts the
work that the grants' own machinery does under the lease's order, after another look at the request
while it and its lease are held; and that machinery looks once more before it calls the target.
"""

import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta

import structlog
from django.conf import settings
from django.db import connection, connections, transaction

from approvals.domain import drift
from approvals.domain.drift import Kind
from approvals.domain.states import FINAL, State
from approvals.models import (
    AccessRequest,
    Entitlement,
    Finding,
    GrantEvent,
    Observation,
    Resource,
)
from approvals.models.catalogue import DriftPolicy
from approvals.outbox import queue
from approvals.selectors import clock, leases, people
from approvals.selectors import drift as reads
from approvals.selectors import requests as request_reads
from approvals.services import comparing, grants, notices, observing, recording, starts
from approvals.services.comparing import View
from approvals.services.observing import Sight

log = structlog.get_logger(__name__)

#: How soon a target is looked at again to confirm a finding, or that a repair has worked.
SOON = timedelta(seconds=60)
#: Times that one finding is repaired before it is left to people.
REPAIRS_MOST = 3
#: Targets that one task looks at side by side, and the seconds after which it starts no more.
SIDE_BY_SIDE = 4
LOOK_SECONDS = 30.0
#: Findings that one statement names: it takes 65,535 parameters, and a target may lose everything.
_CHUNK = 10_000
_OBSERVE_SPACE = 4


def observe(*, resource_id: int) -> bool:
    """Look at one target, record what differs, repair what is confirmed; return whether it did.

    One process at a time does it for a resource; False says that another one is at it, or that the
    resource is retired. A target that can't be observed changes no finding.
    """
    assert recording.no_transaction(), "a transaction is open, and the network must not hold one"
    with _alone(resource_id) as alone:
        resource = reads.resource(resource_id) if alone else None
        if resource is None:
            return False
        before = reads.under_way()
        began = clock.now()
        _began(resource, now=began)
        entitlements = reads.entitlements(resource)
        sight = observing.look(resource, entitlements, now=began)
        _look_done(resource, entitlements, sight, busy=before, began=began)
        return True


def _look_done(
    resource: Resource,
    entitlements: Sequence[Entitlement],
    sight: Sight,
    *,
    busy: set[str],
    began: datetime,
) -> None:
    now = clock.now()
    if sight.error:
        log.warning("observation.failed", resource=resource.name, error=sight.error)
        _finished(resource, sight, now=now, soon=False)
        return
    view = comparing.compare(
        resource=resource,
        entitlements=entitlements,
        sight=sight,
        busy=busy,
        began=began,
        now=now,
    )
    open_now = {row.pk: row for row in reads.open_findings(resource)}
    changes = drift.changes(
        view.comparison,
        before=[
            drift.Open(
                id=row.pk,
                kind=Kind(row.kind),
                login=row.login,
                entitlement=row.entitlement.name,
                is_confirmed=row.confirmed_at is not None,
            )
            for row in open_now.values()
        ],
    )
    with transaction.atomic():
        by_name = {row.name: row for row in entitlements}
        Finding.objects.bulk_create(
            _new(row, by_name[row.entitlement], view.people, now=now) for row in changes.new
        )
        seen = [each.id for each, _ in (*changes.confirmed, *changes.again)]
        for first in range(0, len(seen), _CHUNK):
            Finding.objects.filter(pk__in=seen[first : first + _CHUNK]).update(last_seen_at=now)
    span = (began, now)
    acted = [
        _confirm(open_now[each.id], found, resource, view, span=span)
        for each, found in changes.confirmed
    ]
    acted += [
        _again(open_now[each.id], found, resource, view, span=span) for each, found in changes.again
    ]
    held = {(login.casefold(), name) for login, name in sight.held}
    for each in changes.over:
        _over(open_now[each.id], held=(each.login.casefold(), each.entitlement) in held, now=now)
    _finished(resource, sight, now=now, soon=bool(changes.new) or any(acted))


# -- recording and repairing


def _new(
    found: drift.Found, entitlement: Entitlement, who: dict[str, int], *, now: datetime
) -> Finding:
    return Finding(
        resource_id=entitlement.resource_id,
        entitlement=entitlement,
        login=found.login,
        kind=str(found.kind),
        person_id=who.get(found.login.casefold()),
        request_id=found.requests[0] if found.requests else None,
        first_seen_at=now,
        last_seen_at=now,
    )


@transaction.atomic
def _confirm(
    finding: Finding,
    found: drift.Found,
    resource: Resource,
    view: View,
    *,
    span: tuple[datetime, datetime],
) -> bool:
    """Make a finding certain, record and tell it, and begin its repair; return whether it does.

    One about a request holds that and its lease: what has changed since the look is left to the
    next one.
    """
    began, now = span
    if not found.requests:
        Finding.objects.filter(pk=finding.pk).update(confirmed_at=now)
        return False
    record = _still(found, now=now)
    if record is None:
        return False
    does = resource.drift_policy == DriftPolicy.REPAIR
    is_missing = found.kind == Kind.MISSING
    grants.attempted(
        request_id=record.request_id,
        kind=GrantEvent.Kind.LOST if is_missing else GrantEvent.Kind.FOUND,
        attempt=grants.Attempt(1, began, now, detail={"login": found.login, "repairs": does}),
    )
    notices.drifted(
        record,
        kind=str(found.kind),
        finding=finding.pk,
        operators=[person.pk for person in people.operators()],
        now=now,
    )
    log.error("drift.found", kind=str(found.kind), request=record.reference)
    Finding.objects.filter(pk=finding.pk).update(confirmed_at=now, request_id=record.request_id)
    if does:
        _repair(finding, found, record, view, now=now)
    return does


@transaction.atomic
def _again(
    finding: Finding,
    found: drift.Found,
    resource: Resource,
    view: View,
    *,
    span: tuple[datetime, datetime],
) -> bool:
    """Repair what is confirmed and still differs, a few times; return whether it does."""
    if (
        not found.requests
        or finding.repairs >= REPAIRS_MOST
        or resource.drift_policy != DriftPolicy.REPAIR
    ):
        return False
    record = _still(found, now=span[1])
    if record is None:
        return False
    _repair(finding, found, record, view, now=span[1])
    return True


def _still(found: drift.Found, *, now: datetime) -> AccessRequest | None:
    """Hold what a finding is about; return it unless it has changed since the target was asked."""
    record = recording.locked(found.requests[0])
    recording.lock_leases([leases.key(record)])
    if found.kind == Kind.MISSING:
        return record if reads.may_be_made_again(record, now=max(now, clock.now())) else None
    return record if reads.may_be_removed(record) else None


def _repair(
    finding: Finding, found: drift.Found, record: AccessRequest, view: View, *, now: datetime
) -> None:
    """Have the access made once more, or removed again; both look anew before they call."""
    if found.kind == Kind.MISSING:
        items = [starts.item("grant.ready", record, now=now)]
    else:
        # Where each grant has credentials of its own, the target does not say whose are left.
        older = found.requests[1:] if view.per_request else ()
        ended = [record, *_over_by_now(older)]
        items = [starts.item("grant.cleanup", row, now=now, certain=True) for row in ended]
    queue.put_many(items)
    Finding.objects.filter(pk=finding.pk).update(repairs=finding.repairs + 1, repaired_at=now)


def _over_by_now(ids: Iterable[uuid.UUID]) -> list[AccessRequest]:
    records = request_reads.current_many(ids).values()
    return [row for row in records if row.state in FINAL]


@transaction.atomic
def _over(finding: Finding, *, held: bool, now: datetime) -> None:
    """Resolve a finding that the newest look does not show any more."""
    how = Finding.Resolution.BY_ITSELF
    if finding.confirmed_at is None:
        how = Finding.Resolution.UNCONFIRMED
    elif finding.kind == Kind.MISSING:
        assert finding.request_id is not None
        active = request_reads.current(finding.request_id).state == State.ACTIVE
        if not active:
            how = Finding.Resolution.ENDED
        elif finding.repairs:
            how = Finding.Resolution.REPAIRED
    elif held:
        how = Finding.Resolution.GRANTED
    elif finding.kind == Kind.LEFTOVER and finding.repairs:
        how = Finding.Resolution.REPAIRED
    Finding.objects.filter(pk=finding.pk).update(resolved_at=now, resolution=str(how))
    gone = (Finding.Resolution.REPAIRED, Finding.Resolution.BY_ITSELF)
    if finding.kind == Kind.LEFTOVER and how in gone and finding.request_id:
        recording.lock(finding.request_id)
        began = finding.repaired_at or finding.last_seen_at
        grants.attempted(
            request_id=finding.request_id,
            kind=GrantEvent.Kind.GONE,
            attempt=grants.Attempt(
                max(1, finding.repairs),
                began,
                now,
                detail={"login": finding.login, "repairs": how == Finding.Resolution.REPAIRED},
            ),
        )


# -- when


def look_around(until: Callable[[datetime], datetime] = lambda now: now) -> int:
    """Look at every target that is due, a few at a time; return how many were due.

    Before each look `until` turns the moment into the one by which a target has to have come due;
    the rest is left to a later call. Whoever has not answered when the time is up goes on by
    itself, and keeps nobody else back: its resource is not due again for a while, and the others
    are looked at by the next call.
    """
    due = reads.due(now=clock.now())
    Observation.objects.bulk_create(  # those that are not known yet: their waiting begins
        [Observation(resource_id=resource_id, next_at=since) for resource_id, since in due.items()],
        ignore_conflicts=True,
    )
    waiting = deque(due.items())
    ends = time.monotonic() + LOOK_SECONDS
    threads = [
        threading.Thread(target=_drain, args=(waiting, ends, until), daemon=True, name="observing")
        for _ in range(min(SIDE_BY_SIDE, len(due)))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, ends - time.monotonic()))
    return len(due)


def _drain(
    waiting: deque[tuple[int, datetime]], ends: float, until: Callable[[datetime], datetime]
) -> None:
    try:
        while time.monotonic() < ends:
            try:
                resource_id, since = waiting.popleft()
            except IndexError:
                return
            if since > until(clock.now()):
                return  # as are all behind it
            try:
                observe(resource_id=resource_id)
            except Exception:  # one that breaks must not keep the others from being looked at
                log.exception("observation.broken", resource=resource_id)
    finally:
        connections.close_all()


def _began(resource: Resource, *, now: datetime) -> None:
    Observation.objects.update_or_create(
        resource=resource, defaults={"started_at": now, "next_at": now + settings.RECONCILE_EVERY}
    )


def _finished(resource: Resource, sight: Sight, *, now: datetime, soon: bool) -> None:
    wait = min(SOON, settings.RECONCILE_EVERY) if soon else settings.RECONCILE_EVERY
    said = {"held": len(sight.held), "succeeded_at": now} if not sight.error else {}
    left_out = [f"{name}: {why}" for name, why in sorted(sight.left_out.items())]
    Observation.objects.filter(resource=resource).update(
        finished_at=now,
        error=sight.error,
        permanent=sight.permanent,
        left_out="\n".join(left_out),
        next_at=now + wait,
        **said,
    )


@contextmanager
def _alone(resource_id: int) -> Iterator[bool]:
    """Yield whether this is the only one that looks at the resource, in all processes.

    A lock of the session: a process that dies loses it with its connection.
    """
    key: tuple[str, int] = (f"observe:{resource_id}", _OBSERVE_SPACE)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, %s))", key)
        alone = bool(cursor.fetchone()[0])
    try:
        yield alone
    finally:
        if alone:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(hashtextextended(%s, %s))", key)
