"""Dormant rights: people who may ask for something by a group, and did not in the period.

A right is a person, an entitlement that is not retired, and a rule of its policy that names one of
the person's groups; rules for everyone give no list of people and are left out. What somebody did
with access while they had it is not known here: it is the target's to log.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from approvals.reports.frame import Column, Filters
from approvals.reports.query import Query, Raw, of_person, report

_RIGHTS = """(
    SELECT m.person_id, n.id AS entitlement_id, n.resource_id, n.name, n.risk,
           array_agg(DISTINCT g.name ORDER BY g.name) AS groups,
           (SELECT min(h.history_date) FROM approvals_historicalmembership h
            WHERE h.id = min(m.id)) AS since
    FROM approvals_entitlement n
    JOIN approvals_policy p ON p.id = n.policy_id
    CROSS JOIN LATERAL jsonb_array_elements(p.document -> 'rules') rule
    JOIN approvals_group g ON rule -> 'groups' ? g.name
    JOIN approvals_membership m ON m.group_id = g.id
    WHERE NOT n.is_retired
    GROUP BY m.person_id, n.id
)"""
_ASKED = """(SELECT {} FROM approvals_currentrequest c
    WHERE c.subject_id = e.person_id AND c.entitlement_id = e.entitlement_id)"""
_LAST = _ASKED.format("max(c.submitted_at)")

QUERY = Query(
    source=f"""
        FROM {_RIGHTS} e
        JOIN approvals_user u ON u.id = e.person_id AND u.is_active
        JOIN approvals_resource t ON t.id = e.resource_id AND NOT t.is_retired
        WHERE NOT EXISTS (SELECT FROM approvals_currentrequest c
              WHERE c.subject_id = e.person_id AND c.entitlement_id = e.entitlement_id
                AND c.submitted_at >= %(start)s)
          AND (%(resource)s::bigint IS NULL OR e.resource_id = %(resource)s::bigint)
          AND {of_person("e.person_id")}""",
    at=f"coalesce({_LAST}, e.since, u.created_at)",
    key="md5(e.person_id || ' ' || e.entitlement_id)::uuid",
    select=f"""coalesce(nullif(u.name, ''), u.username), u.username, t.name, e.name, e.risk,
        e.groups, e.since, {_LAST}, {_ASKED.format("count(*)")},
        {_ASKED.format("count(c.activated_at)")}""",
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
    Column("times_asked", "Asked", "number"),
    Column("times_granted", "Granted", "number"),
    Column("recommendation", "Recommendation"),
)


def _cells(rows: Sequence[Raw], filters: Filters) -> Iterable[Sequence[Any]]:
    for _, values in rows:
        *head, groups, since, last, asked, granted = values
        advice = "not asked for in this period" if asked else "never asked for"
        yield (
            *head, ", ".join(groups), since, last, asked, granted,
            f"{advice}: is the group still needed?",
        )  # fmt: skip


REPORT = report(
    id="dormant-rights",
    title="Dormant rights",
    answers="Who may ask for what by a group, and has not asked since the period began",
    controls=("SOC 2 CC6.2", "ISO 27001 A.5.18", "NIST AC-2(3)", "PCI DSS 8.2.6"),
    columns=COLUMNS,
    query=QUERY,
    cells=_cells,
)
