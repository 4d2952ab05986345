"""Who had access: every grant that lay in the period, who approved it, how and when it ended."""

from collections.abc import Iterable, Sequence
from typing import Any

from approvals.reports.frame import Column, Filters
from approvals.reports.query import Query, Raw, in_scope, of_person, report
from approvals.selectors.sentences import END_REASONS

# A grant lies in the period when it began before its end and was not yet gone at its start.
QUERY = Query(
    source=f"""
        FROM approvals_currentrequest c
        JOIN approvals_accessrequest r ON r.id = c.record_id
        WHERE c.activated_at IS NOT NULL AND c.activated_at < %(end)s
          AND (r.removal_confirmed_at IS NULL OR r.removal_confirmed_at >= %(start)s)
          AND {in_scope("c.entitlement_id")} AND {of_person("c.subject_id", "c.requester_id")}""",
    at="c.activated_at",
    key="c.request_id",
    request="c.request_id",
    select="""r.subject_name, r.requester_name, r.resource_name, r.entitlement_name, r.risk,
        r.reason, r.ticket, r.submitted_at,
        (SELECT array_agg(d.actor_name ORDER BY d.revision) FROM approvals_decision d
         WHERE d.request_id = c.request_id AND d.verdict = 'approve'),
        (SELECT array_agg(d.occurred_at ORDER BY d.revision) FROM approvals_decision d
         WHERE d.request_id = c.request_id AND d.verdict = 'approve'),
        c.activated_at, r.ends_at, r.end_reason, r.removal_due_at, r.removal_started_at,
        r.removal_confirmed_at, r.state, r.policy_name, r.policy_version""",
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
    Column("removal_lag_ms", "Lag, ms", "number"),
    Column("state", "State", "state"),
    Column("policy", "Policy", wide=True),
    Column("request_id", "Request id", "mono", wide=True),
)


def _cells(rows: Sequence[Raw], filters: Filters) -> Iterable[Sequence[Any]]:
    for _, values in rows:
        *asked, names, moments, active_at, ends_at, why, due_at, started_at, gone_at = values[:16]
        state, policy, version = values[16:]
        approvers = tuple(zip(names or (), moments or (), strict=True))
        lag = round((gone_at - due_at).total_seconds() * 1000) if gone_at and due_at else None
        yield (
            *asked, approvers or ((f"rule of {policy}", None),), active_at, ends_at,
            END_REASONS.get(why, why), due_at, started_at, gone_at, lag, state,
            f"{policy} version {version}",
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
