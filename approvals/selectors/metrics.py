"""Figures of the running portal for monitoring: cheap however many requests there were.

What is over is read of the last hour alone, by the index of moments; what is open by the pointer's
partial indexes; the outbox's lanes are counted to a bound.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from django.db import connection

from approvals.selectors import lags
from approvals.selectors.failing import CLEANUPS

WINDOW = timedelta(hours=1)
#: Upper bounds in seconds. A removal is a matter of seconds, a decision one of hours.
LAG_BOUNDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0)
DECISION_BOUNDS = (60.0, 300.0, 900.0, 1800.0, 3600.0, 14400.0, 28800.0, 86400.0, 259200.0)


@dataclass(frozen=True, slots=True)
class Spread:
    """How values are spread: how many are at most each bound (cumulative), of all, and their sum.

    Bounds and sum are in seconds.
    """

    bounds: tuple[float, ...]
    at_most: tuple[int, ...]
    count: int
    sum: float


_HOUR = """
SELECT what, width_bucket, count(*), sum(seconds) FROM (
    SELECT what, seconds, width_bucket(seconds, CASE what WHEN 'lag' THEN %(lag)s::float8[]
                                                ELSE %(decision)s::float8[] END) FROM (
        SELECT CASE event WHEN 'confirmed' THEN 'lag' ELSE 'decision' END AS what,
               extract(epoch FROM CASE event
                   WHEN 'confirmed' THEN greatest(removal_confirmed_at - removal_due_at,
                                                  interval '0')
                   ELSE occurred_at - submitted_at END)::float8 AS seconds
        FROM approvals_accessrequest
        WHERE occurred_at > %(since)s AND occurred_at <= %(now)s
          AND (event = 'confirmed' AND removal_due_at IS NOT NULL
                 AND detail #>> '{receipt,kept}' IS DISTINCT FROM 'true'
               OR event IN ('approved', 'denied') AND actor_id IS NOT NULL)) measured) placed
GROUP BY 1, 2
"""


def last_hour(*, now: datetime) -> tuple[Spread, Spread]:
    """Return how late removals were confirmed, and how long people took to decide (one query).

    Lags are from the moment that a removal was due to the target's confirmation; access that the
    target kept, because another grant holds it, has none. Decisions are those of people; what a
    rule approved by itself is left out.
    """
    found: dict[str, dict[int, tuple[int, float]]] = {"lag": {}, "decision": {}}
    with connection.cursor() as cursor:
        cursor.execute(
            _HOUR,
            # width_bucket counts a value on a bound to the bucket above, `le` to the one below.
            {"since": now - WINDOW, "now": now, "lag": _above(LAG_BOUNDS),
             "decision": _above(DECISION_BOUNDS)},
        )  # fmt: skip
        for what, bucket, count, total in cursor.fetchall():
            found[what][bucket] = count, total
    return _spread(LAG_BOUNDS, found["lag"]), _spread(DECISION_BOUNDS, found["decision"])


_APART = f"""
SELECT what, width_bucket(seconds, %(bounds)s::float8[]), count(*), sum(seconds) FROM (
    SELECT what, extract(epoch FROM lag)::float8 AS seconds
    FROM approvals_accessrequest r
    CROSS JOIN LATERAL (
        VALUES ('login', {lags.LOGIN_LAG}), ('session', {lags.SESSION_LAG})) apart (what, lag)
    WHERE r.event = 'confirmed' AND r.occurred_at > %(since)s AND r.occurred_at <= %(now)s
      AND r.removal_due_at IS NOT NULL AND lag IS NOT NULL) measured
GROUP BY 1, 2
"""  # noqa: S608 - constants


def lags_apart(*, now: datetime) -> tuple[Spread, Spread]:
    """Return how late new use was refused, and open sessions were gone (one query).

    Of those removals of the last hour of which it is known apart, as `lags` says.
    """
    found: dict[str, dict[int, tuple[int, float]]] = {"login": {}, "session": {}}
    with connection.cursor() as cursor:
        cursor.execute(_APART, {"since": now - WINDOW, "now": now, "bounds": _above(LAG_BOUNDS)})
        for what, bucket, count, total in cursor.fetchall():
            found[what][bucket] = count, total
    return _spread(LAG_BOUNDS, found["login"]), _spread(LAG_BOUNDS, found["session"])


def _above(bounds: Sequence[float]) -> list[float]:
    return [bound + 1e-6 for bound in bounds]  # moments have microseconds


def _spread(bounds: tuple[float, ...], found: dict[int, tuple[int, float]]) -> Spread:
    at_most, running = [], 0
    for bucket in range(len(bounds)):
        running += found.get(bucket, (0, 0.0))[0]
        at_most.append(running)
    count = sum(number for number, _ in found.values())
    return Spread(bounds, tuple(at_most), count, sum(total for _, total in found.values()))


class TargetCounts(NamedTuple):
    """How many open requests a target has, by state, and how many removals are stuck."""

    target: str
    pending: int
    approved: int
    active: int
    revoking: int
    stuck: int


_TARGETS = f"""
SELECT t.name, coalesce(o.pending, 0), coalesce(o.approved, 0), coalesce(o.active, 0),
  coalesce(o.revoking, 0), coalesce(late.stuck, 0)
FROM approvals_resource t
LEFT JOIN (
  SELECT e.resource_id, count(*) FILTER (WHERE c.state = 'pending') AS pending,
    count(*) FILTER (WHERE c.state = 'approved') AS approved,
    count(*) FILTER (WHERE c.state = 'active') AS active,
    count(*) FILTER (WHERE c.state = 'revoking') AS revoking
  FROM approvals_currentrequest c JOIN approvals_entitlement e ON e.id = c.entitlement_id
  WHERE c.state IN ('pending', 'approved', 'active', 'revoking') GROUP BY 1
) o ON o.resource_id = t.id
LEFT JOIN (
  SELECT e.resource_id, count(*) AS stuck FROM (
    SELECT c.entitlement_id FROM approvals_currentrequest c
    JOIN approvals_accessrequest r ON r.id = c.record_id
    WHERE c.state = 'revoking' AND r.removal_due_at <= %(stuck)s
    UNION ALL {CLEANUPS}) each_one
  JOIN approvals_entitlement e ON e.id = each_one.entitlement_id GROUP BY 1
) late ON late.resource_id = t.id
ORDER BY t.name
"""  # noqa: S608 - constants


def by_target(*, now: datetime, stuck_after: timedelta) -> list[TargetCounts]:
    """Return the counts of every target, by name (one query)."""
    with connection.cursor() as cursor:
        cursor.execute(_TARGETS, {"stuck": now - stuck_after})
        return [TargetCounts(*row) for row in cursor.fetchall()]


def overdue(*, now: datetime) -> int:
    """Return how much access is active though its time is up, to 10,001 (one query)."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM (SELECT FROM approvals_currentrequest"
            " WHERE state = 'active' AND due_at < %s LIMIT 10001) late",
            [now],
        )
        count: int = cursor.fetchone()[0]
    return count
