"""Leavers and movers: who was deactivated, lost a group, or got another manager or title.

The events are rows of people's and memberships' histories, with the moment and author that those
have, and what access was open then. Memberships that a grant made and took away again are no moves,
nor is a first manager or title; somebody who never was active did not leave. The portal ends the
access of leavers at once; a move ends nothing by itself, so that what goes on is for a person to
judge.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from approvals.models.request import reference
from approvals.reports.frame import Column, Filters
from approvals.reports.query import Query, Raw, in_period, of_person, report

#: A person's changes `h` in the period, each with the row `b` before it; an erasure moves nobody.
_CHANGES = f"""(SELECT * FROM approvals_historicaluser h
        WHERE h.history_type = '~' AND h.history_change_reason IS DISTINCT FROM 'erased'
          AND {in_period("h.history_date")}) h
    CROSS JOIN LATERAL (SELECT * FROM approvals_historicaluser p
        WHERE p.id = h.id AND p.history_id < h.history_id ORDER BY p.history_id DESC LIMIT 1) b"""  # noqa: S608
_NAME = """coalesce((SELECT coalesce(nullif(m.name, ''), m.username) FROM approvals_user m
               WHERE m.id = {}), '')"""
_EVENTS = f"""(
    SELECT h.history_date AS at, lpad(to_hex(h.history_id), 32, '0')::uuid AS key,
           h.id AS person_id, 'left' AS event, NULL::bigint AS group_id, '' AS before, '' AS after,
           h.history_user_id, h.history_change_reason
    FROM {_CHANGES}
    WHERE NOT h.is_active AND b.is_active
    UNION ALL
    SELECT h.history_date, ('2' || lpad(to_hex(h.history_id), 31, '0'))::uuid, h.id,
           'other manager', NULL, {_NAME.format("b.manager_id")}, {_NAME.format("h.manager_id")},
           h.history_user_id, h.history_change_reason
    FROM {_CHANGES}
    WHERE b.manager_id <> coalesce(h.manager_id, 0)
    UNION ALL
    SELECT h.history_date, ('3' || lpad(to_hex(h.history_id), 31, '0'))::uuid, h.id,
           'other title', NULL, b.title, h.title, h.history_user_id, h.history_change_reason
    FROM {_CHANGES}
    WHERE b.title <> '' AND b.title <> h.title
    UNION ALL
    SELECT h.history_date, ('1' || lpad(to_hex(h.history_id), 31, '0'))::uuid,
           h.person_id, 'lost group', h.group_id, '', '', h.history_user_id,
           h.history_change_reason
    FROM approvals_historicalmembership h
    WHERE h.history_type = '-' AND h.granted_by IS NULL AND {in_period("h.history_date")}
)"""  # noqa: S608 - constants
_GRANTS = """(SELECT {} FROM approvals_currentrequest c
    JOIN approvals_accessrequest r ON r.id = c.record_id
    WHERE c.subject_id = e.person_id AND c.activated_at <= e.at
      AND (r.removal_confirmed_at IS NULL OR r.removal_confirmed_at > e.at)
      AND (%(resource)s::bigint IS NULL OR c.entitlement_id IN (
           SELECT id FROM approvals_entitlement WHERE resource_id = %(resource)s::bigint)))"""

QUERY = Query(
    source=f"""
        FROM {_EVENTS} e
        JOIN approvals_user u ON u.id = e.person_id
        LEFT JOIN approvals_group g ON g.id = e.group_id
        LEFT JOIN approvals_user a ON a.id = e.history_user_id
        WHERE {of_person("e.person_id")}""",
    at="e.at",
    key="e.key",
    select=f"""coalesce(nullif(u.name, ''), u.username), u.username, e.event,
        coalesce(nullif(g.title, ''), g.name), e.before, e.after, e.at,
        coalesce(nullif(a.name, ''), a.username), e.history_change_reason,
        {_GRANTS.format("count(*)")}, {_GRANTS.format("count(r.removal_confirmed_at)")},
        extract(epoch FROM {_GRANTS.format("max(r.removal_confirmed_at)")} - e.at),
        {_GRANTS.format("array_agg(c.request_id ORDER BY c.activated_at)")}""",
)

COLUMNS = (
    Column("person", "Person"),
    Column("login", "Login", wide=True),
    Column("event", "Event"),
    Column("group", "Group"),
    Column("before", "From"),
    Column("after", "To"),
    Column("at", "When", "moment"),
    Column("by", "By"),
    Column("reason", "Reason"),
    Column("grants_open_then", "Open then", "number"),
    Column("grants_removed", "Gone", "number"),
    Column("grants_still_there", "Still there", "number"),
    Column("last_removal_seconds", "Last gone after, s", "number"),
    Column("grants", "Grants", "mono", wide=True),
)


def _cells(rows: Sequence[Raw], filters: Filters) -> Iterable[Sequence[Any]]:
    for _, values in rows:
        person, login, event, group, before, after, at, by, why, *grants = values
        there, gone, seconds, requests = grants
        slowest = round(float(seconds), 3) if there and there == gone else None
        yield (
            person, login, event, group or "", before, after, at, by or "portal", why or "",
            there, gone, there - gone, slowest,
            " ".join(reference(each) for each in requests or ()),
        )  # fmt: skip


REPORT = report(
    id="leavers-movers",
    title="Leavers and movers",
    answers="Who left, lost a group or moved, what was open then, and when the last was gone",
    controls=("SOC 2 CC6.3", "ISO 27001 A.5.11", "NIST PS-4, PS-5", "PCI DSS 8.2.5"),
    columns=COLUMNS,
    query=QUERY,
    cells=_cells,
)
