"""The only room that talks to targets: makes access, removes it, and has it recorded by `grants`.

No transaction is open while a target is called. Everything may run twice, late, or be killed: the
connectors are idempotent, and the records are written under the request's lock.
"""

import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from django.conf import settings
from django.db import connections, transaction

from approvals.connectors import registry, secrets
from approvals.connectors.protocol import (
    ConnectorError,
    GrantSpec,
    Health,
    Receipt,
    Step,
    TransientError,
)
from approvals.domain.refusals import NotFound
from approvals.domain.states import State
from approvals.models import AccessRequest, GrantEvent, OutboxItem, Resource
from approvals.outbox import queue
from approvals.selectors import clock, people
from approvals.selectors import requests as reads
from approvals.services import grants, notices, recording

log = structlog.get_logger(__name__)

#: Calls to targets that one task makes at the same time.
CONCURRENCY = 16
#: A grant that keeps failing for now is given up after this; a removal never is.
GIVE_UP_AFTER = timedelta(hours=24)


@dataclass(frozen=True)
class _Outcome:
    receipt: Receipt | None
    error: ConnectorError | None
    started_at: datetime
    seconds: float

    def attempt(self, number: int) -> grants.Attempt:
        return grants.Attempt(
            number=number,
            started_at=self.started_at,
            finished_at=self.started_at + timedelta(seconds=self.seconds),
            detail=dict(self.receipt.detail) if self.receipt else {},
            sessions_closed=self.receipt.sessions_closed if self.receipt else 0,
            error=self.error.message if self.error else "",
            permanent=bool(self.error and self.error.permanent),
        )


def apply(items: Sequence[OutboxItem]) -> None:
    """Make the access of approved requests real; then they are active, or fail with the reason.

    A request that was cancelled while the target worked is taken away again, never activated.
    """
    ready: list[tuple[OutboxItem, AccessRequest]] = []
    for item, record in _with_records(items):
        now = clock.now()
        if record is None or record.state != State.APPROVED:
            if record is not None and record.state == State.CANCELLED and item.attempts > 1:
                _undo(item, record)  # an earlier try may have reached the target before it died
            else:
                queue.done([item])
        elif record.starts_at is not None and record.starts_at > now:
            queue.postpone(item, until=record.starts_at)
        elif reason := grants.blocked(record, now=now):
            with transaction.atomic():
                grants.fail(request_id=record.request_id, reason=reason, now=now)
                if item.attempts > 1:
                    _put_cleanup(record, now=now)
                queue.done([item])
        else:
            ready.append((item, record))
    for done in _call(ready, lambda connector, spec: connector.grant(spec)):
        for item, record, outcome in done:
            _applied(item, record, outcome)


def _applied(item: OutboxItem, record: AccessRequest, outcome: _Outcome) -> None:
    now = clock.now()
    attempt = outcome.attempt(item.attempts)
    if outcome.error is None:
        with transaction.atomic():
            active = grants.activate(request_id=record.request_id, attempt=attempt, now=now)
            if active is not None:
                queue.done([item])
        if active is None:
            _undo(item, record)
        return
    log.warning("grant.failed", request=record.reference, error=outcome.error.message)
    too_old = item.first_failed_at is not None and now - item.first_failed_at > GIVE_UP_AFTER
    with transaction.atomic():
        grants.attempt_failed(
            request_id=record.request_id, kind=GrantEvent.Kind.GRANT_FAILED, attempt=attempt
        )
        if outcome.error.permanent or too_old:
            grants.fail(request_id=record.request_id, reason=outcome.error.message, now=now)
            # Nothing of a half-made grant may stay behind.
            _put_cleanup(record, now=now)
            queue.done([item])
        else:
            queue.failed(item, error=outcome.error.message, now=now)


def _undo(item: OutboxItem, record: AccessRequest) -> None:
    """Replace a grant that is not wanted any more by its removal."""
    with transaction.atomic():
        _put_cleanup(record, now=clock.now())
        queue.done([item])


