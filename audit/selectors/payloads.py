"""What sealed entries stand for: each with its salts and the values that its record's columns hold.

Lives here: from leaves to rows. Whether a value is the one that was committed to is for
verification to say; nothing here trusts or checks what it reads.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from django.db import connection, models

from audit.domain import entries
from audit.domain.entries import SALT_BYTES
from audit.domain.lines import Malformed
from audit.models import AppendOnly, Log, guards, histories, sealed

CHUNK = 2_048
#: The salt of a value that was erased.
ERASED = bytes(SALT_BYTES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A sealed entry, opened.

    `said` is None for bytes that are no JSON object; `names` are the fields that a revision commits
    to, in the salts' order. `row` has every column of the record that it tells of, as the model
    would read them; None where there is no such record. `values` are those of the named fields that
    the record has a column for, as the log commits to them.
    """

    index: int
    entry_id: int
    model: str
    object_id: str
    record_id: int | None
    data: bytes
    salts: bytes | None
    said: Mapping[str, Any] | None
    names: list[str]
    row: Mapping[str, Any] | None
    values: Mapping[str, Any]

    @property
    def salted(self) -> dict[str, bytes]:
        """Return each field's salt; nothing where there are not as many salts as fields."""
        names, salts = self.names, self.salts or b""
        if len(salts) != SALT_BYTES * len(names):
            return {}
        return {
            name: salts[at * SALT_BYTES : (at + 1) * SALT_BYTES] for at, name in enumerate(names)
        }

    def payload(self) -> bytes | None:
        """Return the entry's line of `payloads.jsonl`; None where it has no value to show.

        Erased values are left out, and so are those that no entry could commit to: whoever verifies
        is told that they are missing.
        """
        held = {
            name: (self.values[name], salt)
            for name, salt in self.salted.items()
            if salt != ERASED and name in self.values
        }
        if not held:
            return None
        try:
            return entries.payload_line(leaf=self.index, fields=held)
        except Malformed:
            kept = {name: pair for name, pair in held.items() if _can_be_said(name, *pair)}
            return entries.payload_line(leaf=self.index, fields=kept) if kept else None


def _can_be_said(name: str, value: Any, salt: bytes) -> bool:
    try:
        entries.commitment(name=name, value=value, salt=salt)
    except Malformed:
        return False
    return True


@cache
def record_models() -> Mapping[str, type[models.Model]]:
    """Return the model of each kind of record, by the name that the log has for it."""
    found: dict[str, type[models.Model]] = {}
    for model in guards.record_models():
        if issubclass(model, AppendOnly):
            name = model.ledger_name
        else:
            name = histories.ledger_name(model) if hasattr(model, "history_id") else ""
        if name:
            assert name not in found, f"two models are {name} in the log"
            found[name] = model
    return found


@cache
def _readers(model: type[models.Model]) -> tuple[str, list[tuple[str, list[Callable[..., Any]]]]]:
    """Return the query for a model's rows, and how each column's value is read."""
    fields = model._meta.concrete_fields
    pk = model._meta.pk
    assert pk is not None
    columns = ", ".join(f'"{each.column}"' for each in fields)
    query = f'SELECT {columns} FROM "{model._meta.db_table}" WHERE "{pk.column}" = ANY(%s)'  # noqa: S608
    return query, [(each.attname, each.get_db_converters(connection)) for each in fields]


def rows(model: type[models.Model], *, keys: Iterable[int]) -> dict[int, dict[str, Any]]:
    """Return the rows of a model with these primary keys, by key: each column by its name."""
    query, readers = _readers(model)
    pk = model._meta.pk
    assert pk is not None
    with connection.cursor() as cursor:
        cursor.execute(query, [[*keys]])
        found = cursor.fetchall()
    rows: dict[int, dict[str, Any]] = {}
    for values in found:
        row = {}
        for value, (name, converters) in zip(values, readers, strict=True):
            for convert in converters:
                value = convert(value, None, connection)
            row[name] = value
        rows[row[pk.attname]] = row
    return rows


@cache
def _converters(model: type[models.Model]) -> Mapping[str, Callable[[Any], Any] | None]:
    return dict(sealed.committed(model, without=frozenset()))


def plain(
    model: type[models.Model], row: Mapping[str, Any], names: Iterable[str]
) -> dict[str, Any]:
    """Return what the log would commit to for these of a row's columns; unknown ones are left out.

    Values are plain: texts, whole numbers, booleans, null, and JSON of these.
    """
    converters = _converters(model)
    found: dict[str, Any] = {}
    for name in names:
        if name in converters:
            value, convert = row[name], converters[name]
            found[name] = convert(value) if convert and value is not None else value
    return found


_CHUNK = """
SELECT l.index, e.id, e.model, e.object_id, e.record_id, e.data, s.salts
FROM audit_leaf l JOIN audit_entry e ON e.id = l.entry_id
LEFT JOIN audit_salt s ON s.entry_id = e.id
WHERE l.log_id = %s AND l.index >= %s AND l.index < %s ORDER BY l.index
"""


def read(log: Log, *, start: int, count: int) -> list[Opened]:
    """Return the entries of up to `count` leaves from `start` on, opened, in the log's order.

    One query for the entries and one for each kind of record among them.
    """
    with connection.cursor() as cursor:
        cursor.execute(_CHUNK, [log.pk, start, start + count])
        found = cursor.fetchall()
    keys: dict[str, list[int]] = defaultdict(list)
    for _, _, name, _, record_id, _, _ in found:
        if record_id is not None:
            keys[name].append(record_id)
    known = record_models()
    held = {name: rows(known[name], keys=keys[name]) for name in keys if name in known}
    opened = []
    for index, entry_id, name, object_id, record_id, data, salts in found:
        said = _said(data)
        names = _names(said)
        row = held.get(name, {}).get(record_id)
        opened.append(
            Opened(
                index=index,
                entry_id=entry_id,
                model=name,
                object_id=object_id,
                record_id=record_id,
                data=bytes(data),
                salts=None if salts is None else bytes(salts),
                said=said,
                names=names,
                row=row,
                values=plain(known[name], row, names) if row is not None else {},
            )
        )
    return opened


def _said(data: bytes) -> Mapping[str, Any] | None:
    try:
        found = json.loads(bytes(data))
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _names(said: Mapping[str, Any] | None) -> list[str]:
    fields = said.get("fields") if said else None
    if not isinstance(fields, dict) or not said or said.get("type") != entries.REVISION:
        return []
    return sorted(fields)


def walk(log: Log, *, start: int, end: int, chunk: int = CHUNK) -> Iterator[list[Opened]]:
    """Yield the opened entries of the leaves from `start` to `end`, a chunk at a time."""
    for at in range(start, end, chunk):
        yield read(log, start=at, count=min(chunk, end - at))
