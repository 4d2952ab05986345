"""Who had access: every grant that lay in the period, who approved it, how and when it ended."""

from collections.abc import Iterable, Sequence
from typing import Any

from approvals.reports import held
from approvals.reports.frame import Column, Filters
from approvals.reports.query import (
    APPROVER_LOGINS,
    Query,
    Raw,
    in_scope,
    login_of,
    of_person,
    report,
)
from approvals.selectors.sentences import END_REASONS

# A grant lies in the period when it began before its end and was not yet gone at its start. One
# that was gone at exactly that moment was not there in the period, as in `active-as-of`.
QUERY = Query(
    source=f"""
        FROM approvals_currentrequest c
        JOIN approvals_accessrequest r ON r.id = c.record_id
        WHERE c.activated_at IS NOT NULL AND c.activated_at < %(end)s
          AND (r.removal_confirmed_at IS NULL OR r.removal_confirmed_at > %(start)s)
          AND {in_scope("c.entitlement_id")} AND {of_person("c.subject_id", "c.requester_id")}""",
    at="c.activated_at",
    key="c.request_id",
    request="c.request_id",
    select=f"""r.subject_name, r.requester_name, r.resource_name, r.entitlement_name, r.risk,
        r.reason, r.ticket, r.submitted_at,
        (SELECT array_agg(d.actor_name ORDER BY d.revision) FROM approvals_decision d
         WHERE d.request_id = c.request_id AND d.verdict = 'approve'),
        (SELECT array_agg(d.occurred_at ORDER BY d.revision) FROM approvals_decision d
         WHERE d.request_id = c.request_id AND d.verdict = 'approve'),
        c.activated_at, r.ends_at, r.end_reason, r.removal_due_at, r.removal_started_at,
        {held.GONE_AT}, {held.HELD_BY}, r.state, r.policy_name, r.policy_version,
        {login_of("c.subject_id")}, {login_of("c.requester_id")}, {APPROVER_LOGINS}""",  # noqa: S608
)

COLUMNS = (
    Column("request", "Request", "reference"),
    Column("subject", "Subject"),
    Column("requester", "Requester", wide=True),
    Column("resource", "Resource"),
    Column("entitlement", "Entitlement"),
    Column("risk", "Risk"),
    Column("reason", "Reason", wide=True),
    Column("ticket", "Ticket"),
    Column("submitted_at", "Submitted", "moment", wide=True),
    Column("approved_by", "Approved by", "signed"),
    Column("activated_at", "Active from", "moment"),
    Column("due_end_at", "Due end", "moment"),
    Column("ended_why", "Ended because"),
    Column("removal_due_at", "Removal due", "moment", wide=True),
    Column("removal_started_at", "Removal started", "moment", wide=True),
    Column("removal_confirmed_at", "Gone at the target", "moment"),
    Column("held_by", "Held by", "mono"),
    Column("removal_lag_ms", "Lag, ms", "number"),
    Column("state", "State", "state"),
    Column("policy", "Policy", wide=True),
    Column("subject_login", "Login", wide=True),
    Column("requester_login", "Requester's login", wide=True),
    Column("approver_login", "Approvers' logins", wide=True),
    Column("request_id", "Request id", "mono", wide=True),
)


def _cells(rows: Sequence[Raw], filters: Filters) -> Iterable[Sequence[Any]]:
    for _, values in rows:
        *asked, names, moments, active_at, ends_at, why, due_at, started_at, gone_at = values[:16]
        held_by, state, policy, version, *logins = values[16:]
        approvers = tuple(zip(names or (), moments or (), strict=True))
        yield (
            *asked, approvers or ((f"rule of {policy}", None),), active_at, ends_at,
            END_REASONS.get(why, why), due_at, started_at, gone_at, held_by,
            held.lag_ms(due_at, gone_at), state, f"{policy} version {version}", *logins,
        )  # fmt: skip


REPORT = report(
    id="who-had-access",
    title="Who had access",
    answers="Every grant, who approved it, and when it ended at the target",
    controls=("SOC 2 CC6.1–6.3", "ISO 27001 A.5.18", "NIST AC-2"),
    columns=COLUMNS,
    query=QUERY,
    cells=_cells,
)