def _put_cleanup(record: AccessRequest, *, now: datetime) -> None:
    queue.put(
        topic="grant.cleanup",
        lane="provisioning",
        payload={"request_id": str(record.request_id)},
        now=now,
        key=f"grant:{record.subject_id}:{record.entitlement_id}",
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
    for done in _call(ready, lambda connector, spec: connector.revoke(spec)):
        now = clock.now()
        good = [row for row in done if row[2].error is None]
        with transaction.atomic():
            grants.confirm_many(
                [(r.request_id, o.attempt(item.attempts)) for item, r, o in good], now=now
            )
            queue.done([item for item, _, _ in good])
        for item, record, outcome in done:
            if outcome.error is not None:
                _not_withdrawn(item, record, outcome, now=now)


def _not_withdrawn(
    item: OutboxItem, record: AccessRequest, outcome: _Outcome, *, now: datetime
) -> None:
    assert outcome.error is not None
    log.error("removal.failed", request=record.reference, error=outcome.error.message)
    with transaction.atomic():
        grants.attempt_failed(
            request_id=record.request_id,
            kind=GrantEvent.Kind.REMOVE_FAILED,
            attempt=outcome.attempt(item.attempts),
        )
        queue.failed(item, error=outcome.error.message, now=now)
        due_at = record.removal_due_at or now
        if now - due_at >= settings.STUCK_AFTER:
            notices.stuck(
                record,
                error=outcome.error.message,
                now=now,
                operators=[person.pk for person in people.operators()],
            )


def cleanup(items: Sequence[OutboxItem]) -> None:
    """Remove what a grant that never became active may have left at the target."""
    ready = [(item, record) for item, record in _with_records(items) if record is not None]
    for done in _call(ready, lambda connector, spec: connector.revoke(spec)):
        for item, record, outcome in done:
            now = clock.now()
            if outcome.error is None:
                queue.done([item])
            elif outcome.error.permanent and record.state == State.FAILED:
                log.warning("cleanup.given_up", request=record.reference)
                queue.done([item])
            else:
                queue.failed(item, error=outcome.error.message, now=now)


def _with_records(
    items: Sequence[OutboxItem],
) -> list[tuple[OutboxItem, AccessRequest | None]]:
    keys = {item.pk: uuid.UUID(item.payload["request_id"]) for item in items}
    records = reads.current_many(keys.values())
    return [(item, records.get(keys[item.pk])) for item in items]


_Row = tuple[OutboxItem, AccessRequest]
_Done = tuple[OutboxItem, AccessRequest, _Outcome]


def _call(
    rows: Sequence[_Row], action: Callable[[Any, GrantSpec], Receipt]
) -> Iterator[list[_Done]]:
    """Call the targets of `rows` side by side; yield what is finished as it finishes."""
    assert recording.no_transaction(), "a transaction is open, and the network must not hold one"
    if not rows:
        return
    started = clock.now()
    origin = time.monotonic()

    def call(record: AccessRequest) -> _Outcome:
        begun = time.monotonic()
        at = started + timedelta(seconds=begun - origin)
        receipt, error = None, None
        try:
            connector, spec = _spec(record, now=at)
            receipt = action(connector, spec)
        except ConnectorError as refused:
            error = refused
        except Exception as unexpected:  # a connector's bug must not lose the others of the batch
            log.exception("connector.broken", request=record.reference)
            error = TransientError(f"The connector broke: {type(unexpected).__name__}.")
        return _Outcome(receipt, error, at, time.monotonic() - begun)

    if len(rows) == 1:
        yield [(rows[0][0], rows[0][1], call(rows[0][1]))]
        return

    def call_in_thread(record: AccessRequest) -> _Outcome:
        try:
            return call(record)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(min(CONCURRENCY, len(rows))) as pool:
        futures: dict[Future[_Outcome], _Row] = {
            pool.submit(call_in_thread, record): (item, record) for item, record in rows
        }
        pending = set(futures)
        while pending:
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            if pending:  # let what finishes at the same time be recorded together
                more, pending = wait(pending, timeout=0.01)
                done |= more
            yield [(*futures[future], future.result()) for future in done]


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
