"""The only room that talks to targets: makes access, removes it, and has it recorded by `grants`.

No transaction is open while a target is called. Everything may run twice, late, or be killed: the
connectors are idempotent, and the records are written under the request's lock.
"""

import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import structlog
from django.db import transaction

from approvals.connectors import registry, secrets
from approvals.connectors.protocol import (
    Act,
    ConnectorError,
    GrantSpec,
    Health,
    Receipt,
    Step,
    untouched,
)
from approvals.domain.refusals import NotFound
from approvals.domain.states import EndReason, State
from approvals.models import AccessRequest, GrantEvent, OutboxItem, Resource
from approvals.outbox import queue
from approvals.selectors import clock, leases
from approvals.selectors import requests as reads
from approvals.services import (
    grants,
    handover,
    isolation,
    recording,
    ssh_keys,
    starts,
    targets,
)

log = structlog.get_logger(__name__)

#: A grant that keeps failing for now is given up after this; a removal never is.
GIVE_UP_AFTER = timedelta(hours=24)


def apply(items: Sequence[OutboxItem]) -> None:
    """Make the access of approved requests real; then they are active, or fail with the reason.

    A request that was cancelled while the target worked is taken away again, never activated.
    """
    due: list[tuple[OutboxItem, AccessRequest]] = []
    for item, record in with_records(items):
        try:
            if _is_ready(item, record):
                assert record is not None
                due.append((item, record))
        except Exception as error:  # what can't be read of one must not keep back the others
            log.exception("grant.unreadable", item=item.pk)
            queue.failed(item, error=f"{type(error).__name__}: {error}", now=clock.now())
    for done in isolation.call(due, _granting(due)):
        for item, record, outcome in done:
            _applied(item, record, outcome)


def _is_ready(item: OutboxItem, record: AccessRequest | None) -> bool:
    """Return whether the access may be made now; settle the item where it may not."""
    now = clock.now()
    if record is None or record.state != State.APPROVED:
        if record is not None and record.state == State.CANCELLED and item.attempts > 1:
            _undo(item, certain=True)  # an earlier try may have reached the target
        else:
            queue.done([item])
        return False
    verdict = starts.judge(record, now=now)
    if not verdict.refusal and verdict.at <= now:
        return True
    with transaction.atomic():
        if verdict.refusal:
            grants.fail(request_id=record.request_id, reason=verdict.refusal, now=now)
        else:  # it must not wait for its window in the way of others
            starts.later(record, at=verdict.at, now=now)
        if item.attempts > 1:
            _undo(item, certain=True)
        else:
            queue.done([item])
    return False


def _applied(item: OutboxItem, record: AccessRequest, outcome: targets.Outcome) -> None:
    now = clock.now()
    attempt = _attempt(item, outcome)
    if not outcome.error:
        with transaction.atomic():
            active = grants.activate(request_id=record.request_id, attempt=attempt, now=now)
            if active is not None:
                handover.keep(record.request_id, outcome.handover, now=now)
                queue.done([item])
        if active is None:
            _undo(item, certain=True)
        return
    log.warning("grant.failed", request=record.reference, error=outcome.error)
    too_old = item.first_failed_at is not None and now - item.first_failed_at > GIVE_UP_AFTER
    with transaction.atomic():
        grants.attempted(
            request_id=record.request_id, kind=GrantEvent.Kind.GRANT_FAILED, attempt=attempt
        )
        if outcome.permanent or too_old:
            grants.fail(request_id=record.request_id, reason=outcome.error, now=now)
            # Nothing of a half-made grant may stay behind.
            _undo(item, certain=item.attempts > 1 or not outcome.untouched)
        else:
            give_back(item, outcome, now=now)


def _attempt(item: OutboxItem, outcome: targets.Outcome) -> grants.Attempt:
    """Return a try to make access as its record: of a failed one, whether it may have made some."""
    attempt = outcome.attempt(item.attempts)
    if outcome.error and not outcome.untouched:
        return replace(attempt, detail=attempt.detail | {"maybe_made": True})
    return attempt


