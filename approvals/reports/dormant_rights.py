"""Dormant rights: people who could ask for something by a group, and made no use of it.

A right is a person, an entitlement that is not retired, and a rule of its policy that names one of
the person's groups, all as the histories had them at the moment; rules for everyone give no list of
people and are left out. It is dormant when the person neither asked for it nor held it from the
first day on that is looked back to. What somebody did with access while they had it is not known
here: it is the target's to log.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from approvals.reports.frame import LAST_USED, Column, Filters
from approvals.reports.query import Query, Raw, of_person, report


def _then(kind: str) -> str:
    """Return the rows of a history that stood at the moment."""
    return f"""(SELECT * FROM (
        SELECT DISTINCT ON (h.id) h.* FROM approvals_historical{kind} h
        WHERE h.history_date <= %(moment)s ORDER BY h.id, h.history_id DESC) newest
        WHERE history_type <> '-')"""  # noqa: S608 - a table's name


_RIGHTS = f"""(
    SELECT m.person_id, n.id AS entitlement_id, n.resource_id, n.name, n.risk,
           array_agg(DISTINCT g.name ORDER BY g.name) AS groups,
           array_agg(DISTINCT m.id) AS memberships,
           (SELECT min(h.history_date) FROM approvals_historicalmembership h
            WHERE h.id = min(m.id)) AS member_since
    FROM {_then("entitlement")} n
    JOIN {_then("policy")} p ON p.id = n.policy_id
    CROSS JOIN LATERAL jsonb_array_elements(p.document -> 'rules') rule
    JOIN {_then("group")} g ON rule -> 'groups' ? g.name
    JOIN {_then("membership")} m ON m.group_id = g.id
    WHERE NOT n.is_retired
    GROUP BY m.person_id, n.id, n.resource_id, n.name, n.risk
)"""  # noqa: S608 - constants
_ASKED = """(SELECT {} FROM approvals_currentrequest c
    WHERE c.subject_id = e.person_id AND c.entitlement_id = e.entitlement_id
      AND c.submitted_at <= %(moment)s)"""
_LAST = _ASKED.format("max(c.submitted_at)")
_HELD = """(SELECT {} FROM approvals_currentrequest c
    JOIN approvals_accessrequest r ON r.id = c.record_id
    WHERE c.subject_id = e.person_id AND c.entitlement_id = e.entitlement_id
      AND c.activated_at <= %(moment)s {})"""
#: Asked for, or there at some moment from `start` to the moment.
_USED = f"""({_LAST} >= %(start)s OR EXISTS {
    _HELD.format("1", "AND (r.removal_confirmed_at IS NULL OR r.removal_confirmed_at > %(start)s)")
})"""
_LEFT = """(SELECT CASE WHEN count(*) = cardinality(e.memberships) THEN max(h.history_date) END
    FROM approvals_historicalmembership h
    WHERE h.id = ANY(e.memberships) AND h.history_type = '-')"""

QUERY = Query(
    source=f"""
        FROM {_RIGHTS} e
        JOIN {_then("user")} u ON u.id = e.person_id AND u.is_active
        JOIN {_then("resource")} t ON t.id = e.resource_id AND NOT t.is_retired
        WHERE NOT coalesce({_USED}, false)
          AND (%(resource)s::bigint IS NULL OR e.resource_id = %(resource)s::bigint)
          AND {of_person("e.person_id")}""",
    at=f"coalesce({_LAST}, e.member_since, u.created_at)",
    key="md5(e.person_id || ' ' || e.entitlement_id)::uuid",
    select=f"""coalesce(nullif(u.name, ''), u.username), u.username, t.name, e.name, e.risk,
        e.groups, e.member_since, {_LAST}, {_HELD.format("max(r.removal_confirmed_at)", "")},
        {_ASKED.format("count(*)")}, {_HELD.format("count(*)", "")}, {_LEFT}""",
)

COLUMNS = (
    Column("person", "Person"),
    Column("login", "Login", wide=True),
    Column("resource", "Resource"),
    Column("entitlement", "Entitlement"),
    Column("risk", "Risk"),
    Column("groups", "By group"),
    Column("member_since", "Member since", "moment"),
    Column("last_asked_at", "Last asked", "moment"),
    Column("last_had_at", "Last had", "moment"),
    Column("times_asked", "Asked", "number"),
    Column("times_granted", "Granted", "number"),
    LAST_USED,
    Column("recommendation", "Recommendation", wide=True),
    Column("action", "Action"),
    Column("action_at", "Done", "moment", wide=True),
)


def _cells(rows: Sequence[Raw], filters: Filters) -> Iterable[Sequence[Any]]:
    for _, values in rows:
        *head, groups, since, last, had, asked, granted, left_at = values
        advice = "not asked for since" if asked else "never asked for"
        yield (
            *head, ", ".join(groups), since, last, had, asked, granted, "",
            f"{advice}: is the group still needed?",
            "group taken away" if left_at else "none yet", left_at,
        )  # fmt: skip


REPORT = report(
    id="dormant-rights",
    title="Dormant rights",
    answers="Who could ask for what by a group, and neither asked for it nor held it for long",
    controls=("SOC 2 CC6.2", "ISO 27001 A.5.18", "NIST AC-2(3)", "PCI DSS 8.2.6"),
    columns=COLUMNS,
    query=QUERY,
    cells=_cells,
    as_of=True,
    since=True,
)
