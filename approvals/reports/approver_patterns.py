"""How approvers decide: how fast, how much at a stroke, for whom most, and who approve each other.

One row for each person who decided in the period. None of it proves anything; what stands out
(`SIGNALS`) is where an auditor looks first. Seconds are from when this person was first asked.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from django.db import connection

from approvals.reports.frame import Column, Figure, Filters
from approvals.reports.query import Query, Raw, in_period, in_scope, of_person, report

#: A decision within so many seconds was hardly read.
HASTY_SECONDS = 10
#: What stands out, and when it does, by the columns of a row `e`.
SIGNALS = {
    f"half within {HASTY_SECONDS} s": "e.decisions >= 5 AND 2 * e.hasty >= e.decisions",
    "10 or more at a stroke": "e.largest_batch >= 10",
    "mostly for one person": "e.decisions >= 10 AND 10 * e.of_busiest >= 8 * e.decisions",
    "approve each other": "e.reciprocal > 0",
}
_TOLD = ", ".join(f"CASE WHEN {when} THEN '{said}' END" for said, when in SIGNALS.items())

_MADE = f"""
    SELECT d.actor_id, d.verdict, d.together, d.occurred_at, r.requester_id,
           extract(epoch FROM d.occurred_at - d.asked_at) AS seconds
    FROM approvals_decision d
    JOIN approvals_accessrequest r ON r.request_id = d.request_id AND r.revision = d.revision
    WHERE {in_period("d.occurred_at")} AND {in_scope("r.entitlement_id")}"""  # noqa: S608
_APPROVERS = f"""(
    WITH made AS ({_MADE}), pairs AS (
        SELECT m.actor_id, m.requester_id, count(*) AS decisions,
               count(*) FILTER (WHERE m.verdict = 'approve') AS approvals
        FROM made m GROUP BY 1, 2
    ), busiest AS (
        SELECT DISTINCT ON (p.actor_id) p.actor_id, p.requester_id, p.decisions
        FROM pairs p ORDER BY p.actor_id, p.decisions DESC, p.requester_id
    ), mutual AS (
        SELECT p.actor_id, count(*) AS pairs,
               string_agg(coalesce(nullif(u.name, ''), u.username), ', ' ORDER BY u.username) AS who
        FROM pairs p
        JOIN pairs back ON back.actor_id = p.requester_id AND back.requester_id = p.actor_id
        JOIN approvals_user u ON u.id = p.requester_id
        WHERE p.approvals > 0 AND back.approvals > 0 GROUP BY 1
    )
    SELECT m.actor_id, count(*) AS decisions, max(m.occurred_at) AS last_at,
           count(*) FILTER (WHERE m.verdict = 'approve') AS approvals,
           percentile_cont(0.5) WITHIN GROUP (ORDER BY m.seconds) AS median,
           percentile_cont(0.1) WITHIN GROUP (ORDER BY m.seconds) AS p10,
           count(*) FILTER (WHERE m.seconds < {HASTY_SECONDS}) AS hasty,
           max(m.together) AS largest_batch,
           min(b.requester_id) AS busiest_id, min(b.decisions) AS of_busiest,
           coalesce(min(x.pairs), 0) AS reciprocal, coalesce(min(x.who), '') AS reciprocal_with
    FROM made m
    JOIN busiest b ON b.actor_id = m.actor_id
    LEFT JOIN mutual x ON x.actor_id = m.actor_id
    GROUP BY m.actor_id
)"""  # noqa: S608 - constants
_SOURCE = f"""
        FROM {_APPROVERS} e
        JOIN approvals_user u ON u.id = e.actor_id
        JOIN approvals_user q ON q.id = e.busiest_id
        WHERE {of_person("e.actor_id")}"""

QUERY = Query(
    source=_SOURCE,
    at="e.last_at",
    key="lpad(to_hex(e.actor_id), 32, '0')::uuid",
    select=f"""coalesce(nullif(u.name, ''), u.username), u.username, e.decisions, e.approvals,
        e.median, e.p10, e.hasty, e.largest_batch, coalesce(nullif(q.name, ''), q.username),
        e.of_busiest, e.reciprocal, e.reciprocal_with, e.last_at,
        concat_ws(', ', {_TOLD})""",
)

COLUMNS = (
    Column("approver", "Approver"),
    Column("approver_login", "Login", wide=True),
    Column("decisions", "Decisions", "number"),
    Column("approved_percent", "Approved, %", "number"),
    Column("median_seconds", "Median, s", "number"),
    Column("p10_seconds", "Fastest tenth, s", "number"),
    Column("under_10_seconds_percent", f"Under {HASTY_SECONDS} s, %", "number"),
    Column("largest_batch", "Most at once", "number"),
    Column("busiest_requester", "Most for"),
    Column("busiest_requester_percent", "Of all, %", "number"),
    Column("reciprocal_pairs", "Reciprocal", "number", wide=True),
    Column("reciprocal_with", "Approve each other"),
    Column("last_decided_at", "Last", "moment", wide=True),
    Column("stands_out", "Stands out"),
)


def _cells(rows: Sequence[Raw], filters: Filters) -> Iterable[Sequence[Any]]:
    for _, values in rows:
        name, login, decisions, approvals, median, p10, hasty, batch, *more = values
        busiest, of_busiest, reciprocal, mutual, last_at, signals = more
        yield (
            name, login, decisions, _percent(approvals, decisions), _seconds(median),
            _seconds(p10), _percent(hasty, decisions), batch, busiest,
            _percent(of_busiest, decisions), reciprocal, mutual, last_at, signals,
        )  # fmt: skip


def _percent(part: int, whole: int) -> float:
    """Return a share cut off to tenths, so that 100 means all of them."""
    return part * 1000 // whole / 10


def _seconds(value: Any) -> float | None:
    return None if value is None else round(float(value), 3)


_FIGURES = f"""
SELECT count(*), coalesce(sum(e.decisions), 0), coalesce(sum(e.hasty), 0), max(e.largest_batch),
       coalesce(sum(e.reciprocal), 0),
       count(*) FILTER (WHERE {" OR ".join(f"({when})" for when in SIGNALS.values())})
{_SOURCE}
"""


def standing_out(filters: Filters) -> int:
    """Return how many approvers of the period stand out in any way (one query)."""
    return int(_measured(filters)[5])


def summary(filters: Filters) -> tuple[Figure, ...]:
    """Return how many decided, how fast, how much at most at a stroke, and how many stand out.

    Of a pair that approves each other each has a row, so that for everybody it counts twice.
    """
    approvers, decisions, hasty, batch, reciprocal, conspicuous = _measured(filters)
    pairs = reciprocal // 2 if filters.person_id is None else reciprocal
    return (
        Figure("Approvers", f"{approvers:,}"),
        Figure("Decisions", f"{decisions:,}"),
        Figure(f"Under {HASTY_SECONDS} s", f"{hasty:,}"),
        Figure("Most at once", f"{batch:,}" if batch else "–"),
        Figure("Reciprocal pairs", f"{pairs:,}"),
        Figure("Stand out", f"{conspicuous:,}"),
    )


def _measured(filters: Filters) -> tuple[Any, ...]:
    with connection.cursor() as cursor:
        cursor.execute(_FIGURES, filters.parameters)
        row: tuple[Any, ...] = cursor.fetchone()
    return row


REPORT = report(
    id="approver-patterns",
    title="Approver patterns",
    answers="Who decides how fast, how much at a stroke, for whom most, and who approve each other",
    controls=("SOC 2 CC6.2, CC6.3", "ISO 27001 A.5.3, A.5.15", "NIST AC-5, AU-6"),
    columns=COLUMNS,
    query=QUERY,
    cells=_cells,
    charted=False,
    summary=summary,
)
