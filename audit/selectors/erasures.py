"""Erasures: how far each is, and which fields of an object were erased by which entry."""

import dataclasses
import json
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence

from django.db import connection

from audit.models import Erasure
from audit.models.erasable import ERASED

__all__ = [
    "ERASED", "Erasure", "Found", "Row", "approved", "newest", "of", "of_many",
    "of_places", "one",
    "under_way",
]  # fmt: skip


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row of a record's table of which `columns` are to be erased.

    `model` and `object_id` name the log's object that the erase entry is written for; `prefix` is
    set where the row has no entry of its own and hangs on that object. `label` is what people call
    such rows.
    """

    table: str
    key: str
    pk: int
    columns: frozenset[str]
    model: str
    object_id: str
    label: str
    prefix: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What there is to erase, what stands in the way, and what stays and why.

    `again` looks once more by the names that were known at first: what was erased meanwhile, such
    as these names themselves, isn't found any more.
    """

    rows: Sequence[Row]
    hindrances: Sequence[str] = ()
    kept: Sequence[str] = ()
    again: Callable[[], "Found"] = lambda: Found(rows=[])

    @property
    def counts(self) -> dict[str, int]:
        """Return how many rows of each kind are touched."""
        return dict(sorted(Counter(row.label for row in self.rows).items()))

    @property
    def values(self) -> int:
        """Return how many values are erased."""
        return sum(len(row.columns) for row in self.rows)


def of(model: str, object_id: str) -> Mapping[str, int | None]:
    """Return the erased fields of an object, each with the leaf of its first erase entry.

    None for an entry that waits for the sealer. One query.
    """
    return of_many(model, [object_id]).get(object_id, {})


def of_many(model: str, object_ids: Collection[str]) -> dict[str, dict[str, int | None]]:
    """Return what `of` does for each of the objects that has erased fields (one query, or none)."""
    if not object_ids:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT e.object_id, e.data, l.index FROM audit_entry e"
            " LEFT JOIN audit_leaf l ON l.entry_id = e.id"
            " WHERE e.object_id = ANY(%s) AND e.model = %s AND audit_is_erasure(e.data)"
            " ORDER BY e.id DESC",
            [list(object_ids), model],
        )
        found: dict[str, dict[str, int | None]] = {}
        for object_id, data, leaf in cursor.fetchall():
            for name in json.loads(bytes(data))["fields"]:
                found.setdefault(object_id, {})[name] = leaf
    return found


def of_places(places: Collection[tuple[str, str]]) -> dict[tuple[str, str], set[int]]:
    """Return the sealed erase entries of objects, by kind and id (a query for each kind)."""
    wanted: dict[str, set[str]] = {}
    for model, object_id in places:
        wanted.setdefault(model, set()).add(object_id)
    found: dict[tuple[str, str], set[int]] = {place: set() for place in places}
    for model, ids in wanted.items():
        for object_id, leaves in of_many(model, ids).items():
            found[model, object_id] |= {leaf for leaf in leaves.values() if leaf is not None}
    return found


def newest(*, most: int = 200) -> list[Erasure]:
    """Return the newest revision of each erasure, the last asked first (one query)."""
    rows = Erasure.objects.order_by("erasure_id", "-revision").distinct("erasure_id")
    return sorted(rows, key=lambda row: row.erasure_id.int, reverse=True)[:most]


def one(erasure_id: uuid.UUID) -> list[Erasure]:
    """Return an erasure's revisions, oldest first; none where there is no such erasure."""
    return list(Erasure.objects.filter(erasure_id=erasure_id).order_by("revision"))


def under_way(person_uid: uuid.UUID) -> Erasure | None:
    """Return the erasure of this person that is asked for or approved, and not carried out yet."""
    rows = Erasure.objects.filter(person_uid=person_uid).order_by("erasure_id", "-revision")
    open_ones = (Erasure.Event.ASKED, Erasure.Event.APPROVED)
    found = [row for row in rows.distinct("erasure_id") if row.event in open_ones]
    return found[-1] if found else None


def approved() -> list[Erasure]:
    """Return what is approved, and neither carried out nor withdrawn yet (one query)."""
    over = (Erasure.Event.DONE, Erasure.Event.WITHDRAWN)
    ended = Erasure.objects.filter(event__in=over).values("erasure_id")
    return list(Erasure.objects.filter(event=Erasure.Event.APPROVED).exclude(erasure_id__in=ended))
