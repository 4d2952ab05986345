"""What a row says to the log, and how that is written beside it.

The rule, for every kind of record: an entry names the fields in which its row differs from the
object's revision before it; the first one names every field that isn't null. Each named field is
committed to under a salt of its own. Verification uses the same `Said`, read back from the columns.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any

from django.db import connection, models

from audit.domain import canonical, entries


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What one row says: who did what to which object when, and the fields that it sets."""

    model: str
    object_id: str
    revision: int
    previous: str
    operation: str
    actor: str
    at: datetime
    values: Mapping[str, Any]
    type: str = field(default=entries.REVISION)

    def build(self) -> tuple[bytes, bytes]:
        """Return the entry's bytes and its salts, which are fresh."""
        return entries.assemble(
            model=self.model,
            id=self.object_id,
            rev=self.revision,
            prev=self.previous,
            op=self.operation,
            actor=self.actor,
            at=self.at,
            values=self.values,
        )


def plain_json(value: Any) -> Any:
    """Return decoded JSON as the log commits to it: itself, or its text where it has floats."""
    return value if canonical.is_plain(value) else json.dumps(_normal(value), sort_keys=True)


def _normal(value: Any) -> Any:
    """Return JSON as it comes back out of the database, whatever way a number was written."""
    if isinstance(value, dict):
        return {str(key): _normal(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_normal(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def plain_moment(value: datetime) -> str:
    """Return a moment as entries spell it."""
    return value.astimezone(UTC).isoformat(timespec="microseconds")[:26] + "Z"


def plain_bytes(value: bytes | memoryview) -> str:
    """Return bytes as hex."""
    return bytes(value).hex()


def converter(column: "models.Field[Any, Any]") -> Callable[[Any], Any] | None:
    """Return what turns a column's value into what the log commits to; None: nothing does."""
    kinds: list[tuple[type[Any], Callable[[Any], Any]]] = [
        (models.DateTimeField, plain_moment),
        (models.UUIDField, str),
        (models.BinaryField, plain_bytes),
        (models.JSONField, plain_json),
        (models.CharField, str),
        (models.TextField, str),
    ]
    return next((convert for kind, convert in kinds if isinstance(column, kind)), None)


@cache
def committed(
    model: type[models.Model], *, without: frozenset[str]
) -> list[tuple[str, Callable[[Any], Any] | None]]:
    """Return the columns of a model that the log commits to, with their converters."""
    return [
        (column.attname, converter(column))
        for column in model._meta.concrete_fields
        if column.attname not in without
    ]


def values(
    row: models.Model, before: models.Model | None, *, without: frozenset[str]
) -> dict[str, Any]:
    """Return the fields in which a row differs from the one before; all that aren't null at first.

    Values are plain: texts, whole numbers, booleans, null, and JSON of these.
    """
    found: dict[str, Any] = {}
    held, earlier = row.__dict__, before.__dict__ if before is not None else None
    for name, convert in committed(type(row), without=without):
        value = held[name]
        if earlier is None:
            if value is None:
                continue
        elif value == earlier[name]:
            continue
        found[name] = convert(value) if convert and value is not None else value
    return found


Built = tuple[Said, bytes, bytes]

_FIND_LAST = (
    "SELECT data FROM audit_entry WHERE model = %s AND object_id = %s ORDER BY id DESC LIMIT 1"
)
_COUNT = "SELECT count(*) FROM audit_entry WHERE model = %s AND object_id = %s"
_INSERT = """
WITH e AS (
  INSERT INTO audit_entry (model, object_id, record_id, data)
  SELECT * FROM unnest(%s::text[], %s::text[], %s::bigint[], %s::bytea[]) RETURNING id, data)
INSERT INTO audit_salt (entry_id, salts)
SELECT e.id, s.salts FROM e JOIN unnest(%s::bytea[], %s::bytea[]) s(data, salts) USING (data)
"""


def record(built: Sequence[tuple[Built, int | None]]) -> None:
    """Write entries and salts for rows that were just inserted, in their order.

    Whoever writes the next revision of an object holds that object until the transaction ends.
    """
    if not built:
        return
    said = [each for (each, _, _), _ in built]
    data = [each for (_, each, _), _ in built]
    with connection.cursor() as cursor:
        cursor.execute(
            _INSERT,
            [
                [each.model for each in said],
                [each.object_id for each in said],
                [row for _, row in built],
                data,
                data,
                [salts for (_, _, salts), _ in built],
            ],
        )


def last(*, model: str, object_id: str) -> tuple[int, str]:
    """Hold an object until the transaction ends; return its newest revision and entry's hash.

    0 and "" for one that the log doesn't know. Bytes that are no entry, which verification names,
    count as one revision each: they must not keep the object from being written again.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended(%s, 3))", [f"{model}:{object_id}"]
        )
        cursor.execute(_FIND_LAST, [model, object_id])
        found = cursor.fetchone()
        if found is None:
            return 0, ""
        data = bytes(found[0])
        revision = entries.revision(data)
        if revision is None:
            cursor.execute(_COUNT, [model, object_id])
            revision = int(cursor.fetchone()[0])
    return revision, entries.digest(data)
