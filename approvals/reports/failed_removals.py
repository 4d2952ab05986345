"""Failed or late removals: what did not go at the first try, or not in time, or was still there.

In it are ends of which a try failed in the period, ends that the target confirmed in the period and
later than `STUCK_AFTER`, and every one that was past that and not confirmed at the period's end,
whenever it was due. What was repaired afterwards stays in it: a past period is told as it was. So
are removals, of which a try failed, of what a grant that never became active may have left: those
are due when the request was cancelled or failed.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from django.conf import settings

from approvals.reports import held
from approvals.reports.frame import Column, Filters
from approvals.reports.query import Query, Raw, in_period, in_scope, login_of, of_person, report
from approvals.reports.removal_timeliness import DUE, FAILED, IS_DUE, TRIED

#: What never became active was due when its request was cancelled or failed, and is gone when
#: the target said so.
_NEVER = "c.activated_at IS NULL"
_AT = f"CASE WHEN {_NEVER} THEN r.occurred_at ELSE {DUE} END"
_CLEANED_UP = """(SELECT max(e.occurred_at) FROM approvals_grantevent e
    WHERE e.request_id = c.request_id AND e.kind = 'gone')"""
_OVER_AT = f"CASE WHEN {_NEVER} THEN {_CLEANED_UP} ELSE r.removal_confirmed_at END"
_GONE_AT = f"CASE WHEN {_NEVER} THEN {_CLEANED_UP} ELSE {held.GONE_AT} END"
_LATE = f"interval '{settings.STUCK_AFTER.total_seconds():f} seconds'"
#: Failed tries up to the moment of the report.
_FAILED = f"{FAILED} AND e.occurred_at <= %(moment)s"
_LAST_ERROR = f"""(SELECT e.error FROM approvals_grantevent e WHERE e.request_id = c.request_id
    AND {_FAILED} ORDER BY e.id DESC LIMIT 1)"""  # noqa: S608 - constants
_OPEN = f"""({DUE} <= %(moment)s - {_LATE}
    AND (r.removal_confirmed_at IS NULL OR r.removal_confirmed_at > %(moment)s))"""
_LATELY = (
    f"""(r.removal_confirmed_at > {DUE} + {_LATE} AND {in_period("r.removal_confirmed_at")})"""
)
_TROUBLE = f"""EXISTS (SELECT FROM approvals_grantevent e WHERE e.request_id = c.request_id
    AND {FAILED} AND {in_period("e.occurred_at")})"""
_LEFT = f"""({_NEVER} AND c.state IN ('approved', 'cancelled', 'failed')
    AND r.occurred_at < %(end)s AND {TRIED.format("count(*)", _FAILED)} > 0
    AND ({_TROUBLE} OR {_CLEANED_UP} IS NULL OR {_CLEANED_UP} >= %(start)s))"""

QUERY = Query(
    source=f"""
        FROM approvals_currentrequest c
        JOIN approvals_accessrequest r ON r.id = c.record_id
        JOIN approvals_entitlement n ON n.id = c.entitlement_id
        JOIN approvals_resource t ON t.id = n.resource_id
        JOIN approvals_user o ON o.id = t.owner_id
        WHERE ({IS_DUE} AND {DUE} < %(end)s AND ({_OPEN} OR {_LATELY} OR {_TROUBLE}) OR {_LEFT})
          AND {in_scope("c.entitlement_id")} AND {of_person("c.subject_id", "c.requester_id")}""",
    at=_AT,
    key="c.request_id",
    request="c.request_id",
    select=f"""r.subject_name, r.resource_name, r.entitlement_name, t.connector, {_AT},
        {TRIED.format("min(e.occurred_at)", _FAILED)}, {TRIED.format("count(*)", _FAILED)},
        {_LAST_ERROR}, {_GONE_AT}, {held.HELD_BY},
        extract(epoch FROM least({_OVER_AT}, %(moment)s) - {_AT}),
        coalesce(nullif(o.name, ''), o.username), {_OVER_AT} <= %(moment)s, c.state,
        {login_of("c.subject_id")}""",
)

COLUMNS = (
    Column("request", "Request", "reference"),
    Column("subject", "Subject"),
    Column("resource", "Target"),
    Column("entitlement", "Entitlement"),
    Column("connector", "Connector", wide=True),
    Column("due_at", "Due", "moment"),
    Column("first_failure_at", "First failure", "moment"),
    Column("failures", "Failed", "number"),
    Column("last_error", "Last error"),
    Column("confirmed_at", "Gone at the target", "moment"),
    Column("held_by", "Held by", "mono", wide=True),
    Column("age_seconds", "Overdue, s", "number"),
    Column("owner", "Owner"),
    Column("resolution", "Resolution"),
    Column("state", "State", "state", wide=True),
    Column("subject_login", "Login", wide=True),
    Column("request_id", "Request id", "mono", wide=True),
)


def _cells(rows: Sequence[Raw], filters: Filters) -> Iterable[Sequence[Any]]:
    for _, values in rows:
        *head, error, gone_at, held_by, age, owner, was_over, state, login = values
        over = f"held by {held_by}" if held_by else "removed"
        resolution = over if was_over else "still there"
        if was_over is False:  # over by now, and not at the moment that the report is of
            resolution = f"still there, later {over}"
        yield (
            *head, error or "", gone_at, held_by, round(float(age), 3), owner, resolution, state,
            login,
        )  # fmt: skip


REPORT = report(
    id="failed-removals",
    title="Failed and late removals",
    answers="What did not go at once: the errors, how long it stayed, who owns the target",
    controls=("SOC 2 CC6.3, CC7.4", "NIST AC-2(2), AC-2(3)"),
    columns=COLUMNS,
    query=QUERY,
    cells=_cells,
)
