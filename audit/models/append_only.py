"""The base of every record: rows are inserted once and never touched again.

This is the courtesy in Python; the guarantee is the database's (`audit.models.guards`).
"""

import json
from binascii import b2a_base64
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cache
from typing import Any, ClassVar, NoReturn, Self, TypeVar

from django.db import connection, models

from audit.models import sealed

Row = TypeVar("Row", bound="AppendOnly")


class MutationBlocked(Exception):
    """A recorded row would have been changed or removed; write a new one with `revise()`."""

    def __init__(self, model: type[models.Model], operation: str) -> None:
        super().__init__(
            f"{model.__name__} rows are append-only: {operation} is refused. "
            "To change what they say, write the next revision with revise()."
        )


class AppendOnlyQuerySet(models.QuerySet[Row]):
    """A queryset that reads and inserts; whatever would change a row raises MutationBlocked."""

    def _refuse(self, operation: str) -> NoReturn:
        raise MutationBlocked(self.model, operation)

    def update(self, **_: Any) -> NoReturn:
        """Raise MutationBlocked."""
        self._refuse("update")

    async def aupdate(self, **_: Any) -> NoReturn:
        """Raise MutationBlocked."""
        self._refuse("update")

    def delete(self) -> NoReturn:
        """Raise MutationBlocked."""
        self._refuse("delete")

    async def adelete(self) -> NoReturn:
        """Raise MutationBlocked."""
        self._refuse("delete")

    def _raw_delete(self, using: str | None) -> NoReturn:
        self._refuse("delete")

    def bulk_update(self, *_: Any, **__: Any) -> NoReturn:
        """Raise MutationBlocked."""
        self._refuse("bulk_update")

    async def abulk_update(self, *_: Any, **__: Any) -> NoReturn:
        """Raise MutationBlocked."""
        self._refuse("bulk_update")

    def update_or_create(self, *_: Any, **__: Any) -> NoReturn:
        """Raise MutationBlocked."""
        self._refuse("update_or_create")

    async def aupdate_or_create(self, *_: Any, **__: Any) -> NoReturn:
        """Raise MutationBlocked."""
        self._refuse("update_or_create")

    def bulk_create(self, objs: Any, *args: Any, **options: Any) -> list[Row]:
        """Insert rows with their entries. Raises: MutationBlocked over conflicts."""
        if args or options.get("update_conflicts") or options.get("ignore_conflicts"):
            self._refuse("bulk_create over conflicts")
        rows = list(objs)
        self.model.insert(rows)
        return rows


class AppendOnly(models.Model):
    """A row that is inserted once. `recorded_at` is the database's clock, set by a trigger.

    Every row of a model with a `ledger_name` writes its entry for the log in the same transaction;
    `said()` is what it says there. `unsealed` says why a model has none.
    """

    ledger_name: ClassVar[str] = ""
    unsealed: ClassVar[str] = ""

    recorded_at = models.DateTimeField(editable=False, null=True)

    objects = AppendOnlyQuerySet.as_manager()

    class Meta:
        abstract = True
        base_manager_name = "objects"

    def save(self, *args: Any, **options: Any) -> None:
        """Insert the row. Raises: MutationBlocked when it exists already."""
        if not self._state.adding:
            raise MutationBlocked(type(self), "save of an existing row")
        self.insert([self])

    @classmethod
    def insert(cls, rows: Sequence[Self]) -> None:
        """Insert rows in one statement. Raises: MutationBlocked when one exists already.

        Records are written all the time, so the statements are constant, built and parsed once: one
        with a value per column for a single row, one with a document of all rows for many.
        """
        if any(not row._state.adding for row in rows):
            raise MutationBlocked(cls, "insert of an existing row")
        if len(rows) > 1:
            cls.run(_insert_many(cls), documents(rows, [name for name, _ in columns(cls)]), rows)
            return
        for row in rows:
            entry: list[Any] = []
            if cls.ledger_name:
                said, data, salts = row.build_entry()
                entry = [said.model, said.object_id, data, salts]
            values = [
                convert(value) if convert else value
                for value, convert in ((getattr(row, name), each) for name, each in columns(cls))
            ]
            with connection.cursor() as cursor:
                cursor.execute(_insert_one(cls), [*values, *entry])
                pk, recorded_at = cursor.fetchone()
            row.written(pk=pk, recorded_at=recorded_at)

    @classmethod
    def run(cls, statement: str, document: str, rows: Sequence[Self]) -> None:
        """Insert rows by a statement of `many`."""
        with connection.cursor() as cursor:
            cursor.execute(statement, [document])
            for row, (pk, recorded_at) in zip(rows, cursor.fetchall(), strict=True):
                row.written(pk=pk, recorded_at=recorded_at)

    def written(self, *, pk: int, recorded_at: datetime) -> None:
        """Take over what the database gave the row."""
        self.pk, self.recorded_at = pk, recorded_at
        self._state.adding = False
        self._state.db = connection.alias

    def said(self) -> sealed.Said:
        """Return what the row says to the log."""
        raise NotImplementedError(f"{type(self).__name__} has a ledger_name and no said()")

    def build_entry(self) -> sealed.Built:
        """Return what the row says, the entry's bytes and its fresh salts."""
        said = self.said()
        return said, *said.build()

    def delete(self, *_: Any, **__: Any) -> NoReturn:
        """Raise MutationBlocked."""
        raise MutationBlocked(type(self), "delete")


