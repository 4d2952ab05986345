"""Approval decisions: who decided what for whom, at which level, how fast, having seen what."""

from collections.abc import Iterable, Sequence
from typing import Any

from approvals.domain.chain import Chain
from approvals.models import AccessRequest
from approvals.reports.frame import Column, Filters
from approvals.reports.query import Query, Raw, in_period, in_scope, login_of, of_person, report
from approvals.selectors import chains

QUERY = Query(
    source=f"""
        FROM approvals_decision d
        JOIN approvals_accessrequest r ON r.request_id = d.request_id AND r.revision = d.revision
        WHERE {in_period("d.occurred_at")} AND {in_scope("r.entitlement_id")}
          AND {of_person("d.actor_id", "r.subject_id", "r.requester_id")}""",
    at="d.occurred_at",
    key="lpad(to_hex(d.id), 32, '0')::uuid",  # two levels may decide at one moment
    request="d.request_id",
    select=f"""d.level, d.level_name, r.policy_record_id, r.rule_name, r.extends,
        (SELECT count(*) FROM approvals_decision o WHERE o.request_id = d.request_id
         AND o.level = d.level AND o.verdict = 'approve' AND o.revision <= d.revision),
        d.escalations, d.actor_name, coalesce((SELECT CASE WHEN h.place_id = d.actor_id THEN ''
         ELSE h.place_name END FROM approvals_requesthandover h
         WHERE h.request_id = d.request_id AND h.level = d.level AND h.taker_id = d.actor_id
         AND h.occurred_at <= d.occurred_at ORDER BY h.number DESC LIMIT 1), ''),
        r.subject_name, r.requester_name, r.resource_name, r.entitlement_name, d.verdict,
        d.comment, d.asked_at, d.occurred_at,
        (SELECT s.method FROM approvals_signin s WHERE s.person_id = d.actor_id
         AND s.what = 'signed_in' AND s.occurred_at <= d.occurred_at
         ORDER BY s.occurred_at DESC, s.id DESC LIMIT 1),
        d.together, d.seen_revision, d.revision, r.hash, {login_of("d.actor_id")},
        {login_of("r.subject_id")}, {login_of("r.requester_id")}""",  # noqa: S608
)

COLUMNS = (
    Column("request", "Request", "reference"),
    Column("level", "Level no.", "number", wide=True),
    Column("level_name", "Level"),
    Column("required_quorum", "Required", "number"),
    Column("approvals_given", "Given", "number"),
    Column("escalations", "Escalations", "number", wide=True),
    Column("approver", "Approver"),
    Column("handed_over_by", "In the place of"),
    Column("subject", "For"),
    Column("requester", "Requester", wide=True),
    Column("resource", "Resource"),
    Column("entitlement", "Entitlement"),
    Column("verdict", "Verdict"),
    Column("comment", "Comment"),
    Column("asked_at", "Asked", "moment", wide=True),
    Column("decided_at", "Decided", "moment"),
    Column("seconds_to_decide", "Seconds", "number"),
    Column("signin_method", "Signed in by", wide=True),
    Column("decided_together", "At once", "number", wide=True),
    Column("seen_revision", "Saw revision", "number", wide=True),
    Column("revision", "Made revision", "number", wide=True),
    Column("revision_hash", "Revision hash", "mono", wide=True),
    Column("approver_login", "Approver's login", wide=True),
    Column("subject_login", "Login", wide=True),
    Column("requester_login", "Requester's login", wide=True),
    Column("request_id", "Request id", "mono", wide=True),
)


def _cells(rows: Sequence[Raw], filters: Filters) -> Iterable[Sequence[Any]]:
    for _, values in rows:
        level, level_name, policy_record, rule_name, extends, given, *more = values
        (
            escalations, approver, place, subject, requester, resource, entitlement, verdict,
            comment, asked_at, decided_at, method, together, seen, revision, digest, *logins,
        ) = more  # fmt: skip
        pinned = AccessRequest(policy_record_id=policy_record, rule_name=rule_name, extends=extends)
        seconds = round((decided_at - asked_at).total_seconds(), 3) if asked_at else None
        yield (
            level, level_name, _quorum(pinned, level), given, escalations, approver, place, subject,
            requester, resource, entitlement, "approved" if verdict == "approve" else "denied",
            comment, asked_at, decided_at, seconds, method or "", together, seen, revision,
            bytes(digest).hex(), *logins,
        )  # fmt: skip


def _quorum(pinned: AccessRequest, level: int) -> int:
    """Return how many approvals the level asked for, by the policy that was pinned."""
    chain: Chain | None = chains.pinned_rule(pinned).chain
    assert chain is not None, "a rule without a chain has no decisions"
    return chain.levels[level - 1].quorum


REPORT = report(
    id="approval-decisions",
    title="Approval decisions",
    answers="Each decision with its level, who made it, and how long it took",
    controls=("SOC 2 CC6.2", "ISO 27001 A.5.15", "NIST AC-2, AC-5, AU-10"),
    columns=COLUMNS,
    query=QUERY,
    cells=_cells,
)
