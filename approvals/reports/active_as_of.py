"""Active as of a moment: whose access was there at the target at exactly that moment.

It follows from facts that never change: access was there from its activation until the target
confirmed the removal. So the answer for a past moment is the same whenever it is asked. One that
was due or ended, and not confirmed as gone, is listed: its state says `revoking`.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from approvals.reports import held
from approvals.reports.frame import LAST_USED, Column, Filters
from approvals.reports.query import (
    APPROVER_LOGINS,
    Query,
    Raw,
    in_scope,
    login_of,
    of_person,
    report,
)

#: Grants `c` with their newest revision `r` that were there at `%(moment)s`.
THERE = """
    c.activated_at IS NOT NULL AND c.activated_at <= %(moment)s
    AND (r.removal_confirmed_at IS NULL OR r.removal_confirmed_at > %(moment)s)"""
#: Their state at that moment.
STATE = "CASE WHEN r.removal_started_at <= %(moment)s THEN 'revoking' ELSE 'active' END"

QUERY = Query(
    source=f"""
        FROM approvals_currentrequest c
        JOIN approvals_accessrequest r ON r.id = c.record_id
        WHERE {THERE} AND {in_scope("c.entitlement_id")}
          AND {of_person("c.subject_id", "c.requester_id")}""",
    at="c.activated_at",
    key="c.request_id",
    request="c.request_id",
    select=f"""r.subject_name, r.resource_name, r.entitlement_name, r.risk, {STATE},
        c.activated_at, r.ends_at,
        (SELECT array_agg(d.actor_name ORDER BY d.revision) FROM approvals_decision d
         WHERE d.request_id = c.request_id AND d.verdict = 'approve'),
        (SELECT array_agg(d.occurred_at ORDER BY d.revision) FROM approvals_decision d
         WHERE d.request_id = c.request_id AND d.verdict = 'approve'),
        r.policy_name, r.requester_name, r.reason, r.ticket, {held.GONE_AT}, {held.HELD_BY},
        {login_of("c.subject_id")}, {login_of("c.requester_id")}, {APPROVER_LOGINS}, ''""",  # noqa: S608
)

COLUMNS = (
    Column("request", "Request", "reference"),
    Column("subject", "Subject"),
    Column("resource", "Resource"),
    Column("entitlement", "Entitlement"),
    Column("risk", "Risk"),
    Column("state_then", "State then", "state"),
    Column("activated_at", "Active from", "moment"),
    Column("due_end_at", "Due end", "moment"),
    Column("approved_by", "Approved by", "signed"),
    Column("requester", "Requester", wide=True),
    Column("reason", "Reason", wide=True),
    Column("ticket", "Ticket"),
    Column("gone_at", "Gone at the target", "moment", wide=True),
    Column("held_by", "Held on by", "mono", wide=True),
    Column("subject_login", "Login", wide=True),
    Column("requester_login", "Requester's login", wide=True),
    Column("approver_login", "Approvers' logins", wide=True),
    LAST_USED,
    Column("request_id", "Request id", "mono", wide=True),
)


def _cells(rows: Sequence[Raw], filters: Filters) -> Iterable[Sequence[Any]]:
    for _, values in rows:
        names, moments, policy = values[7:10]
        approvers = tuple(zip(names or (), moments or (), strict=True))
        yield (*values[:7], approvers or ((f"rule of {policy}", None),), *values[10:])


REPORT = report(
    id="active-as-of",
    title="Active as of",
    answers="Who could reach what at one moment, past or present",
    controls=("SOC 2 CC6.1", "ISO 27001 A.5.18", "NIST AC-2, AC-6"),
    columns=COLUMNS,
    query=QUERY,
    cells=_cells,
    as_of=True,
)