@cache
def columns(model: type[AppendOnly]) -> list[tuple[str, Callable[[Any], Any] | None]]:
    """Return the columns that an insert gives, and how a value is turned into what is sent."""

    def converter(field: "models.Field[Any, Any]") -> Callable[[Any], Any] | None:
        if isinstance(field, models.JSONField):
            return json.dumps
        return str if isinstance(field, models.CharField | models.TextField) else None

    return [(field.attname, converter(field)) for field in _given(model)]


@cache
def column_types(model: type[AppendOnly]) -> list[str]:
    """Return the PostgreSQL type of each of `columns`, without lengths."""
    return [(field.db_type(connection) or "").split("(")[0] for field in _given(model)]


def _given(model: type[AppendOnly]) -> list["models.Field[Any, Any]"]:
    fields = model._meta.concrete_fields
    return [field for field in fields if field.attname not in {"id", "recorded_at"}]


def _names(model: type[AppendOnly]) -> str:
    return ", ".join(f'"{name}"' for name, _ in columns(model))


@cache
def _insert_one(model: type[AppendOnly]) -> str:
    places = ", ".join(["%s"] * len(column_types(model)))
    row = (
        f"INSERT INTO {model._meta.db_table} ({_names(model)}) VALUES ({places})"  # noqa: S608
        " RETURNING id, recorded_at"
    )
    if not model.ledger_name:
        return row
    return (
        f"WITH r AS ({row}),"  # noqa: S608
        " e AS (INSERT INTO audit_entry (model, object_id, record_id, data)"
        " SELECT %s, %s, r.id, %s FROM r RETURNING id),"
        " s AS (INSERT INTO audit_salt (entry_id, salts) SELECT e.id, %s FROM e)"
        " SELECT id, recorded_at FROM r"
    )


@cache
def _insert_many(model: type[AppendOnly]) -> str:
    return many(
        model,
        given=[name for name, _ in columns(model)],
        row=", ".join(f'v."{name}"' for name, _ in columns(model)),
        source="v",
    )


def many(model: type[AppendOnly], *, given: Sequence[str], row: str, source: str) -> str:
    """Return the statement that inserts rows, their entries and their salts from one document.

    `given` are the columns that the document has, `row` the expressions of a row's columns, found
    in `source`, where `v` is the document. It answers with each row's id and time, in their order.
    Ids rise in that order, so a row's rank by id is its place in the document.
    """
    types = dict(zip((name for name, _ in columns(model)), column_types(model), strict=True))
    texts = {name for name in given if types.get(name) == "bytea"}
    labels = [
        f'"{name}" {"text" if name in texts else types.get(name, "bigint")}' for name in given
    ]
    picked = [
        f'decode("{name}", \'base64\') AS "{name}"' if name in texts else f'"{name}"'
        for name in given
    ]
    document = ", ".join([*labels, "entry_object text", "entry_data text", "entry_salts text"])
    names = ", ".join([f'"{name}"' for name in given] + ["entry_object, entry_data, entry_salts"])
    statement = (
        f"WITH v AS MATERIALIZED (SELECT {', '.join(picked)}, entry_object, entry_data,"  # noqa: S608
        " entry_salts, place FROM ROWS FROM"
        f" (json_to_recordset(%s::json) AS ({document})) WITH ORDINALITY AS d({names}, place)),"
        f" r AS (INSERT INTO {model._meta.db_table} ({_names(model)})"
        f" SELECT {row} FROM {source} ORDER BY v.place RETURNING id, recorded_at)"
    )
    if model.ledger_name:
        statement += (
            ", n AS (SELECT id AS new_id, row_number() OVER (ORDER BY id) AS place FROM r),"  # noqa: S608
            " e AS (INSERT INTO audit_entry (model, object_id, record_id, data)"
            f" SELECT '{model.ledger_name}', entry_object, new_id, decode(entry_data, 'base64')"
            " FROM v JOIN n USING (place) ORDER BY place RETURNING id, record_id),"
            " s AS (INSERT INTO audit_salt (entry_id, salts)"
            " SELECT e.id, decode(entry_salts, 'base64')"
            " FROM e JOIN n ON new_id = e.record_id JOIN v USING (place))"
        )
    return statement + " SELECT id, recorded_at FROM r ORDER BY id"  # noqa: S608


def documents(rows: Sequence[AppendOnly], given: Sequence[str]) -> str:
    """Return what the statement of `many` takes: the given columns of the rows, and their entries.

    Rows that enter the log have their entries built first, since a column may hold the hash.
    """
    found: list[dict[str, Any]] = []
    for row in rows:
        entry: dict[str, Any] = {}
        if row.ledger_name:
            said, data, salts = row.build_entry()
            entry = {
                "entry_object": said.object_id,
                "entry_data": _base64(data),
                "entry_salts": _base64(salts),
            }
        found.append({name: _plain(getattr(row, name)) for name in given} | entry)
    return json.dumps(found)


def _base64(value: bytes) -> str:
    return b2a_base64(value, newline=False).decode()


def _plain(value: Any) -> Any:
    """Return a column's value as JSON has it; what is JSON already stays."""
    if value is None or type(value) in (str, int, bool, dict, list):
        return value
    if isinstance(value, bytes | memoryview):
        return _base64(bytes(value))
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value)
