"""Putting work into the outbox and taking it out. Knows topics and lanes, not what they mean.

Items are claimed by a lease that is written in its own short transaction; no lock is held while the
work is done. A worker that dies leaves a lease behind that runs out, and the item is claimed again.
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

import structlog
from django.conf import settings
from django.db import connection, transaction
from django.db.models import QuerySet

from approvals.outbox.models import OutboxItem

log = structlog.get_logger(__name__)

LANES = ("due", "provisioning", "notices", "news")
#: Which queue's workers serve a lane. News are notices that wait while access is being removed.
QUEUE_OF = {lane: lane for lane in LANES} | {"news": "notices"}
QUEUES = tuple(dict.fromkeys(QUEUE_OF.values()))
#: How long what can wait is put off at most while access is being removed: news, looks at targets.
PUT_OFF = timedelta(minutes=2)
#: Seconds of the longest wait between two tries.
BACKOFF_MOST_SECONDS = 3600

#: When an item `o` that has failed and waits for its pause was last tried, in SQL.
FAILED_AT = (
    f"(o.not_before - interval '1 s' * least({BACKOFF_MOST_SECONDS},"
    " 2 ^ least(greatest(o.attempts - 1, 0), 20)))"
)

_PUT = """
INSERT INTO approvals_outboxitem
    (topic, lane, target, key, payload, not_before, attempts, last_error, created_at)
SELECT topic, lane, target, key, payload, not_before, 0, '', statement_timestamp()
FROM json_to_recordset(%s::json) AS d(
    topic text, lane text, target text, key text, payload jsonb, not_before timestamptz)
RETURNING id
"""
# Picked once, before the update: as its subquery they could be picked again, beyond the limit.
_CLAIM = """
WITH picked AS MATERIALIZED (
    SELECT o.id FROM approvals_outboxitem o
    WHERE o.lane = %(lane)s AND o.not_before <= %(due)s
      AND (o.leased_until IS NULL OR o.leased_until <= %(now)s)
      AND (o.key = '' OR NOT EXISTS (
            SELECT FROM approvals_outboxitem earlier
            WHERE earlier.key = o.key AND earlier.key <> '' AND earlier.id < o.id))
    ORDER BY o.not_before, o.id LIMIT %(limit)s FOR UPDATE OF o SKIP LOCKED)
UPDATE approvals_outboxitem o SET leased_until = %(until)s, attempts = attempts + 1
FROM picked WHERE o.id = picked.id
RETURNING o.id, topic, lane, target, key, payload, not_before, leased_until, attempts,
    first_failed_at, last_error, created_at
"""
_CLAIM_OF_TARGET = _CLAIM.replace("WHERE o.lane", "WHERE o.target = %(target)s AND o.lane")

_wake: Callable[[str], None] | None = None


def on_wake(wake: Callable[[str], None]) -> None:
    """Register how workers of a lane are woken; the outbox itself knows no broker."""
    global _wake
    _wake = wake


def wake(lane: str) -> None:
    """Wake the lane's workers now. A broker that is down costs nothing but time: beat looks too."""
    if _wake is None:
        return
    try:
        _wake(lane)
    except Exception as error:  # the broker's own errors are many; none may fail a committed write
        log.warning("outbox.wake_failed", lane=lane, error=type(error).__name__)


def put(
    *,
    topic: str,
    lane: str,
    payload: dict[str, Any],
    now: datetime,
    key: str = "",
    not_before: datetime | None = None,
) -> OutboxItem:
    """Write one side effect into the running transaction and wake its lane once that commits."""
    return put_many([item(topic, lane, payload, now=now, key=key, not_before=not_before)])[0]


def item(
    topic: str,
    lane: str,
    payload: dict[str, Any],
    *,
    now: datetime,
    key: str = "",
    target: str = "",
    not_before: datetime | None = None,
) -> OutboxItem:
    """Return an unsaved item, for `put_many`."""
    return OutboxItem(
        topic=topic,
        lane=lane,
        key=key,
        target=target,
        payload=payload,
        not_before=not_before or now,
    )


