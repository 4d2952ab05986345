"""What is found by looking at whole tables: rows, salts without entries; entries without leaves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connection

from audit.domain import entries
from audit.domain.lines import Malformed
from audit.domain.note import LogKey
from audit.selectors import verifications
from audit.services.verification import form as forms
from audit.services.verification import kinds, snapshot
from audit.services.verification.findings import KEPT_MOST, Problem
from audit.services.verification.outside import Anchor

SOON_SECONDS = 60

_WITHOUT_ENTRY = (
    'SELECT count(*), (array_agg(r."{key}" ORDER BY r."{key}"))[1:{most}] FROM {table} r'
    " WHERE NOT EXISTS (SELECT FROM audit_entry e"
    ' WHERE e.model = %s AND e.record_id = r."{key}")'
)
_SALTS_WITHOUT_ENTRY = """
SELECT count(*), min(entry_id) FROM audit_salt s
WHERE NOT EXISTS (SELECT FROM audit_entry e WHERE e.id = s.entry_id)
"""
_UNSEALED = """
SELECT count(*), min(id), min(recorded_at),
       count(*) FILTER (WHERE recorded_at < %s)
FROM audit_entry e WHERE NOT EXISTS (SELECT FROM audit_leaf l WHERE l.entry_id = e.id)
"""
_UNSEALED_IDS = """
SELECT id FROM audit_entry e
WHERE id > %s AND NOT EXISTS (SELECT FROM audit_leaf l WHERE l.entry_id = e.id)
ORDER BY id LIMIT %s
"""


@dataclass(frozen=True, slots=True)
class Unsealed:
    """The entries that wait for the sealer. `late` of them wait for more than a minute."""

    count: int
    first: int | None
    oldest: datetime | None
    age: timedelta
    late: int


def unsealed(*, now: datetime) -> Unsealed:
    """Return what waits for the sealer."""
    with connection.cursor() as cursor:
        cursor.execute(_UNSEALED, [now - timedelta(seconds=SOON_SECONDS)])
        count, first, oldest, late = cursor.fetchone()
    return Unsealed(count, first, oldest, now - oldest if oldest else timedelta(), late)


def unsealed_ids(*, after: int, most: int) -> list[int]:
    """Return the ids of unsealed entries above `after`, in order."""
    with connection.cursor() as cursor:
        cursor.execute(_UNSEALED_IDS, [after, most])
        return [row[0] for row in cursor.fetchall()]


def without_entries() -> Iterator[Problem]:
    """Yield a problem for each row that should have an entry in the log and has none."""
    for name, kind in kinds.every().items():
        statement = _WITHOUT_ENTRY.format(key=kind.key, table=kind.table, most=KEPT_MOST)
        with connection.cursor() as cursor:
            cursor.execute(statement, [name])
            count, keys = cursor.fetchone()
        if not count:
            continue
        with connection.cursor() as cursor:
            cursor.execute(kind.select, [keys])
            rows = [kind.hold(values, lambda _: "") for values in cursor.fetchall()]
        for row in rows:
            object_id, revision = kind.name_of(row)
            yield Problem(
                kind="row",
                what=f"row {row.__dict__[kind.key]} of {kind.table} has no entry in the log",
                model=name,
                object_id=object_id,
                revision=revision,
            )
        if count > len(rows):
            yield Problem(kind="row", what=f"{count} rows of {kind.table} have no entry in the log")


def salts_without_entries() -> Iterator[Problem]:
    """Yield a problem where salts are of entries that aren't there, or not yet."""
    with connection.cursor() as cursor:
        cursor.execute(_SALTS_WITHOUT_ENTRY)
        count, first = cursor.fetchone()
    if count:
        words = f"{count} salts are of no entry, the first of one with the id {first}"
        yield Problem(kind="entry", what=words)


def erasures() -> dict[tuple[str, str], dict[str, int]]:
    """Return which fields of which objects were erased, up to which revision."""
    found: dict[tuple[str, str], dict[str, int]] = {}
    with snapshot.raw().cursor(name="audit_erasures", binary=True) as cursor:
        mark = f'"type":"{entries.ERASURE}"'.encode()
        cursor.execute("SELECT data FROM audit_entry WHERE position(%s in data) > 0", [mark])
        for (data,) in cursor:
            try:
                form = forms.read(bytes(data))
            except Malformed:
                continue  # said where its leaf is looked at
            if form.type != entries.ERASURE:
                continue
            fields = found.setdefault((form.model, form.id), {})
            for name in form.fields:
                fields[name] = max(form.rev, fields.get(name, 0))
    return found


def earlier(known: Mapping[str, LogKey]) -> list[Anchor]:
    """Return what the largest earlier verification of each log saw, as the log's key signed it."""
    found: list[Anchor] = []
    for origin, key in known.items():
        seen = verifications.largest(origin, key)
        if seen is not None:
            source = f"the verification of {seen.recorded_at:%Y-%m-%d %H:%M:%S} UTC"
            found.append(Anchor(origin, seen.size, bytes(seen.root), source))
    return found
