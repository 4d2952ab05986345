"""The only room that talks to targets: makes access, removes it, and has it recorded by `grants`.

No transaction is open while a target is called. Everything may run twice, late, or be killed: the
connectors are idempotent, and the records are written under the request's lock.
"""

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import structlog
from django.conf import settings
from django.db import transaction

from approvals.connectors import registry, secrets
from approvals.connectors.protocol import (
    ConnectorError,
    GrantSpec,
    Health,
    Receipt,
    Step,
)
from approvals.domain.refusals import NotFound
from approvals.domain.states import State
from approvals.models import AccessRequest, GrantEvent, OutboxItem, Resource
from approvals.outbox import queue
from approvals.selectors import clock, people
from approvals.selectors import requests as reads
from approvals.services import grants, notices, targets

log = structlog.get_logger(__name__)

#: A grant that keeps failing for now is given up after this; a removal never is.
GIVE_UP_AFTER = timedelta(hours=24)


def apply(items: Sequence[OutboxItem]) -> None:
    """Make the access of approved requests real; then they are active, or fail with the reason.

    A request that was cancelled while the target worked is taken away again, never activated.
    """
    ready: list[tuple[OutboxItem, AccessRequest]] = []
    for item, record in _with_records(items):
        try:
            if _is_ready(item, record):
                assert record is not None
                ready.append((item, record))
        except Exception as error:  # what can't be read of one must not keep back the others
            log.exception("grant.unreadable", item=item.pk)
            queue.failed(item, error=f"{type(error).__name__}: {error}", now=clock.now())
    for done in targets.call(ready, _grant):
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
    if record.starts_at is not None and record.starts_at > now:
        queue.postpone(item, until=record.starts_at)
        return False
    if reason := grants.blocked(record, now=now):
        with transaction.atomic():
            grants.fail(request_id=record.request_id, reason=reason, now=now)
            if item.attempts > 1:
                _undo(item, certain=True)
            else:
                queue.done([item])
        return False
    return True


def _applied(item: OutboxItem, record: AccessRequest, outcome: targets.Outcome) -> None:
    now = clock.now()
    attempt = outcome.attempt(item.attempts)
    if not outcome.error:
        with transaction.atomic():
            active = grants.activate(request_id=record.request_id, attempt=attempt, now=now)
            if active is not None:
                queue.done([item])
        if active is None:
            _undo(item, certain=True)
        return
    log.warning("grant.failed", request=record.reference, error=outcome.error)
    too_old = item.first_failed_at is not None and now - item.first_failed_at > GIVE_UP_AFTER
    with transaction.atomic():
        grants.attempt_failed(
            request_id=record.request_id, kind=GrantEvent.Kind.GRANT_FAILED, attempt=attempt
        )
        if outcome.permanent or too_old:
            grants.fail(request_id=record.request_id, reason=outcome.error, now=now)
            # Nothing of a half-made grant may stay behind.
            _undo(item, certain=item.attempts > 1)
        else:
            queue.failed(item, error=outcome.error, now=now)


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


def withdraw(items: Sequence[OutboxItem]) -> None:
    """Take the access of ended requests away; they are expired or revoked once it is confirmed.

    A failure of any kind is tried again, for ever, with growing pauses of an hour at most; when it
    lasts, owner and operators are alarmed.
    """
    ready: list[tuple[OutboxItem, AccessRequest]] = []
    for item, record in _with_records(items):
        if record is None or record.state != State.REVOKING:
            queue.done([item])
        else:
            ready.append((item, record))
    for done in targets.call(ready, _revoke):
        now = clock.now()
        good = [row for row in done if not row[2].error]
        with transaction.atomic():
            grants.confirm_many(
                [(r.request_id, o.attempt(item.attempts)) for item, r, o in good], now=now
            )
            queue.done([item for item, _, _ in good])
        for item, record, outcome in done:
            if outcome.error:
                _not_withdrawn(item, record, outcome, now=now)


def _not_withdrawn(
    item: OutboxItem, record: AccessRequest, outcome: targets.Outcome, *, now: datetime
) -> None:
    log.error("removal.failed", request=record.reference, error=outcome.error)
    with transaction.atomic():
        grants.attempt_failed(
            request_id=record.request_id,
            kind=GrantEvent.Kind.REMOVE_FAILED,
            attempt=outcome.attempt(item.attempts),
        )
        queue.failed(item, error=outcome.error, now=now)
        due_at = record.removal_due_at or now
        if now - due_at >= settings.STUCK_AFTER:
            notices.stuck(
                record,
                error=outcome.error,
                now=now,
                operators=[person.pk for person in people.operators()],
            )


def cleanup(items: Sequence[OutboxItem]) -> None:
    """Remove what a grant that never became active may have left at the target.

    Tried for ever where an attempt may have had its effect, like every removal.
    """
    ready = [(item, record) for item, record in _with_records(items) if record is not None]
    for done in targets.call(ready, _revoke):
        for item, record, outcome in done:
            now = clock.now()
            if not outcome.error:
                queue.done([item])
            elif outcome.permanent and not item.payload.get("certain"):
                log.info("cleanup.needless", request=record.reference)
                queue.done([item])
            else:
                log.error("cleanup.failed", request=record.reference, error=outcome.error)
                with transaction.atomic():
                    grants.attempt_failed(
                        request_id=record.request_id,
                        kind=GrantEvent.Kind.REMOVE_FAILED,
                        attempt=outcome.attempt(item.attempts),
                    )
                    queue.failed(item, error=outcome.error, now=now)


def _with_records(
    items: Sequence[OutboxItem],
) -> list[tuple[OutboxItem, AccessRequest | None]]:
    keys = {item.pk: uuid.UUID(item.payload["request_id"]) for item in items}
    records = reads.current_many(keys.values())
    return [(item, records.get(keys[item.pk])) for item in items]


def _grant(record: AccessRequest, now: datetime) -> Receipt:
    connector, spec = _spec(record, now=now)
    receipt: Receipt = connector.grant(spec)
    return receipt


def _revoke(record: AccessRequest, now: datetime) -> Receipt:
    connector, spec = _spec(record, now=now)
    receipt: Receipt = connector.revoke(spec)
    return receipt


def _spec(record: AccessRequest, *, now: datetime | None = None) -> tuple[Any, GrantSpec]:
    """Return the connector and the spec of what was approved; the secret is resolved now.

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
    return connector.check(resource_settings=resource.settings, secret=secret)
