"""Access reviews: every pinned access, who judged it and how, and when it was gone.

A line counts in the period in which it was decided; one that waits, in that of its opening.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from approvals.reports import held
from approvals.reports.frame import Column, Figure, Filters, counted
from approvals.reports.query import Query, Raw, in_period, in_scope, login_of, of_person, report

_AT = "coalesce(d.occurred_at, i.occurred_at)"
_SOURCE = f"""
        FROM approvals_reviewitem i
        JOIN approvals_reviewcampaign o ON o.campaign_id = i.campaign_id AND o.revision = 1
        LEFT JOIN approvals_reviewcampaign s ON s.campaign_id = i.campaign_id AND s.revision = 2
        LEFT JOIN approvals_reviewdecision d ON d.item_id = i.item_id
        WHERE {in_period(_AT)} AND {in_scope("i.entitlement_id")}
          AND {of_person("i.subject_id", "i.reviewer_id", "d.actor_id")}"""

QUERY = Query(
    source=_SOURCE,
    at=_AT,
    key="i.item_id",
    request="i.request_id",
    select=f"""o.name, i.subject_name, i.resource_name, i.entitlement_name, i.risk,
        coalesce(d.actor_name, nullif(i.reviewer_name, ''), 'compliance'),
        coalesce(d.relationship, i.relationship), coalesce(d.verdict, 'waits'), d.seconds,
        d.together, coalesce(d.reason, ''), d.occurred_at,
        CASE WHEN d.verdict = 'remove' THEN (
            SELECT {held.GONE_AT} FROM approvals_currentrequest c
            JOIN approvals_accessrequest r ON r.id = c.record_id
            WHERE c.request_id = d.request_id) END,
        o.due_at, coalesce(s.event, 'open'), coalesce(s.actor_name, ''), s.occurred_at,
        i.campaign_id, i.item_id, {login_of("i.subject_id")},
        coalesce({login_of("coalesce(d.actor_id, i.reviewer_id)")}, '')""",  # noqa: S608
)

COLUMNS = (
    Column("request", "Item", "reference"),
    Column("campaign", "Campaign"),
    Column("subject", "Subject"),
    Column("resource", "Resource"),
    Column("entitlement", "Entitlement"),
    Column("risk", "Risk", wide=True),
    Column("reviewer", "Reviewer"),
    Column("relationship", "Relationship"),
    Column("decision", "Decision"),
    Column("seconds", "Seconds", "number"),
    Column("decided_together", "At once", "number", wide=True),
    Column("rationale", "Rationale"),
    Column("decided_at", "Decided", "moment"),
    Column("remedied_at", "Remedied", "moment"),
    Column("due_at", "Due", "moment", wide=True),
    Column("campaign_state", "Campaign's state", wide=True),
    Column("signed_off_by", "Sign-off"),
    Column("signed_off_at", "Signed off", "moment"),
    Column("subject_login", "Login", wide=True),
    Column("reviewer_login", "Reviewer's login", wide=True),
    Column("campaign_id", "Campaign's id", "mono", wide=True),
    Column("item_id", "Item's id", "mono", wide=True),
    Column("request_id", "Request id", "mono", wide=True),
)


def _cells(rows: Sequence[Raw], filters: Filters) -> Iterable[Sequence[Any]]:
    for _, values in rows:
        *head, state, by, at, campaign_id, item_id, subject, reviewer = values
        if state != "signed_off":
            by, at = "", None
        yield (
            *head, state.replace("_", " "), by, at, subject, reviewer, str(campaign_id),
            str(item_id),
        )  # fmt: skip


def _summary(filters: Filters) -> tuple[Figure, ...]:
    shown = {
        "Kept": "d.verdict = 'keep'",
        "Removed": "d.verdict = 'remove'",
        "Had ended": "d.verdict = 'gone'",
        "Not reviewed in time": "d.verdict = 'unreviewed'",
        "Waiting": "d.id IS NULL AND s.id IS NULL",
    }
    return tuple(
        Figure(title, f"{counted(f'SELECT count(*) {_SOURCE} AND {condition}', filters):,}")
        for title, condition in shown.items()
    )


REPORT = report(
    id="access-reviews",
    title="Access reviews",
    answers="Who judged which access, how long they took, and when what they removed was gone",
    controls=("NIST AC-2(j), AC-6(7)", "PCI DSS 7.2.4", "SOC 2 CC6.2, CC6.3", "ISO 27001 A.5.18"),
    columns=COLUMNS,
    query=QUERY,
    cells=_cells,
    summary=_summary,
)
