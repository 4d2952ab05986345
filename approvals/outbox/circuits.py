"""Leaves a target that keeps failing alone for a while, and tells when it is worth another try.

After a few failures in a row the circuit opens: what waits for the target is put off, untried. When
the pause is over one call probes. The first that succeeds closes the circuit, and all that was put
off, or failed meanwhile, is due at once; what had failed before by itself keeps its own pause, or a
target with much of that would be thought dead again. Nothing is given up here, and no other
target's work waits for this one's.
"""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

import structlog
from django.db import connection, transaction

from approvals.outbox import queue
from approvals.outbox.models import Circuit, OutboxItem

log = structlog.get_logger(__name__)

#: Failures in a row that open the circuit.
FAILURES_TO_OPEN = 3
#: The pause after the one that opens it; each further failure doubles it, up to the most.
FIRST_PAUSE_SECONDS = 2
PAUSE_MOST_SECONDS = 60
#: How long one probe may take before another may be sent.
PROBE_SECONDS = 60
#: Items of one target that are claimed at a time.
CLAIM = 64

_DUE = """
WITH RECURSIVE named AS (
    (SELECT target FROM approvals_outboxitem WHERE target <> '' ORDER BY target LIMIT 1)
    UNION ALL
    SELECT (SELECT o.target FROM approvals_outboxitem o WHERE o.target > named.target
            AND o.target <> '' ORDER BY o.target LIMIT 1)
    FROM named WHERE named.target IS NOT NULL),
several AS (SELECT target FROM named WHERE target IS NOT NULL UNION ALL SELECT '')
SELECT target FROM several s WHERE EXISTS (
    SELECT FROM approvals_outboxitem o
    WHERE o.target = s.target AND o.lane = %(lane)s AND o.not_before <= %(now)s
      AND (o.leased_until IS NULL OR o.leased_until <= %(now)s))
"""
_FAILED = """
INSERT INTO approvals_circuit AS c (target, failures, failing_since, open_until, last_error)
VALUES (%(target)s, 1, %(now)s, NULL, %(error)s)
ON CONFLICT (target) DO UPDATE SET failures = c.failures + 1, last_error = EXCLUDED.last_error,
    open_until = CASE WHEN c.failures + 1 >= %(opens)s THEN %(now)s + interval '1 s'
        * least(%(most)s, %(first)s * 2 ^ least(c.failures + 1 - %(opens)s, 20)) END
RETURNING failures, open_until
"""
# What was put off waits until the circuit's own pause at most.
_DUE_AGAIN = f"""
UPDATE approvals_outboxitem o SET not_before = %(now)s
WHERE o.target = %(target)s AND o.leased_until IS NULL AND o.not_before > %(now)s
  AND (o.first_failed_at IS NULL OR o.not_before <= %(open_until)s
       OR {queue.FAILED_AT} >= %(since)s)
RETURNING o.lane
"""  # noqa: S608 - a constant


def due_targets(*, lane: str, now: datetime) -> list[str]:
    """Return the targets that have something to do now; "" for work that calls none (one query)."""
    with connection.cursor() as cursor:
        cursor.execute(_DUE, {"lane": lane, "now": now})
        return [row[0] for row in cursor.fetchall()]


class Claim(NamedTuple):
    """Leased items; `probe_until` is set where they are one that probes an open circuit."""

    items: list[OutboxItem]
    probe_until: datetime | None = None


def claim(target: str, *, lane: str, now: datetime) -> Claim:
    """Lease what is due at a target: one item, as a probe, after a pause; nothing during it.

    Whoever has worked on a probe says so by `probed`.
    """
    circuit = Circuit.objects.filter(target=target).first() if target else None
    if circuit is None or circuit.open_until is None:
        return Claim(queue.claim(lane=lane, limit=CLAIM, now=now, target=target))
    if circuit.open_until > now:
        _put_off(target, until=circuit.open_until, now=now)
        return Claim([])
    until = now + timedelta(seconds=PROBE_SECONDS)
    probing = Circuit.objects.filter(target=target, open_until=circuit.open_until)
    if not probing.update(open_until=until):  # another has begun to probe
        return Claim([])
    return Claim(queue.claim(lane=lane, limit=1, now=now, target=target), until)


def probed(target: str, *, probe_until: datetime, now: datetime) -> None:
    """Let the next item probe at once where this one made no call, so that nothing is known."""
    Circuit.objects.filter(target=target, open_until=probe_until).update(open_until=now)


def note(*, failed: Mapping[str, str], worked: Collection[str], now: datetime) -> None:
    """Take down which targets failed for now (with the error), and which answered.

    A target that did both answers: what failed is one access there, with a pause of its own.
    """
    for target in worked:
        _works(target, now=now)
    for target, error in failed.items():
        if target and target not in worked:
            _fails(target, error=error, now=now)


def _fails(target: str, *, error: str, now: datetime) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            _FAILED,
            {
                "target": target,
                "error": error[:2000],
                "now": now,
                "opens": FAILURES_TO_OPEN,
                "first": FIRST_PAUSE_SECONDS,
                "most": PAUSE_MOST_SECONDS,
            },
        )
        failures, open_until = cursor.fetchone()
    if open_until is not None:
        log.warning("target.open", target=target, failures=failures, until=open_until.isoformat())


def _works(target: str, *, now: datetime) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM approvals_circuit WHERE target = %s RETURNING failing_since, open_until",
            [target],
        )
        found = cursor.fetchone()
        if found is None or found[1] is None:
            return
        log.info("target.closed", target=target)
        _due_again(target, since=found[0], open_until=found[1], now=now)


def _due_again(target: str, *, since: datetime, open_until: datetime, now: datetime) -> None:
    """Let what waits because the target failed since then be tried at once."""
    with connection.cursor() as cursor:
        cursor.execute(
            _DUE_AGAIN,
            {"target": target, "since": since, "open_until": open_until, "now": now},
        )
        lanes = {lane for (lane,) in cursor.fetchall()}
    for lane in lanes:
        transaction.on_commit(lambda lane=lane: queue.wake(lane))  # type: ignore[misc]


def _put_off(target: str, *, until: datetime, now: datetime) -> None:
    OutboxItem.objects.filter(target=target, leased_until=None, not_before__lte=now).update(
        not_before=until
    )


def retry(target: str, *, now: datetime) -> bool:
    """Have an open circuit probed at once, and what waits for it with it; False: it isn't open."""
    with transaction.atomic():
        opened = Circuit.objects.filter(target=target, open_until__isnull=False)
        circuit = opened.select_for_update().first()
        if circuit is None or circuit.open_until is None:
            return False
        opened.update(open_until=now)
        _due_again(target, since=circuit.failing_since, open_until=circuit.open_until, now=now)
        transaction.on_commit(lambda: queue.wake("provisioning"))
    return True