def put_many(items: Iterable[OutboxItem]) -> list[OutboxItem]:
    """Write side effects into the running transaction and wake their lanes once that commits."""
    assert transaction.get_connection().in_atomic_block, "side effects belong to a transaction"
    rows = list(items)
    if not rows:
        return rows
    document = [
        {
            "topic": row.topic,
            "lane": row.lane,
            "target": row.target,
            "key": row.key,
            "payload": row.payload,
            "not_before": row.not_before.isoformat(),
        }
        for row in rows
    ]
    with connection.cursor() as cursor:
        cursor.execute(_PUT, [json.dumps(document)])
        for row, (pk,) in zip(rows, cursor.fetchall(), strict=True):
            row.pk = pk
            row._state.adding = False
    for lane in {row.lane for row in rows}:
        transaction.on_commit(lambda lane=lane: wake(lane))  # type: ignore[misc]
    return rows


def claim(
    *,
    lane: str,
    limit: int,
    now: datetime,
    target: str | None = None,
    due: datetime | None = None,
) -> list[OutboxItem]:
    """Lease up to `limit` items that are due, the oldest of each key only; of `target` if given.

    With `due`, those alone that came due by then, which may be before `now`. Two workers never hold
    the same item within a lease's time.
    """
    with transaction.atomic():
        rows = OutboxItem.objects.raw(
            _CLAIM if target is None else _CLAIM_OF_TARGET,
            {
                "lane": lane,
                "limit": limit,
                "now": now,
                "due": due or now,
                "until": now + settings.OUTBOX_LEASE,
                **({} if target is None else {"target": target}),
            },
        )
        return sorted(rows, key=lambda row: row.pk)


def _mine(item: OutboxItem) -> QuerySet[OutboxItem]:
    """Return the item's row while it is still as it was claimed.

    A lease that ran out may have given it to somebody else: each claim counts an attempt, and an
    item that has become other work never comes back to the topic that it had.
    """
    return OutboxItem.objects.filter(pk=item.pk, topic=item.topic, attempts=item.attempts)


def done(items: Iterable[OutboxItem]) -> None:
    """Remove items whose work is done; in the transaction that records it where there is one."""
    OutboxItem.objects.filter(pk__in=[row.pk for row in items]).delete()


def failed(
    item: OutboxItem,
    *,
    error: str,
    now: datetime,
    most_seconds: float = BACKOFF_MOST_SECONDS,
    retry_at: datetime | None = None,
) -> OutboxItem:
    """Give an item back for a later try: after 1, 2, 4, … seconds, at most `most_seconds`.

    `FAILED_AT` reckons the other way round. A `retry_at` that lies ahead is when it is worth one:
    then, and no later than `most_seconds`.
    """
    delay = math.pow(2, min(item.attempts - 1, 20))
    if retry_at is not None and retry_at > now:
        delay = (retry_at - now).total_seconds()
    delay = min(most_seconds, delay)
    item.not_before = now + timedelta(seconds=delay)
    item.leased_until = None
    item.first_failed_at = item.first_failed_at or now
    item.last_error = error[:2000]
    _mine(item).update(
        not_before=item.not_before,
        leased_until=None,
        first_failed_at=item.first_failed_at,
        last_error=item.last_error,
    )
    return item


def renew(items: Iterable[OutboxItem], *, now: datetime) -> None:
    """Hold items for another lease's time, because their work takes long; only one's own."""
    rows = list(items)
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE approvals_outboxitem o SET leased_until = %s"
            " FROM unnest(%s::bigint[], %s::text[], %s::int[]) mine(id, topic, attempts)"
            " WHERE o.id = mine.id AND o.topic = mine.topic AND o.attempts = mine.attempts"
            " AND o.leased_until IS NOT NULL",
            [
                now + settings.OUTBOX_LEASE,
                [row.pk for row in rows],
                [row.topic for row in rows],
                [row.attempts for row in rows],
            ],
        )


