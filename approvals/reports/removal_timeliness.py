"""Timeliness of removal: each end that fell due in the period, and how late the target was.

Due is when the access had to end: when time ran out, or when somebody ended it. Confirmed is when
the target said that it is gone. Ends that are due and not confirmed are in it, without a lag.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from django.db import connection

from approvals.reports.frame import Column, Figure, Filters
from approvals.reports.query import Query, Raw, in_period, in_scope, of_person, report
from approvals.selectors import sentences
from approvals.selectors.sentences import END_REASONS

DUE = "coalesce(r.removal_due_at, r.ends_at)"
#: Grants `c` with their newest revision `r` whose end is due: begun, or only due by now.
IS_DUE = """c.activated_at IS NOT NULL
    AND (r.removal_due_at IS NOT NULL OR r.ends_at <= %(moment)s)"""
SOURCE = f"""
    FROM approvals_currentrequest c
    JOIN approvals_accessrequest r ON r.id = c.record_id
    WHERE {IS_DUE} AND {in_period(DUE)} AND {in_scope("c.entitlement_id")}
      AND {of_person("c.subject_id", "c.requester_id")}"""
#: What was tried at the target to remove the access of `c`.
TRIED = """(SELECT {} FROM approvals_grantevent e WHERE e.request_id = c.request_id
    AND e.kind IN ({}))"""
ATTEMPTS = TRIED.format("count(*)", "'removed', 'remove_failed'")
FAILURES = TRIED.format("count(*)", "'remove_failed'")
LAST_ERROR = """(SELECT e.error FROM approvals_grantevent e WHERE e.request_id = c.request_id
    AND e.kind = 'remove_failed' ORDER BY e.id DESC LIMIT 1)"""

QUERY = Query(
    source=SOURCE,
    at=DUE,
    key="c.request_id",
    request="c.request_id",
    select=f"""r.subject_name, r.resource_name, r.entitlement_name, r.end_reason, {DUE},
        r.removal_started_at, r.removal_confirmed_at, {ATTEMPTS}, {FAILURES}, {LAST_ERROR},
        c.state""",
)

COLUMNS = (
    Column("request", "Request", "reference"),
    Column("subject", "Subject"),
    Column("resource", "Resource"),
    Column("entitlement", "Entitlement"),
    Column("ended_why", "Ended because"),
    Column("due_at", "Due", "moment"),
    Column("started_at", "Started", "moment", wide=True),
    Column("confirmed_at", "Gone at the target", "moment"),
    Column("lag_ms", "Lag, ms", "number"),
    Column("attempts", "Attempts", "number"),
    Column("failures", "Failed", "number", wide=True),
    Column("last_error", "Last error"),
    Column("state", "State", "state"),
    Column("request_id", "Request id", "mono", wide=True),
)

_FIGURES = f"""
SELECT count(*), count(lag), count(*) FILTER (WHERE lag <= 1),
       percentile_cont(0.5) WITHIN GROUP (ORDER BY lag),
       percentile_cont(0.95) WITHIN GROUP (ORDER BY lag),
       percentile_cont(0.99) WITHIN GROUP (ORDER BY lag), max(lag)
FROM (SELECT extract(epoch FROM r.removal_confirmed_at - {DUE}) AS lag {SOURCE}) found
"""  # noqa: S608 - constants


def _cells(rows: Sequence[Raw], filters: Filters) -> Iterable[Sequence[Any]]:
    for _, values in rows:
        subject, resource, entitlement, why, due_at, started_at, gone_at, *more = values
        attempts, failures, error, state = more
        lag = round((gone_at - due_at).total_seconds() * 1000) if gone_at else None
        yield (
            subject, resource, entitlement, END_REASONS.get(why, why), due_at, started_at, gone_at,
            lag, attempts, failures, error or "", state,
        )  # fmt: skip


def summary(filters: Filters) -> tuple[Figure, ...]:
    """Return how many ends fell due, how many are confirmed, and the lag's percentiles."""
    with connection.cursor() as cursor:
        cursor.execute(_FIGURES, filters.parameters)
        due, confirmed, quick, *lags = cursor.fetchone()
    share = f"{quick * 10_000 // confirmed / 100:g} %" if confirmed else "–"
    values = [sentences.short(float(lag)) if lag is not None else "–" for lag in lags]
    return (
        Figure("Due", f"{due:,}"),
        Figure("Not confirmed", f"{due - confirmed:,}"),
        Figure("Within 1 s", share),
        *map(Figure, ("Median lag", "p95", "p99", "Worst"), values),
    )


REPORT = report(
    id="removal-timeliness",
    title="Timeliness of removal",
    answers="Each end: when it was due, when the target confirmed it, how often it was tried",
    controls=("SOC 2 CC6.3", "ISO 27001 A.5.18", "NIST AC-2(2), AC-2(3)"),
    columns=COLUMNS,
    query=QUERY,
    cells=_cells,
    summary=summary,
)
