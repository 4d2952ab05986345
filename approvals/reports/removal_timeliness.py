"""Timeliness of removal: each end that fell due in the period, and how late the target was.

Due is when the access had to end: when time ran out, or when somebody ended it. Confirmed is when
the target said that it is gone. Ends that are due and not confirmed are in it, without a lag; in
figures they count with their age, as late as they are by then. Where another grant held the access,
nothing was removed: such ends are listed, and count in no figure (`held`). Where the target tells
when it refused new use, or closed open sessions, both lags stand apart (`selectors.lags`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import connection

from approvals.reports import held
from approvals.reports.frame import Column, Figure, Filters
from approvals.reports.query import Query, Raw, in_period, in_scope, login_of, of_person, report
from approvals.selectors import lags, sentences
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
FAILED = "e.kind = 'remove_failed'"
#: What was tried at the target to remove the access of `c`.
TRIED = """(SELECT {} FROM approvals_grantevent e WHERE e.request_id = c.request_id AND ({}))"""
ATTEMPTS = TRIED.format("count(*)", f"{held.REMOVED} OR {FAILED}")
FAILURES = TRIED.format("count(*)", FAILED)
LAST_ERROR = """(SELECT e.error FROM approvals_grantevent e WHERE e.request_id = c.request_id
    AND e.kind = 'remove_failed' ORDER BY e.id DESC LIMIT 1)"""

QUERY = Query(
    source=SOURCE,
    at=DUE,
    key="c.request_id",
    request="c.request_id",
    select=f"""r.subject_name, r.resource_name, r.entitlement_name, r.end_reason, {DUE},
        r.removal_started_at, {held.GONE_AT}, {held.HELD_BY}, {ATTEMPTS}, {FAILURES}, {LAST_ERROR},
        c.state, {login_of("c.subject_id")}, {lags.LOGIN_LAG}, {lags.SESSION_LAG}""",
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
    Column("held_by", "Held by", "mono"),
    Column("lag_ms", "Lag, ms", "number"),
    Column("login_lag_ms", "Login lag, ms", "number"),
    Column("session_lag_ms", "Session lag, ms", "number"),
    Column("attempts", "Attempts", "number"),
    Column("failures", "Failed", "number", wide=True),
    Column("last_error", "Last error"),
    Column("state", "State", "state"),
    Column("subject_login", "Login", wide=True),
    Column("request_id", "Request id", "mono", wide=True),
)

_MEASURED = f"""
SELECT count(*) FILTER (WHERE NOT kept), count(*) FILTER (WHERE kept),
       count(*) FILTER (WHERE is_open), count(*) FILTER (WHERE judged),
       count(*) FILTER (WHERE judged AND NOT is_open AND age <= 1),
       min(age) FILTER (WHERE is_open AND judged),
       percentile_cont(0.5) WITHIN GROUP (ORDER BY age) FILTER (WHERE judged),
       percentile_cont(0.95) WITHIN GROUP (ORDER BY age) FILTER (WHERE judged),
       percentile_cont(0.99) WITHIN GROUP (ORDER BY age) FILTER (WHERE judged),
       max(age) FILTER (WHERE judged)
FROM (SELECT *, NOT kept AND (NOT is_open OR age > 1) AS judged
      FROM (SELECT {held.KEPT} AS kept, r.removal_confirmed_at IS NULL AS is_open,
                   extract(epoch FROM coalesce(r.removal_confirmed_at, %(moment)s) - {DUE}) AS age
            {SOURCE}) found) ends
"""  # noqa: S608 - constants


_APART = f"""
SELECT percentile_cont(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY extract(epoch FROM login)),
       percentile_cont(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY extract(epoch FROM session))
FROM (SELECT {lags.LOGIN_LAG} AS login, {lags.SESSION_LAG} AS session {SOURCE}) found
"""  # noqa: S608 - constants


@dataclass(frozen=True)
class Measured:
    """The ends that fell due in a period, and how late they were; lags in seconds.

    `held` of them count nowhere else. An end that is not confirmed counts as late as it is at the
    moment of the report, once that is more than a second: before that it is not judged. `open_from`
    is the least such age; lags from there on may yet grow.
    """

    due: int
    held: int
    open: int
    judged: int
    quick: int
    open_from: float | None
    median: float | None
    p95: float | None
    p99: float | None
    worst: float | None

    @property
    def share_within_a_second(self) -> str:
        """Return the share as pages write it, cut off, so that 100 % means all of them."""
        if not self.judged:
            return "–"
        return f"{self.quick * 10_000 // self.judged / 100:g} %"

    def words(self, lag: float | None) -> str:
        """Return a lag in words; one that may yet grow says so."""
        if lag is None:
            return "–"
        may_grow = self.open_from is not None and lag >= self.open_from
        return f"{'≥ ' if may_grow else ''}{sentences.short(lag)}"

    @property
    def worst_words(self) -> str:
        """Return the worst lag, and whether that access is still there."""
        told = self.words(self.worst)
        return f"{told}, still there" if told.startswith("≥") else told


def measure(filters: Filters) -> Measured:
    """Return how late the period's ends were (one query)."""
    with connection.cursor() as cursor:
        cursor.execute(_MEASURED, filters.parameters)
        row = cursor.fetchone()
    return Measured(*row[:5], *(None if lag is None else float(lag) for lag in row[5:]))


def _cells(rows: Sequence[Raw], filters: Filters) -> Iterable[Sequence[Any]]:
    for _, values in rows:
        subject, resource, entitlement, why, due_at, started_at, gone_at, held_by, *more = values
        attempts, failures, error, state, login, *apart = more
        yield (
            subject, resource, entitlement, END_REASONS.get(why, why), due_at, started_at, gone_at,
            held_by, held.lag_ms(due_at, gone_at), *map(_milliseconds, apart), attempts, failures,
            error or "", state, login,
        )  # fmt: skip


def _milliseconds(lag: timedelta | None) -> int | None:
    return None if lag is None else round(lag / timedelta(milliseconds=1))


def summary(filters: Filters) -> tuple[Figure, ...]:
    """Return how many ends fell due, how many are confirmed, and the lag's percentiles."""
    found = measure(filters)
    return (
        Figure("Due", f"{found.due:,}"),
        Figure("Not confirmed", f"{found.open:,}"),
        Figure("Held by another grant", f"{found.held:,}"),
        Figure("Within 1 s", found.share_within_a_second),
        Figure("Median lag", found.words(found.median)),
        Figure("p95", found.words(found.p95)),
        Figure("p99", found.words(found.p99)),
        Figure("Worst", found.worst_words),
        *_apart(filters),
    )


def _apart(filters: Filters) -> tuple[Figure, ...]:
    """Return the percentiles of both lags, of the confirmed ends of which they are known."""
    with connection.cursor() as cursor:
        cursor.execute(_APART, filters.parameters)
        found = cursor.fetchone()
    return tuple(
        Figure(
            f"{name} lag, median · p95 · p99",
            " · ".join(sentences.short(float(lag)) for lag in values) if values else "–",
        )
        for name, values in zip(("Login", "Session"), found, strict=True)
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
