"""The base of every record: rows are inserted once and never touched again.

This is the courtesy in Python; the guarantee is the database's (`audit.models.guards`).
"""

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cache
from typing import Any, ClassVar, NoReturn, Self, TypeVar

from django.db import connection, models

from audit.models import sealed

Row = TypeVar("Row", bound=models.Model)


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
        """Insert rows. Raises: MutationBlocked where conflicts would be written over."""
        if options.get("update_conflicts") or options.get("ignore_conflicts"):
            self._refuse("bulk_create over conflicts")
        return super().bulk_create(objs, *args, **options)


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

        Records are written all the time, so there are two constant statements, built and parsed
        once: one with a value per column for a single row, one with an array per column for many.
        """
        fields = columns(cls)
        values: list[list[Any]] = []
        built: list[sealed.Built] = []
        for row in rows:
            if not row._state.adding:
                raise MutationBlocked(cls, "insert of an existing row")
            if cls.ledger_name:
                built.append(row.build_entry())
            found = [getattr(row, name) for name, _ in fields]
            values.append(
                [
                    convert(value) if convert else value
                    for value, (_, convert) in zip(found, fields, strict=True)
                ]
            )
        if not values:
            return
        if len(values) == 1:
            parameters = values[0]
            if built:
                said, data, salts = built[0]
                parameters = [*parameters, said.model, said.object_id, data, salts]
            statement = _insert_one(cls)
        else:
            parameters = [list(column) for column in zip(*values, strict=True)]
            statement = _insert_many(cls)
        with connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            found = cursor.fetchall()
        for row, (pk, recorded_at) in zip(rows, found, strict=True):
            row.written(pk=pk, recorded_at=recorded_at)
        if len(values) > 1:
            sealed.record([(each, row.pk) for each, row in zip(built, rows, strict=False)])

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
    arrays = ", ".join(f"%s::{kind}[]" for kind in column_types(model))
    return (
        f"INSERT INTO {model._meta.db_table} ({_names(model)})"  # noqa: S608
        f" SELECT * FROM unnest({arrays}) RETURNING id, recorded_at"
    )
