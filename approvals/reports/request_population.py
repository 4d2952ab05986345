"""Request population: every request that was submitted in the period, as it stands now."""

from collections.abc import Iterable, Sequence
from typing import Any

from approvals.reports.frame import Column, Filters
from approvals.reports.query import Query, Raw, in_period, in_scope, login_of, of_person, report

QUERY = Query(
    source=f"""
        FROM approvals_currentrequest c
        JOIN approvals_accessrequest r ON r.id = c.record_id
        WHERE {in_period("c.submitted_at")} AND {in_scope("c.entitlement_id")}
          AND {of_person("c.subject_id", "c.requester_id")}""",
    at="c.submitted_at",
    key="c.request_id",
    request="c.request_id",
    select=f"""r.requester_name, r.subject_name, r.resource_name, r.entitlement_name, r.risk,
        r.reason, r.ticket, c.submitted_at, r.starts_at, r.duration_seconds, r.extends, c.state,
        r.occurred_at, r.policy_name, r.policy_version, r.rule_name, r.revision,
        {login_of("c.requester_id")}, {login_of("c.subject_id")}""",
)

COLUMNS = (
    Column("request", "Request", "reference"),
    Column("requester", "Requester"),
    Column("subject", "Subject"),
    Column("resource", "Resource"),
    Column("entitlement", "Entitlement"),
    Column("risk", "Risk"),
    Column("reason", "Reason"),
    Column("ticket", "Ticket"),
    Column("submitted_at", "Submitted", "moment"),
    Column("starts_at", "Wanted from", "moment", wide=True),
    Column("duration_seconds", "Duration, s", "number", wide=True),
    Column("extends", "Extends", "mono", wide=True),
    Column("state", "State", "state"),
    Column("state_since", "Since", "moment", wide=True),
    Column("policy", "Policy"),
    Column("rule", "Rule", wide=True),
    Column("revisions", "Revisions", "number", wide=True),
    Column("requester_login", "Requester's login", wide=True),
    Column("subject_login", "Login", wide=True),
    Column("request_id", "Request id", "mono", wide=True),
)


def _cells(rows: Sequence[Raw], filters: Filters) -> Iterable[Sequence[Any]]:
    for _, values in rows:
        extends, policy, version = values[10], values[13], values[14]
        yield (
            *values[:10], str(extends or ""), *values[11:13], f"{policy} version {version}",
            *values[15:],
        )  # fmt: skip


REPORT = report(
    id="request-population",
    title="Request population",
    answers="Every request that was submitted, by whom, why, and what became of it",
    controls=("SOC 2 CC6.2", "ISO 27001 A.5.16", "NIST AC-2"),
    columns=COLUMNS,
    query=QUERY,
    cells=_cells,
)
