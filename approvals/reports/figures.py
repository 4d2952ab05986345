"""The numbers above the list of reports, computed from the records for one period."""

import itertools
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection

from approvals.reports import charts, held, removal_timeliness
from approvals.reports.charts import Chart
from approvals.reports.frame import Filters
from approvals.reports.query import in_scope
from approvals.reports.removal_timeliness import DUE, SOURCE, Measured
from approvals.selectors.failing import CLEANUPS

#: The bands of removal lag; the numbers are their upper bounds in seconds.
LAG_BANDS = {"≤ 0.1 s": 0.1, "≤ 1 s": 1, "≤ 10 s": 10, "≤ 1 min": 60, "longer": float("inf")}
#: The band of ends that no target has confirmed.
NOT_GONE = "not confirmed"

_SQL = f"""
WITH period AS (
    SELECT r.event, r.actor_id, r.occurred_at - r.submitted_at AS took
    FROM approvals_accessrequest r
    WHERE r.occurred_at >= %(start)s AND r.occurred_at < %(end)s
      AND {in_scope("r.entitlement_id")}
), now_open AS (
    SELECT c.state, c.due_at, r.removal_due_at
    FROM approvals_currentrequest c JOIN approvals_accessrequest r ON r.id = c.record_id
    WHERE c.state IN ('pending', 'active', 'revoking') AND {in_scope("c.entitlement_id")}
)
SELECT
    count(*) FILTER (WHERE event = 'activated'),
    extract(epoch FROM percentile_cont(0.5) WITHIN GROUP (ORDER BY took)
        FILTER (WHERE event = 'approved' AND actor_id IS NOT NULL)),
    extract(epoch FROM percentile_cont(0.95) WITHIN GROUP (ORDER BY took)
        FILTER (WHERE event = 'approved' AND actor_id IS NOT NULL)),
    count(*) FILTER (WHERE event = 'lapsed'),
    count(*) FILTER (WHERE event = 'failed'),
    count(*) FILTER (WHERE event = 'escalated'),
    (SELECT count(*) FROM (SELECT 1 FROM approvals_accessrequest r
        WHERE r.event = 'escalated' AND r.occurred_at >= %(start)s AND r.occurred_at < %(end)s
          AND {in_scope("r.entitlement_id")}
        GROUP BY r.request_id HAVING count(*) > 1) often),
    count(*) FILTER (WHERE event = 'denied'),
    (SELECT count(*) FROM now_open WHERE state = 'pending'),
    (SELECT count(*) FROM now_open WHERE state = 'pending' AND due_at <= %(now)s),
    (SELECT count(*) FROM now_open WHERE state = 'revoking' AND removal_due_at <= %(stuck)s
            OR state = 'active' AND due_at <= %(stuck)s)
        + (SELECT count(*) FROM ({CLEANUPS}) left_over
           WHERE {in_scope("left_over.entitlement_id")})
FROM period
"""  # noqa: S608 - constants
_BEFORE = f"""
SELECT count(*) FROM approvals_accessrequest r
WHERE r.event = 'activated' AND r.occurred_at >= %(before)s AND r.occurred_at < %(start)s
  AND {in_scope("r.entitlement_id")}
"""  # noqa: S608 - constants
_BARS = f"""
SELECT date_trunc(%(unit)s, r.occurred_at AT TIME ZONE %(zone)s)::date, count(*)
FROM approvals_accessrequest r
WHERE r.event = 'activated' AND r.occurred_at >= %(start)s AND r.occurred_at < %(end)s
  AND {in_scope("r.entitlement_id")}
GROUP BY 1 ORDER BY 1
"""  # noqa: S608 - constants
_LAGS = f"""
SELECT {
    ", ".join(
        f"count(*) FILTER (WHERE lag > '{low}'::float8 AND lag <= '{high}'::float8)"
        for low, high in itertools.pairwise([-float("inf"), *LAG_BANDS.values()])
    )
}, count(*) FILTER (WHERE lag IS NULL)
FROM (SELECT extract(epoch FROM r.removal_confirmed_at - {DUE})::float8 AS lag
      {SOURCE} AND NOT {held.KEPT}) found
"""  # noqa: S608 - constants


@dataclass(frozen=True)
class Figures:
    """Numbers of one period; `pending`, `overdue` and `stuck` are as of now. Times in seconds.

    `removals` are the ends that fell due in the period, as `removal-timeliness` counts them.
    """

    grants: int
    grants_before: int
    removals: Measured
    median_to_approve: float | None
    p95_to_approve: float | None
    lapsed: int
    failed: int
    escalated: int
    escalated_often: int
    denied: int
    pending: int
    overdue: int
    stuck: int

    @property
    def trend(self) -> str:
        """Return how many more or fewer grants than in as long a time before, also of a cut one."""
        if not self.grants_before:
            return ""
        percent = round((self.grants - self.grants_before) * 100 / self.grants_before)
        return f"{percent:+d} % on the period before".replace("-", "−")


def compute(filters: Filters, *, now: datetime, stuck_after: timedelta) -> Figures:
    """Return the figures of a period (three queries that read its revisions and its ends)."""
    parameters: dict[str, Any] = filters.parameters | {
        "now": now,
        "stuck": now - stuck_after,
        "before": filters.start - (filters.end - filters.start),
    }
    with connection.cursor() as cursor:
        cursor.execute(_SQL, parameters)
        row = cursor.fetchone()
        cursor.execute(_BEFORE, parameters)
        before = cursor.fetchone()[0]
    removals = removal_timeliness.measure(filters)
    return Figures(row[0], before, removals, _seconds(row[1]), _seconds(row[2]), *row[3:])


def chart(filters: Filters) -> Chart:
    """Return the grants of each week of the period, or month of a long one (one query)."""
    unit = charts.unit(filters)
    with connection.cursor() as cursor:
        cursor.execute(_BARS, filters.parameters | {"unit": unit})
        return charts.over_time(filters, unit=unit, counts=dict(cursor.fetchall()))


def lags(filters: Filters) -> tuple[charts.Share, ...]:
    """Return how many of the ends that fell due were how late; the last are those that wait."""
    with connection.cursor() as cursor:
        cursor.execute(_LAGS, filters.parameters)
        counts = cursor.fetchone()
    return charts.shares(dict(zip([*LAG_BANDS, NOT_GONE], counts, strict=True)))


def _seconds(value: Any) -> float | None:
    return None if value is None else float(value)
