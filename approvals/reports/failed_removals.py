"""Failed or late removals: what did not go at the first try, or not in time, or is still there.

In it are ends of the period of which a try failed, or which the target confirmed later than
`STUCK_AFTER`, and every one that is past it and not confirmed, however long ago it was due. So are
removals, of which a try failed, of what a grant that never became active may have left: those are
due when the request was cancelled or failed.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from django.conf import settings

from approvals.reports.frame import Column, Filters
from approvals.reports.query import Query, Raw, in_scope, of_person, report
from approvals.reports.removal_timeliness import DUE, FAILURES, IS_DUE, LAST_ERROR, TRIED

#: When access had to be gone, and when the target said so.
_AT = f"CASE WHEN c.activated_at IS NULL THEN r.occurred_at ELSE {DUE} END"
_CLEANED_UP = """(SELECT max(e.occurred_at) FROM approvals_grantevent e
    WHERE e.request_id = c.request_id AND e.kind = 'gone')"""
_GONE = f"CASE WHEN c.activated_at IS NULL THEN {_CLEANED_UP} ELSE r.removal_confirmed_at END"
_LATE = f"interval '{settings.STUCK_AFTER.total_seconds():f} seconds'"
_OPEN = f"(r.removal_confirmed_at IS NULL AND {DUE} <= %(moment)s - {_LATE})"
_FAILED = """EXISTS (SELECT FROM approvals_grantevent e WHERE e.request_id = c.request_id
    AND e.kind = 'remove_failed')"""
_TROUBLE = f"""({DUE} >= %(start)s AND (r.removal_confirmed_at > {DUE} + {_LATE} OR {_FAILED}))"""
_LEFT = f"""(c.activated_at IS NULL AND c.state IN ('approved', 'cancelled', 'failed')
    AND r.occurred_at < %(end)s AND {_FAILED}
    AND (r.occurred_at >= %(start)s OR {_CLEANED_UP} IS NULL))"""

QUERY = Query(
    source=f"""
        FROM approvals_currentrequest c
        JOIN approvals_accessrequest r ON r.id = c.record_id
        JOIN approvals_entitlement n ON n.id = c.entitlement_id
        JOIN approvals_resource t ON t.id = n.resource_id
        JOIN approvals_user o ON o.id = t.owner_id
        WHERE ({IS_DUE} AND {DUE} < %(end)s AND ({_OPEN} OR {_TROUBLE}) OR {_LEFT})
          AND {in_scope("c.entitlement_id")} AND {of_person("c.subject_id", "c.requester_id")}""",
    at=_AT,
    key="c.request_id",
    request="c.request_id",
    select=f"""r.subject_name, r.resource_name, r.entitlement_name, t.connector, {_AT},
        {TRIED.format("min(e.occurred_at)", "'remove_failed'")}, {FAILURES}, {LAST_ERROR},
        {_GONE}, extract(epoch FROM coalesce({_GONE}, now()) - {_AT}),
        coalesce(nullif(o.name, ''), o.username), c.state""",
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
    Column("age_seconds", "Overdue, s", "number"),
    Column("owner", "Owner"),
    Column("resolution", "Resolution"),
    Column("state", "State", "state", wide=True),
    Column("request_id", "Request id", "mono", wide=True),
)


def _cells(rows: Sequence[Raw], filters: Filters) -> Iterable[Sequence[Any]]:
    for _, values in rows:
        *head, error, gone_at, age, owner, state = values
        resolution = "removed" if gone_at else "still there"
        yield (*head, error or "", gone_at, round(float(age), 3), owner, resolution, state)


REPORT = report(
    id="failed-removals",
    title="Failed and late removals",
    answers="What did not go at once: the errors, how long it stayed, who owns the target",
    controls=("SOC 2 CC6.3, CC7.4", "NIST AC-2(2), AC-2(3)"),
    columns=COLUMNS,
    query=QUERY,
    cells=_cells,
)
