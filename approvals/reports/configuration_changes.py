"""Policy and configuration changes: each change with its author, and every field before and after.

Rows are those of the histories of policies, resources, entitlements, groups, memberships, people,
their SSH keys and report schedules, which nobody can change. `requests_affected` is known for
policies: how many requests were submitted under the version that the change made.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from django.db import connection

from approvals.reports.frame import Column, Filters
from approvals.reports.query import Query, Raw, in_period, report
from approvals.selectors import changes

#: Each history's name, and the conditions on its rows `h` for one resource and for one person.
_KINDS = {
    "policy": (
        "h.id IN (SELECT policy_id FROM approvals_entitlement WHERE resource_id = %(resource)s)",
        "false",
    ),
    "resource": ("h.id = %(resource)s", "h.owner_id = %(person)s"),
    "entitlement": ("h.resource_id = %(resource)s", "false"),
    "group": ("false", "false"),
    "membership": ("false", "h.person_id = %(person)s"),
    "user": ("false", "h.id = %(person)s"),
    "reportschedule": ("false", "h.owner_id = %(person)s"),
    "publickey": ("false", "h.person_id = %(person)s"),
}
#: Nobody has to agree to a change of the configuration.
_APPROVER = "none required"
_OPERATIONS = {"+": "added", "~": "changed", "-": "removed"}
_IMPLIED = {"id", "history_id", "history_date", "history_type", "history_user_id"}


def _history(rank: int, kind: str) -> str:
    table = f"approvals_historical{kind}"
    of_resource, of_person = _KINDS[kind]
    return f"""
        SELECT h.history_date AS at,
               ({rank} || lpad(to_hex(h.history_id), 31, '0'))::uuid AS key,
               '{kind}' AS kind, h.history_id, h.history_type, h.history_user_id,
               to_jsonb(h) AS after,
               (SELECT to_jsonb(p) FROM {table} p WHERE p.id = h.id AND p.history_id < h.history_id
                ORDER BY p.history_id DESC LIMIT 1) AS before
        FROM {table} h
        WHERE {in_period("h.history_date")}
          AND (%(resource)s::bigint IS NULL OR {of_resource})
          AND (%(person)s::bigint IS NULL OR h.history_user_id = %(person)s OR {of_person})"""  # noqa: S608


QUERY = Query(
    source=f"FROM ({' UNION ALL '.join(_history(*it) for it in enumerate(_KINDS, 1))}) e"
    " WHERE true",
    at="e.at",
    key="e.key",
    select="e.kind, e.history_id, e.history_type, e.at, e.after, e.before",
)

COLUMNS = (
    Column("kind", "Kind"),
    Column("object", "Object"),
    Column("operation", "Operation"),
    Column("at", "When", "moment"),
    Column("author", "Author"),
    Column("approver", "Approver", wide=True),
    Column("reason", "Reason"),
    Column("changes", "Changes"),
    Column("before", "Before", "mono", wide=True),
    Column("after", "After", "mono", wide=True),
    Column("requests_affected", "Requests", "number"),
    Column("object_id", "Object no.", "number", wide=True),
    Column("history_id", "History no.", "number", wide=True),
)


def _cells(rows: Sequence[Raw], filters: Filters) -> Iterable[Sequence[Any]]:
    wanted: dict[str, list[int]] = {}
    for _, values in rows:
        wanted.setdefault(values[0], []).append(values[1])
    told = changes.told(wanted)
    under = _requests_under(wanted.get("policy", []))
    for _, (kind, history_id, operation, at, after, before) in rows:
        after, before = _loaded(after), _loaded(before)
        change = told[kind, history_id]
        old, new = _difference(before, after, operation=operation)
        yield (
            _noun(kind), change.on, _OPERATIONS[operation], at, change.who,
            _APPROVER, after.get("history_change_reason") or "",
            f"{change.sentence.rest} {change.sentence.detail}".strip(), old, new,
            under.get(history_id, 0) if kind == "policy" else None, change.object_id, history_id,
        )  # fmt: skip


def _noun(kind: str) -> str:
    noun = changes.NOUNS[kind]
    return noun if noun.startswith("SSH") else noun.lower()


def _loaded(found: Any) -> dict[str, Any]:
    row: dict[str, Any] = json.loads(found) if isinstance(found, str) else found or {}
    return row


def _difference(
    before: dict[str, Any], after: dict[str, Any], *, operation: str
) -> tuple[str, str]:
    """Return the fields that differ as they were and as they became, each as a JSON object."""
    if operation == "-":  # its history row holds what was removed
        before, after = after, {}
    elif operation == "+":
        before = {}
    keys = sorted((before.keys() | after.keys()) - _IMPLIED - {"history_change_reason"})
    changed = [key for key in keys if before.get(key) != after.get(key)]
    return tuple(  # type: ignore[return-value]
        json.dumps({key: row[key] for key in changed if key in row}, ensure_ascii=False)
        for row in (before, after)
    )


def _requests_under(history_ids: list[int]) -> dict[int, int]:
    """Return how many requests were submitted under each version of a policy (one query)."""
    if not history_ids:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT policy_record_id, count(*) FROM approvals_accessrequest"
            " WHERE revision = 1 AND policy_record_id = ANY(%s) GROUP BY 1",
            [history_ids],
        )
        return dict(cursor.fetchall())


REPORT = report(
    id="configuration-changes",
    title="Policy and configuration changes",
    answers="Who changed which policy, resource, group or person, before and after",
    controls=("SOC 2 CC8.1", "ISO 27001 A.8.32", "NIST AC-2, AU-12, CM-3"),
    columns=COLUMNS,
    query=QUERY,
    cells=_cells,
)
