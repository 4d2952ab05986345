"""The kinds of records that are in the log, and how their rows are read back.

A row becomes an instance of its model without the detour through the ORM, which would take most of
the time of a verification; then the model itself says what it says to the log.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from django.contrib.auth import get_user_model
from django.db import models

from audit.models import Said, histories
from audit.models.erasable import ERASED
from audit.selectors import payloads

#: Returns a person's random identity by the number of their row.
Identify = Callable[[int], str]


class _Person:
    """What a record's model asks of a person: the random identity."""

    __slots__ = ("uid",)

    def __init__(self, uid: str) -> None:
        self.uid = uid


class _Related(dict[str, Any]):
    """The people that a row names, looked up when its model asks for them."""

    __slots__ = ("_identify", "_links", "_row")

    def __init__(self, row: dict[str, Any], links: Mapping[str, str], identify: Identify) -> None:
        super().__init__()
        self._row, self._links, self._identify = row, links, identify

    def __missing__(self, name: str) -> Any:
        key = self._row[self._links[name]]
        return None if key is None else _Person(self._identify(key))


class _State:
    """As much of a model instance's state as reading takes."""

    __slots__ = ("adding", "db", "fields_cache")

    def __init__(self, related: _Related) -> None:
        self.adding, self.db, self.fields_cache = False, "default", related


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of record: its model, and the query for its rows by their keys."""

    name: str
    model: type[models.Model]
    is_history: bool
    takes_previous: bool
    select: str
    names: tuple[str, ...]
    decoded: tuple[str, ...]
    texts: frozenset[str]
    links: Mapping[str, str]

    @property
    def table(self) -> str:
        """Return the table's name."""
        return self.model._meta.db_table

    @property
    def key(self) -> str:
        """Return the primary key's attribute, which is its column too."""
        return str(self.model._meta.pk.attname)

    @property
    def has_hash(self) -> bool:
        """Return whether rows hold their entry's hash."""
        return not self.is_history and "hash" in self.names

    def hold(self, values: Sequence[Any], identify: Identify) -> Any:
        """Return a row of `select`'s as an instance of its model, for reading."""
        row = self.model.__new__(self.model)
        held = row.__dict__
        held.update(zip(self.names, values, strict=True))
        for name in self.decoded:
            held[name] = _decoded(held[name])
        held["_state"] = _State(_Related(held, self.links, identify))
        return row

    def said(self, row: Any, before: Any, *, revision: int, previous: str) -> Said:
        """Return what the row says; the one before it in the log is `before`.

        `revision` and `previous` are for rows that don't hold theirs.
        """
        said: Said
        if self.is_history:
            actor = histories.actor_uid(row)
            said = histories.said(row, revision=revision, previous=previous, actor=actor)
        elif self.takes_previous:
            said = row.said_after(before, actor=row.actor_uid, previous=previous)
        else:
            row.__dict__["_before"] = before
            said = row.said()
        return said

    def name_of(self, row: Any) -> tuple[str, int | None]:
        """Return the object that a row tells of and its revision, as far as the row itself says."""
        if self.is_history:
            key = self.model.instance_type._meta.pk.attname  # type: ignore[attr-defined]
            return str(getattr(row, key)), None
        said = row.said_after(None, actor="")
        return said.object_id, said.revision

    def is_erased(self, name: str, row: Any) -> bool:
        """Return whether a column holds what an erasure leaves, or never held anything."""
        value = row.__dict__.get(name)
        if name in self.texts:
            return value in (ERASED, None, "")
        return value in (None, {}, [])


@lru_cache(maxsize=512)
def _decoded(text: str | None) -> Any:
    """Return decoded JSON, which nobody changes: rows share it."""
    return None if text is None else json.loads(text)


def every() -> dict[str, Kind]:
    """Return the kinds of records that write entries, by the name that the log has for them."""
    return {name: _kind(name, model) for name, model in payloads.record_models().items()}


def _kind(name: str, model: type[models.Model]) -> Kind:
    columns = model._meta.concrete_fields
    decoded = {each.attname for each in columns if isinstance(each, models.JSONField)}
    shown = [
        f'"{each.column}"::text' if each.attname in decoded else f'"{each.column}"'
        for each in columns
    ]
    speaks = getattr(model, "said_after", None)
    people = get_user_model()
    return Kind(
        name=name,
        model=model,
        is_history=hasattr(model, "history_id"),
        takes_previous=bool(speaks and "previous" in inspect.signature(speaks).parameters),
        select=(
            f"SELECT {', '.join(shown)} FROM {model._meta.db_table}"  # noqa: S608
            f' WHERE "{model._meta.pk.column}" = ANY(%s)'
        ),
        names=tuple(each.attname for each in columns),
        decoded=tuple(sorted(decoded)),
        texts=frozenset(
            each.attname
            for each in columns
            if isinstance(each, models.CharField | models.TextField)
        ),
        links={
            each.name: each.attname
            for each in columns
            if isinstance(each, models.ForeignKey) and each.related_model is people
        },
    )