def give_back(item: OutboxItem, outcome: targets.Outcome, *, now: datetime) -> None:
    """Have it tried again later; removals of the same access don't wait for that."""
    queue.failed(item, error=outcome.error, now=now, retry_at=outcome.retry_at)
    grants.let_pass([item.key])


def ready(items: Sequence[OutboxItem]) -> None:
    """Have a target know of access that goes on beyond what it was told, before that is over.

    For extensions that are approved and follow on active access, and for active access that must be
    made once more. Nothing changes its state.
    """
    wanted: list[tuple[OutboxItem, AccessRequest]] = []
    for item, record in with_records(items):
        if record is not None and record.state in (State.APPROVED, State.ACTIVE):
            wanted.append((item, record))
        elif record is not None and item.attempts > 1 and record.state != State.REVOKING:
            _undo(item, certain=True)
        else:
            queue.done([item])
    for done in isolation.call(wanted, _granting(wanted)):
        for item, record, outcome in done:
            _made_ready(item, record, outcome)


def _made_ready(item: OutboxItem, record: AccessRequest, outcome: targets.Outcome) -> None:
    now = clock.now()
    kind = GrantEvent.Kind.GRANT_FAILED if outcome.error else GrantEvent.Kind.GRANTED
    with transaction.atomic():
        recording.lock(record.request_id)
        state = reads.current(record.request_id).state
        if state not in (State.APPROVED, State.ACTIVE):
            # Also of one that is being removed: that may be over before this is recorded.
            _undo(item, certain=True)
            return
        grants.attempted(request_id=record.request_id, kind=kind, attempt=_attempt(item, outcome))
        if not outcome.error:
            handover.keep(record.request_id, outcome.handover, now=now)
            queue.done([item])
        elif outcome.permanent and state == State.APPROVED:
            queue.done([item])  # the start itself meets the same refusal, and says so
        else:
            give_back(item, outcome, now=now)


def _undo(item: OutboxItem, *, certain: bool) -> None:
    """Turn a grant that is not wanted any more into its removal, at its place in the order.

    A later grant of the same access waits behind it. `certain` says that the target may hold
    something: then the removal is tried for ever.
    """
    queue.become(
        item,
        topic="grant.cleanup",
        payload=item.payload | {"certain": certain},
        now=clock.now(),
    )


def with_records(
    items: Sequence[OutboxItem],
) -> list[tuple[OutboxItem, AccessRequest | None]]:
    """Return the items with the newest revisions of their requests (one query)."""
    keys = {item.pk: uuid.UUID(item.payload["request_id"]) for item in items}
    records = reads.current_many(keys.values())
    return [(item, records.get(keys[item.pk])) for item in items]


def _granting(rows: Sequence[tuple[OutboxItem, AccessRequest]]) -> targets.Action:
    """Return how to make these accesses, each until the last end of all who hold the same.

    An extension's time begins where the access that it follows on ends. Two queries at most.
    """
    records = [record for _, record in rows]
    originals = reads.current_many(
        {row.extends for row in records if row.extends and row.ends_at is None}
    )
    others = leases.covers(row for row in records if row.target.get("knows_its_end"))

    def grant(record: AccessRequest, now: datetime, item: OutboxItem) -> Receipt:
        original = originals.get(record.extends) if record.extends else None
        begins_at = now
        if original is not None and original.state == State.ACTIVE and original.ends_at:
            begins_at = max(now, original.ends_at)
        ends_at = record.ends_at or begins_at + record.duration
        if record.request_id in others:
            ends_at = max(ends_at, others[record.request_id].ends_at)
        with untouched():
            connector, spec = _spec(record, now=now, item=item)
        begins_now = record.ends_at is None and ends_at == now + record.duration
        spec = replace(spec, ends_at=ends_at, duration=record.duration if begins_now else None)
        if connector.needs_subject_keys:
            spec = replace(spec, subject_keys=ssh_keys.lines(record.subject_id))
        receipt: Receipt = connector.grant(spec)
        return receipt

    return grant