def become(item: OutboxItem, *, topic: str, payload: dict[str, Any], now: datetime) -> None:
    """Turn an item into other work at the same place of its key's order, to be done at once.

    Where it is not one's own any more, because its lease ran out and another worker has done it,
    changed it or holds it, the work is put anew behind what that one does: it is never lost.
    """
    with transaction.atomic():
        changed = _mine(item).update(
            topic=topic,
            payload=payload,
            not_before=now,
            leased_until=None,
            attempts=0,
            first_failed_at=None,
            last_error="",
            created_at=now,
        )
        if changed:
            transaction.on_commit(lambda: wake(item.lane))
        else:
            log.warning("outbox.put_anew", topic=topic, key=item.key)
            put_many(
                [OutboxItem(topic=topic, lane=item.lane, key=item.key, target=item.target,
                            payload=payload, not_before=now)]
            )  # fmt: skip


def postpone(item: OutboxItem, *, until: datetime) -> None:
    """Give an item back untried, to be claimed again at `until`."""
    mine = _mine(item)
    item.not_before = until
    item.leased_until = None
    item.attempts = max(0, item.attempts - 1)
    mine.update(not_before=until, leased_until=None, attempts=item.attempts)


def drop_untried(*, topic: str, key: str, about: str, now: datetime) -> None:
    """Remove items of the request `about` that are not needed any more and that nobody has tried.

    One that was tried may have had its effect: it is left, and tried again at once, so that its
    handler sees what has become of its cause.
    """
    items = OutboxItem.objects.filter(
        topic=topic, key=key, payload__request_id=about, leased_until=None
    )
    items.filter(attempts=0).delete()
    if items.update(not_before=now):
        transaction.on_commit(lambda: wake("provisioning"))


def step_behind(*, keys: Iterable[str], topics: Iterable[str], past: Iterable[str]) -> None:
    """Let items of `past` go first: those of `topics` move to the end of their key's order.

    Only those that failed and are not being worked on: they would hold up what follows for as long
    as they pause. Items that are to be tried for the first time keep their place.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE approvals_outboxitem o SET id = DEFAULT"
            " WHERE key = ANY(%s::text[]) AND topic = ANY(%s::text[]) AND leased_until IS NULL"
            " AND first_failed_at IS NOT NULL AND EXISTS (SELECT FROM approvals_outboxitem later"
            " WHERE later.key = o.key AND later.id > o.id AND later.topic = ANY(%s::text[]))",
            [list(keys), list(topics), list(past)],
        )


def retry_now(pk: int, *, now: datetime) -> bool:
    """Let a waiting item be tried at once; return whether there was one."""
    changed = OutboxItem.objects.filter(pk=pk).update(not_before=now, leased_until=None)
    return bool(changed)


_UNTRIED = """
SELECT o.id, k.last_error FROM approvals_outboxitem o
LEFT JOIN approvals_circuit k ON k.target = o.target
WHERE o.topic = ANY(%s::text[]) AND o.first_failed_at IS NULL AND o.created_at <= %s
  AND (o.leased_until IS NULL OR o.leased_until <= %s)
ORDER BY o.created_at, o.id LIMIT %s FOR UPDATE OF o SKIP LOCKED
"""


def untried_since(
    *, topics: Iterable[str], before: datetime, limit: int, now: datetime
) -> list[tuple[OutboxItem, str]]:
    """Return items that have waited since `before` and never failed, and how their target does.

    The longest first, with the target's last error or nothing. They are held until the transaction
    ends, so that no worker begins with one.
    """
    with connection.cursor() as cursor:
        cursor.execute(_UNTRIED, [list(topics), before, now, limit])
        errors = {pk: error or "" for pk, error in cursor.fetchall()}
    found = OutboxItem.objects.in_bulk(errors)
    return [(found[pk], error) for pk, error in errors.items()]


def mark_failed(errors: Mapping[int, str], *, now: datetime) -> None:
    """Count items among those that fail, without a pause: what keeps them is not their own."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE approvals_outboxitem o SET first_failed_at = %s, last_error = v.error"
            " FROM unnest(%s::bigint[], %s::text[]) v(id, error) WHERE o.id = v.id",
            [now, list(errors), [error[:2000] for error in errors.values()]],
        )
