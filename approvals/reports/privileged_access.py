"""Privileged and standing access at one moment: portal roles, high-risk grants, what targets held.

Roles come from memberships of groups that carry one, as their histories had them at that moment;
they stand until somebody takes them away, unless a grant made them. Grants always have an end. What
a target held and no grant explains is what looks at it had confirmed, of any risk; targets that
can't be observed tell nothing.
"""

from approvals.reports.active_as_of import THERE
from approvals.reports.frame import Column
from approvals.reports.query import Query, in_scope, report

_ROLES = """
    SELECT (SELECT min(f.history_date) FROM approvals_historicalmembership f WHERE f.id = m.id)
               AS since,
           lpad(to_hex(m.id), 32, '0')::uuid AS key, m.granted_by AS request_id, m.person_id,
           'portal' AS resource, g.role || ' (' || g.name || ')' AS entitlement,
           'portal role' AS kind, NULL::bigint AS owner_id,
           CASE WHEN m.granted_by IS NULL THEN 'standing' ELSE 'granted' END AS term,
           coalesce(m.history_change_reason, '') AS justification,
           (SELECT r.ends_at FROM approvals_currentrequest c
            JOIN approvals_accessrequest r ON r.id = c.record_id
            WHERE c.request_id = m.granted_by) AS expires_at, '' AS held_as
    FROM (SELECT DISTINCT ON (h.id) h.* FROM approvals_historicalmembership h
          WHERE h.history_date <= %(moment)s ORDER BY h.id, h.history_id DESC) m
    JOIN LATERAL (SELECT h.name, h.role, h.history_type FROM approvals_historicalgroup h
                  WHERE h.id = m.group_id AND h.history_date <= %(moment)s
                  ORDER BY h.history_id DESC LIMIT 1) g ON true
    WHERE m.history_type <> '-' AND g.history_type <> '-' AND g.role <> ''
      AND %(resource)s::bigint IS NULL"""
_GRANTS = f"""
    SELECT c.activated_at, c.request_id, c.request_id, c.subject_id, r.resource_name,
           r.entitlement_name, 'high-risk grant', t.owner_id, 'granted', r.reason, r.ends_at,
           ''
    FROM approvals_currentrequest c
    JOIN approvals_accessrequest r ON r.id = c.record_id
    JOIN approvals_entitlement n ON n.id = c.entitlement_id
    JOIN approvals_resource t ON t.id = n.resource_id
    WHERE {THERE} AND r.risk = 'high' AND {in_scope("c.entitlement_id")}"""  # noqa: S608

_FOUND = f"""
    SELECT f.first_seen_at, ('f' || lpad(to_hex(f.id), 31, '0'))::uuid, f.request_id, f.person_id,
           t.name, n.name, 'found at the target: ' || f.kind, t.owner_id, 'standing',
           CASE WHEN f.kept_at <= %(moment)s THEN f.kept_because ELSE '' END, NULL::timestamptz,
           f.login
    FROM approvals_finding f
    JOIN approvals_entitlement n ON n.id = f.entitlement_id
    JOIN approvals_resource t ON t.id = f.resource_id
    WHERE f.kind <> 'missing' AND f.confirmed_at <= %(moment)s
      AND (f.resolved_at IS NULL OR f.resolved_at > %(moment)s)
      AND {in_scope("f.entitlement_id")}"""  # noqa: S608

QUERY = Query(
    source=f"""
        FROM ({_ROLES} UNION ALL {_GRANTS} UNION ALL {_FOUND}) e
        LEFT JOIN approvals_user u ON u.id = e.person_id
        LEFT JOIN approvals_user o ON o.id = e.owner_id
        WHERE (%(person)s::bigint IS NULL OR e.person_id = %(person)s::bigint)""",
    at="e.since",
    key="e.key",
    request="e.request_id",
    select="""coalesce(nullif(u.name, ''), u.username, e.held_as),
        coalesce(u.username, ''), CASE WHEN e.person_id IS NULL THEN 'unknown'
             WHEN (SELECT h.is_active FROM approvals_historicaluser h
                   WHERE h.id = e.person_id AND h.history_date <= %(moment)s
                   ORDER BY h.history_id DESC LIMIT 1) THEN 'yes' ELSE 'no' END,
        e.kind, e.resource, e.entitlement, e.term,
        coalesce(nullif(o.name, ''), o.username, ''), e.justification, e.since, e.expires_at""",
)

COLUMNS = (
    Column("request", "Request", "reference"),
    Column("person", "Person"),
    Column("login", "Login", wide=True),
    Column("person_active", "Active person"),
    Column("kind", "Kind"),
    Column("resource", "Resource"),
    Column("entitlement", "Role or entitlement"),
    Column("term", "Term"),
    Column("owner", "Owner", wide=True),
    Column("justification", "Justification"),
    Column("since", "Since", "moment"),
    Column("expires_at", "Expires", "moment"),
    Column("request_id", "Request id", "mono", wide=True),
)

REPORT = report(
    id="privileged-access",
    title="Privileged and standing access",
    answers="Who had a portal role, high-risk access, or any without a grant, at one moment",
    controls=("SOC 2 CC6.1, CC6.3", "ISO 27001 A.8.2", "NIST AC-2, AC-6(5)"),
    columns=COLUMNS,
    query=QUERY,
    as_of=True,
)