def revoke(record: AccessRequest, now: datetime, item: OutboxItem) -> Receipt:
    """Have the target remove an access; return what it confirmed. Raises: ConnectorError."""
    connector, spec = _spec(record, now=now, item=item)
    if record.ends_at is None:
        spec = replace(spec, ends_at=_latest_end(record, item))
    receipt: Receipt = connector.revoke(spec)
    if connector.ends_at_target and record.end_reason == EndReason.TIME:
        # The target has refused new use since the end, whenever it was asked to remove it.
        return replace(receipt, detail=receipt.detail | {"refused_at_end": True})
    return receipt


def _latest_end(record: AccessRequest, item: OutboxItem) -> datetime:
    """Return when access that never became active is over by itself, where its target knows ends.

    It was made before its cleanup was put, and for its whole time at most.
    """
    begins = item.created_at
    if record.extends is not None:
        begins = max(begins, reads.current(record.extends).ends_at or begins)
    return begins + record.duration


def _spec(
    record: AccessRequest, *, now: datetime | None = None, item: OutboxItem | None = None
) -> tuple[Any, GrantSpec]:
    """Return the connector and the spec of what was approved; the secret is resolved now.

    `now` is the database's clock and `item` what is worked on: given whenever the target is called.
    Before activation the end is reckoned from `now`. Raises: ConnectorError.
    """
    target = record.target
    return registry.get(target["connector"]), GrantSpec(
        request_id=str(record.request_id),
        subject_login=target["login"],
        subject_email=target["email"],
        resource=record.resource_name,
        entitlement=record.entitlement_name,
        resource_settings=target["resource_settings"],
        entitlement_settings=target["entitlement_settings"],
        secret=secrets.resolve(target["secret"]) if target["secret"] else None,
        ends_at=record.ends_at or (now + record.duration if now else None),
        now=now,
        act=Act(key=str(item.pk), asked_at=item.created_at) if item else None,
    )


def how_to_connect(record: AccessRequest) -> list[Step]:
    """Return how the subject uses the access, and the resource's own hint. Never raises."""
    try:
        connector, spec = _spec(record)
        steps = list(connector.how_to_connect(spec))
    except (ConnectorError, NotFound) as error:
        log.warning("how_to_connect.failed", request=record.reference, error=str(error))
        steps = []
    hint = Resource.objects.filter(entitlements=record.entitlement_id).values_list(
        "connect_hint", flat=True
    )
    steps += [Step("Note", text) for text in hint if text]
    return steps


def ends_at_target(connector_key: str) -> bool:
    """Return whether the target itself enforces the end, even while this portal is down."""
    try:
        return registry.get(connector_key).ends_at_target
    except ConnectorError:
        return False


def describe(connector_key: str) -> tuple[str, str]:
    """Return the title and the two letters of a connector, for lists."""
    try:
        connector = registry.get(connector_key)
    except ConnectorError:
        return connector_key, "?"
    return connector.title, connector.glyph


def choices() -> list[tuple[str, str]]:
    """Return the connectors that a resource may name."""
    return registry.choices()


def validate(
    connector_key: str, *, resource_settings: Any, entitlement_settings: Any = None
) -> list[str]:
    """Return what is wrong with a resource's or an entitlement's settings, in sentences."""
    try:
        connector = registry.get(connector_key)
    except ConnectorError as error:
        return [error.message]
    return connector.validate(
        resource_settings=resource_settings, entitlement_settings=entitlement_settings
    )


def check(resource: Resource) -> Health:
    """Return whether the target answers and lets the portal do its work."""
    try:
        connector = registry.get(resource.connector)
        secret = secrets.resolve(resource.secret) if resource.secret else None
    except ConnectorError as error:
        return Health(ok=False, message=error.message)
    return connector.check(resource_settings=resource.settings, secret=secret, now=clock.now())
