"""Orphaned access: what a target held and no live grant explains, how long, and what became of it.

In it are confirmed findings that were first seen in the period, and every one that still stood at
its end, however long ago it was first seen; what was repaired afterwards is told as it stood then.
What is granted and missing is no access, and not here.
"""

from approvals.reports.frame import Column, Figure, Filters, counted
from approvals.reports.query import Query, in_scope, of_person, report

_STANDS = "(f.resolved_at IS NULL OR f.resolved_at > %(moment)s)"
_SOURCE = f"""
        FROM approvals_finding f
        JOIN approvals_entitlement n ON n.id = f.entitlement_id
        JOIN approvals_resource t ON t.id = f.resource_id
        JOIN approvals_user o ON o.id = t.owner_id
        LEFT JOIN approvals_user p ON p.id = f.person_id
        LEFT JOIN approvals_user k ON k.id = f.kept_by_id
        WHERE f.kind <> 'missing' AND f.confirmed_at IS NOT NULL AND f.first_seen_at < %(end)s
          AND (f.first_seen_at >= %(start)s OR {_STANDS})
          AND {in_scope("f.entitlement_id")} AND {of_person("f.person_id")}"""

QUERY = Query(
    source=_SOURCE,
    at="f.first_seen_at",
    key="lpad(to_hex(f.id), 32, '0')::uuid",
    request="f.request_id",
    select="""f.kind, f.login, coalesce(nullif(p.name, ''), p.username, ''), t.name, n.name,
        t.connector, f.first_seen_at, f.confirmed_at, f.last_seen_at, f.repairs,
        round(extract(epoch FROM least(f.resolved_at, %(moment)s) - f.first_seen_at), 3)::float,
        CASE WHEN f.resolved_at <= %(moment)s THEN f.resolution
             ELSE CASE WHEN f.kept_at <= %(moment)s THEN 'kept' ELSE 'still there' END
                  || CASE WHEN f.resolved_at IS NOT NULL THEN ', later ' || f.resolution ELSE '' END
             END,
        f.resolved_at, coalesce(nullif(k.name, ''), k.username, ''), f.kept_because,
        coalesce(nullif(o.name, ''), o.username), coalesce(p.username, '')""",
)

COLUMNS = (
    Column("request", "Request", "reference"),
    Column("kind", "Kind"),
    Column("login", "Name at the target"),
    Column("person", "Person"),
    Column("resource", "Target"),
    Column("entitlement", "Entitlement"),
    Column("connector", "Connector", wide=True),
    Column("first_seen_at", "First seen", "moment"),
    Column("confirmed_at", "Confirmed", "moment", wide=True),
    Column("last_seen_at", "Last seen", "moment", wide=True),
    Column("repairs", "Removals begun", "number", wide=True),
    Column("age_seconds", "Age, s", "number"),
    Column("resolution", "Resolution"),
    Column("resolved_at", "Gone", "moment", wide=True),
    Column("kept_by", "Kept by", wide=True),
    Column("kept_because", "Because", wide=True),
    Column("owner", "Owner"),
    Column("person_login", "Login", wide=True),
    Column("request_id", "Request id", "mono", wide=True),
)


def _summary(filters: Filters) -> tuple[Figure, ...]:
    """Return how many there are of each kind, and how many still stand."""
    kinds = (("Left over", "leftover"), ("Standing", "standing"), ("Unknown name", "unmatched"))
    counts = [
        (title, counted(f"SELECT count(*) {_SOURCE} AND f.kind = '{kind}'", filters))
        for title, kind in kinds
    ]
    counts.append(("Still there", counted(f"SELECT count(*) {_SOURCE} AND {_STANDS}", filters)))
    return tuple(Figure(title, f"{count:,}") for title, count in counts)


REPORT = report(
    id="orphaned-access",
    title="Orphaned access",
    answers="What targets held that no grant explains, since when, and what became of it",
    controls=("SOC 2 CC6.2, CC6.3", "ISO 27001 A.5.18", "NIST AC-2(3), AC-2(4), CM-6"),
    columns=COLUMNS,
    query=QUERY,
    summary=_summary,
)
