"""Attempts at deciding that the rules refused: on one's own request, a second time, unasked."""

from approvals.reports.frame import Column, Figure, Filters, counted
from approvals.reports.query import Query, in_period, in_scope, login_of, of_person, report

_SOURCE = f"""
        FROM approvals_refusedattempt t
        JOIN approvals_currentrequest c ON c.request_id = t.request_id
        JOIN approvals_accessrequest r ON r.id = c.record_id
        WHERE {in_period("t.occurred_at")} AND {in_scope("c.entitlement_id")}
          AND {of_person("t.actor_id", "c.subject_id", "c.requester_id")}"""

QUERY = Query(
    source=_SOURCE,
    at="t.occurred_at",
    key="t.uid",
    request="t.request_id",
    select=f"""t.actor_name, t.action, t.code, t.rule, t.comment, t.occurred_at, r.subject_name,
        r.requester_name, r.resource_name, r.entitlement_name, r.state,
        coalesce((SELECT string_agg(d.actor_name || ' (' || d.verdict || ')', ', '
            ORDER BY d.revision) FROM approvals_decision d
            WHERE d.request_id = t.request_id), ''), t.number, {login_of("t.actor_id")},
        {login_of("c.subject_id")}, {login_of("c.requester_id")}""",  # noqa: S608
)

COLUMNS = (
    Column("request", "Request", "reference"),
    Column("who", "Who tried"),
    Column("action", "What"),
    Column("code", "Rule", "mono"),
    Column("rule", "They were told"),
    Column("reason", "Their reason"),
    Column("at", "When", "moment"),
    Column("subject", "Access for"),
    Column("requester", "Requested by", wide=True),
    Column("resource", "Resource"),
    Column("entitlement", "Entitlement"),
    Column("state", "State now"),
    Column("decided_by", "Decided by"),
    Column("number", "Attempt no.", "number", wide=True),
    Column("who_login", "Their login", wide=True),
    Column("subject_login", "Login", wide=True),
    Column("requester_login", "Requester's login", wide=True),
    Column("request_id", "Request id", "mono", wide=True),
)


def _summary(filters: Filters) -> tuple[Figure, ...]:
    shown = {
        "On their own access": "t.code IN ('self_decision', 'own_access')",
        "A second vote": "t.code = 'already_voted'",
        "Not asked, or not any more": "t.code IN ('not_an_approver', 'not_yours', 'inactive')",
    }
    return tuple(
        Figure(title, f"{counted(f'SELECT count(*) {_SOURCE} AND {condition}', filters):,}")
        for title, condition in shown.items()
    )


REPORT = report(
    id="refused-attempts",
    title="Refused attempts to decide",
    answers="Who tried to decide on their own access, twice, or without being asked",
    controls=("SOC 2 CC6.3", "ISO 27001 A.5.3", "NIST AC-5, AU-6"),
    columns=COLUMNS,
    query=QUERY,
    summary=_summary,
)
