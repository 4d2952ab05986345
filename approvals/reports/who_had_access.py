"""Who had access: every grant that lay in the period, who approved it, how and when it ended."""

from collections.abc import Iterator
from typing import Any

from approvals.models.request import reference
from approvals.reports.frame import Column, Filters, Report, Row, counted, selected
from approvals.selectors.requests import Cursor
from approvals.selectors.sentences import END_REASONS

# A grant lies in the period when it began before its end and was not yet gone at its start.
_WHERE = """
FROM approvals_currentrequest c
JOIN approvals_accessrequest r ON r.id = c.record_id
WHERE c.activated_at IS NOT NULL AND c.activated_at < %(end)s
  AND (r.removal_confirmed_at IS NULL OR r.removal_confirmed_at >= %(start)s)
  AND (%(resource)s::bigint IS NULL OR c.entitlement_id IN (
       SELECT id FROM approvals_entitlement WHERE resource_id = %(resource)s::bigint))
  AND (%(person)s::bigint IS NULL OR %(person)s::bigint IN (c.subject_id, c.requester_id))
"""
_ROWS = f"""
SELECT c.activated_at, c.request_id, r.subject_name, r.requester_name, r.resource_name,
       r.entitlement_name, r.risk, r.reason, r.ticket, r.submitted_at,
       d.names, d.moments, r.ends_at, r.end_reason, r.removal_due_at, r.removal_started_at,
       r.removal_confirmed_at, r.state, r.policy_name, r.policy_version
FROM (SELECT c.activated_at, c.request_id, c.record_id {_WHERE} {{tail}}
      ORDER BY c.activated_at DESC, c.request_id DESC {{limit}}) c
JOIN approvals_accessrequest r ON r.id = c.record_id
CROSS JOIN LATERAL (
    SELECT array_agg(actor_name ORDER BY revision) AS names,
           array_agg(occurred_at ORDER BY revision) AS moments
    FROM approvals_decision WHERE request_id = c.request_id AND verdict = 'approve') d
ORDER BY c.activated_at DESC, c.request_id DESC
"""  # noqa: S608 - constants

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


def rows(filters: Filters, after: Cursor | None, limit: int | None) -> Iterator[Row]:
    """Yield the grants after a cursor, the newest first."""
    parameters = filters.parameters
    tail = ""
    if after:
        tail = "AND (c.activated_at, c.request_id) < (%(at)s, %(id)s)"
        parameters |= {"at": after.at, "id": after.id}
    sql = _ROWS.format(tail=tail, limit=f"LIMIT {limit:d}" if limit is not None else "")
    for found in selected(sql, parameters, limit=limit):
        yield _row(found)


def _row(found: tuple[Any, ...]) -> Row:
    (
        activated_at, request_id, subject, requester, resource, entitlement, risk, reason, ticket,
        submitted_at, names, moments, ends_at, end_reason, due_at, started_at, confirmed_at,
        state, policy, version,
    ) = found  # fmt: skip
    approvers = tuple(zip(names or (), moments or (), strict=True))
    lag = round((confirmed_at - due_at).total_seconds() * 1000) if confirmed_at and due_at else None
    cells = (
        reference(request_id), subject, requester, resource, entitlement, risk, reason, ticket,
        submitted_at, approvers or ((f"rule of {policy}", None),), activated_at, ends_at,
        END_REASONS.get(end_reason, end_reason), due_at, started_at, confirmed_at, lag, state,
        f"{policy} version {version}", str(request_id),
    )  # fmt: skip
    return Row(Cursor(activated_at, request_id), request_id, cells)


def count(filters: Filters) -> int:
    """Return how many grants lay in the period."""
    return counted(f"SELECT count(*) {_WHERE}", filters)


REPORT = Report(
    id="who-had-access",
    title="Who had access",
    answers="Every grant, who approved it, and when it ended at the target",
    controls=("SOC 2 CC6.1–6.3", "ISO 27001 A.5.18", "NIST AC-2"),
    columns=COLUMNS,
    rows=rows,
    count=count,
)
