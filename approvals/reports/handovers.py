"""Delegations and escalations: each place that was handed over, each silent level that moved on."""

from approvals.reports.frame import Column, Figure, Filters, counted
from approvals.reports.query import Query, in_period, in_scope, login_of, of_person, report


def _names(key: str) -> str:
    return (
        "coalesce((SELECT string_agg(name, ', ' ORDER BY place) FROM"  # noqa: S608 - a constant
        f" jsonb_array_elements_text(e.detail -> '{key}') WITH ORDINALITY u(name, place)), '')"
    )


#: Handovers, and the revisions that escalated.
_FOUND = f"""(
    SELECT md5('handover' || h.id)::uuid AS key, h.request_id, h.occurred_at, 'handed over' AS what,
        h.level, h.level_name, h.giver_name AS handed_by, h.taker_name AS handed_to, h.place_name,
        h.comment AS why, h.giver_id, h.taker_id, h.place_id, h.number
    FROM approvals_requesthandover h
    UNION ALL
    SELECT md5('escalated' || e.id)::uuid, e.request_id, e.occurred_at, 'escalated',
        (e.detail ->> 'level')::integer, e.detail ->> 'level_name', {_names("from")},
        {_names("new")}, '', 'nobody decided in time', NULL, NULL, NULL, NULL
    FROM approvals_accessrequest e WHERE e.event = 'escalated') f"""  # noqa: S608 - only constants are put in
_PEOPLE = ("f.giver_id", "f.taker_id", "f.place_id", "c.subject_id", "c.requester_id")
_SOURCE = f"""
        FROM {_FOUND}
        JOIN approvals_currentrequest c ON c.request_id = f.request_id
        JOIN approvals_accessrequest r ON r.id = c.record_id
        WHERE {in_period("f.occurred_at")} AND {in_scope("c.entitlement_id")}
          AND {of_person(*_PEOPLE)}"""


def _decided(column: str) -> str:
    """Return a column of the decision that came of it.

    Of a handover: that of who took the place, or of who got it from them at last. Of an escalation:
    the next one at that level.
    """
    return f"""(SELECT d.{column} FROM approvals_decision d
            WHERE d.request_id = f.request_id AND d.level = f.level
              AND d.occurred_at >= f.occurred_at
              AND (f.what = 'escalated' OR d.actor_id = (
                SELECT n.taker_id FROM approvals_requesthandover n
                WHERE n.request_id = f.request_id AND n.level = f.level
                  AND n.place_id = f.place_id AND n.occurred_at <= d.occurred_at
                ORDER BY n.number DESC LIMIT 1))
            ORDER BY d.revision LIMIT 1)"""  # noqa: S608 - a column's name


QUERY = Query(
    source=_SOURCE,
    at="f.occurred_at",
    key="f.key",
    request="f.request_id",
    select=f"""f.what, r.subject_name, r.resource_name, r.entitlement_name, f.level, f.level_name,
        f.handed_by, f.handed_to, f.place_name, f.why, f.occurred_at,
        coalesce({_decided("actor_name")}, ''), coalesce({_decided("verdict")}, ''),
        {_decided("occurred_at")}, f.number, {login_of("c.subject_id")},
        coalesce({login_of("f.giver_id")}, ''), coalesce({login_of("f.taker_id")}, '')""",
)

COLUMNS = (
    Column("request", "Request", "reference"),
    Column("what", "What"),
    Column("subject", "For"),
    Column("resource", "Resource"),
    Column("entitlement", "Entitlement"),
    Column("level", "Level no.", "number", wide=True),
    Column("level_name", "Level"),
    Column("from", "From"),
    Column("to", "To"),
    Column("place_of", "Place of", wide=True),
    Column("why", "Why"),
    Column("at", "When", "moment"),
    Column("decided_by", "Decided by"),
    Column("verdict", "Verdict"),
    Column("decided_at", "Decided", "moment"),
    Column("handover_number", "Handover no.", "number", wide=True),
    Column("subject_login", "Login", wide=True),
    Column("from_login", "From, login", wide=True),
    Column("to_login", "To, login", wide=True),
    Column("request_id", "Request id", "mono", wide=True),
)


def _summary(filters: Filters) -> tuple[Figure, ...]:
    shown = {
        "Handed over": "f.what = 'handed over'",
        "Escalated": "f.what = 'escalated'",
    }
    return tuple(
        Figure(title, f"{counted(f'SELECT count(*) {_SOURCE} AND {condition}', filters):,}")
        for title, condition in shown.items()
    )


REPORT = report(
    id="handovers",
    title="Delegations and escalations",
    answers="Who gave their place on a request to whom and why, and which silent level moved on",
    controls=("SOC 2 CC6.2, CC6.3", "ISO 27001 A.5.15", "NIST AC-2, AC-5"),
    columns=COLUMNS,
    query=QUERY,
    summary=_summary,
)
