"""What a database's superuser can do: lift the guards, change what was sealed, put them back.

And what verification then says.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from django.db import models
from psycopg.types.json import Jsonb

from audit.models import Entry
from audit.services import verifying
from audit.services.verification.findings import Problem
from tests.conftest import as_role

_GUARDS = """
SELECT c.relname, t.tgname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
WHERE t.tgenabled = 'A' AND NOT t.tgisinternal
"""
_CHECKS = """
SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint
WHERE contype = 'c' AND conrelid = %s::regclass
"""


@contextmanager
def superuser() -> Iterator[psycopg.Connection[Any]]:
    """A superuser's connection with every guard lifted; afterwards they stand as before."""
    with as_role("superuser") as raw:
        guards = raw.execute(_GUARDS).fetchall()
        assert guards
        raw.execute("SET LOCAL session_replication_role = replica")
        for table, name in guards:
            raw.execute(f'ALTER TABLE "{table}" DISABLE TRIGGER "{name}"')
        yield raw
        for table, name in guards:
            raw.execute(f'ALTER TABLE "{table}" ENABLE ALWAYS TRIGGER "{name}"')


def tamper(statement: str, parameters: Any = None) -> int:
    """Run one statement as superuser; return how many rows it changed."""
    with superuser() as raw:
        return raw.execute(statement, parameters).rowcount


#: How a column of each kind is changed to something else.
_OTHERWISE: list[tuple[type[models.Field[Any, Any]], str]] = [
    (models.DateTimeField, "coalesce({0}, '2026-01-01Z') + interval '1 hour'"),
    (models.UUIDField, "gen_random_uuid()"),
    (models.JSONField, "{0} || '{{\"x\": 1}}'"),
    (models.BinaryField, "sha256('x')"),
    (models.BooleanField, "NOT {0}"),
    (models.IntegerField, "coalesce({0}, 0) + 1"),
    (models.ForeignKey, "coalesce({0}, 0) + 1"),
    (models.CharField, "left({0}, 8) || 'x'"),
    (models.TextField, "{0} || 'x'"),
]


@contextmanager
def edited(row: models.Model, field: models.Field[Any, Any]) -> Iterator[None]:
    """Inside it one column of a row holds another value, whatever constraints say."""
    table, column = row._meta.db_table, f'"{field.column}"'
    where = f'WHERE "{row._meta.pk.column}" = {row.pk}'
    other = next(sql for kind, sql in _OTHERWISE if isinstance(field, kind)).format(column)
    with superuser() as raw:
        checks = raw.execute(_CHECKS, [table]).fetchall()
        for name, _ in checks:
            raw.execute(f'ALTER TABLE {table} DROP CONSTRAINT "{name}"')
        found = raw.execute(f"SELECT {column} FROM {table} {where}").fetchone()
        assert found is not None
        held = Jsonb(found[0]) if isinstance(field, models.JSONField) else found[0]
        assert raw.execute(f"UPDATE {table} SET {column} = {other} {where}").rowcount == 1
    try:
        yield
    finally:
        with superuser() as raw:
            raw.execute(f"UPDATE {table} SET {column} = %s {where}", [held])
            for name, definition in checks:
                raw.execute(f'ALTER TABLE {table} ADD CONSTRAINT "{name}" {definition}')


def look(**options: Any) -> verifying.Report:
    """Verify."""
    return verifying.run(by="a test", **options)


def first(**options: Any) -> Problem:
    """Return the first problem that verification finds."""
    found = look(**options).problems
    assert found, "nothing was found"
    return found[0]


def entry_of(row: models.Model, model: str) -> Entry:
    """Return a record's entry."""
    return Entry.objects.select_related("leaf").get(model=model, record_id=row.pk)
