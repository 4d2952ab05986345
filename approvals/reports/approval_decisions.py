"""Approval decisions: who decided what for whom, at which level, how fast, having seen what."""

from collections.abc import Iterator
from typing import Any

from approvals.domain.chain import Chain
from approvals.models import AccessRequest
from approvals.models.request import reference
from approvals.reports.frame import Column, Filters, Report, Row, counted, selected
from approvals.selectors import chains
from approvals.selectors.requests import Cursor

_WHERE = """
FROM approvals_decision d
JOIN approvals_accessrequest r ON r.request_id = d.request_id AND r.revision = d.revision
WHERE d.occurred_at >= %(start)s AND d.occurred_at < %(end)s
  AND (%(resource)s::bigint IS NULL OR r.entitlement_id IN (
       SELECT id FROM approvals_entitlement WHERE resource_id = %(resource)s::bigint))
  AND (%(person)s::bigint IS NULL
       OR %(person)s::bigint IN (d.actor_id, r.subject_id, r.requester_id))
"""
_ROWS = f"""
SELECT d.occurred_at, d.request_id, d.level, d.level_name, d.escalations, d.actor_name,
       r.subject_name, r.requester_name, r.resource_name, r.entitlement_name, d.verdict, d.comment,
       d.asked_at, d.seen_revision, d.revision, r.hash, r.policy_record_id, r.rule_name
{_WHERE} {{tail}}
ORDER BY d.occurred_at DESC, d.request_id DESC
"""

COLUMNS = (
    Column("request", "Request", "reference"),
    Column("level", "Level no.", "number", wide=True),
    Column("level_name", "Level"),
    Column("required_quorum", "Required", "number"),
    Column("escalations", "Escalations", "number", wide=True),
    Column("approver", "Approver"),
    Column("subject", "For"),
    Column("requester", "Requester", wide=True),
    Column("resource", "Resource"),
    Column("entitlement", "Entitlement"),
    Column("verdict", "Verdict"),
    Column("comment", "Comment"),
    Column("asked_at", "Asked", "moment", wide=True),
    Column("decided_at", "Decided", "moment"),
    Column("seconds_to_decide", "Seconds", "number"),
    Column("seen_revision", "Saw revision", "number", wide=True),
    Column("revision", "Made revision", "number", wide=True),
    Column("revision_hash", "Revision hash", "mono", wide=True),
    Column("request_id", "Request id", "mono", wide=True),
)


def rows(filters: Filters, after: Cursor | None, limit: int | None) -> Iterator[Row]:
    """Yield the decisions after a cursor, the newest first."""
    parameters = filters.parameters
    tail = ""
    if after:
        tail = "AND (d.occurred_at, d.request_id) < (%(at)s, %(id)s)"
        parameters |= {"at": after.at, "id": after.id}
    for found in selected(_ROWS.format(tail=tail), parameters, limit=limit):
        yield _row(found)


def _row(found: tuple[Any, ...]) -> Row:
    (
        occurred_at, request_id, level, level_name, escalations, approver, subject, requester,
        resource, entitlement, verdict, comment, asked_at, seen, revision, digest, policy_record,
        rule_name,
    ) = found  # fmt: skip
    seconds = round((occurred_at - asked_at).total_seconds(), 3) if asked_at else None
    cells = (
        reference(request_id), level, level_name, _quorum(policy_record, rule_name, level),
        escalations, approver, subject, requester, resource, entitlement,
        "approved" if verdict == "approve" else "denied", comment, asked_at, occurred_at, seconds,
        seen, revision, bytes(digest).hex(), str(request_id),
    )  # fmt: skip
    return Row(Cursor(occurred_at, request_id), request_id, cells)


def _quorum(policy_record: int, rule_name: str, level: int) -> int:
    """Return how many approvals the level asked for, by the policy that was pinned."""
    pinned = AccessRequest(policy_record_id=policy_record, rule_name=rule_name)
    chain: Chain | None = chains.pinned_rule(pinned).chain
    assert chain is not None, "a rule without a chain has no decisions"
    return chain.levels[level - 1].quorum


def count(filters: Filters) -> int:
    """Return how many decisions were made in the period."""
    return counted(f"SELECT count(*) {_WHERE}", filters)


REPORT = Report(
    id="approval-decisions",
    title="Approval decisions",
    answers="Each decision with its level, who made it, and how long it took",
    controls=("SOC 2 CC6.2", "ISO 27001 A.5.15", "NIST AC-2, AC-5, AU-10"),
    columns=COLUMNS,
    rows=rows,
    count=count,
)
