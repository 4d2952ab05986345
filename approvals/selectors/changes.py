"""What changed in the configuration, in words: a history row against the one before it.

Names of people, groups and resources are looked up for a whole page at once.
"""

import re
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from approvals.models import (
    Entitlement,
    Group,
    Membership,
    Policy,
    PublicKey,
    ReportSchedule,
    Resource,
    User,
)
from approvals.models.request import reference
from approvals.selectors import policy_changes
from approvals.selectors.sentences import Sentence

#: What the words of a page call each kind of configuration.
NOUNS = {
    "user": "Person", "group": "Group", "membership": "Membership",
    "resource": "Resource", "entitlement": "Entitlement", "policy": "Policy",
    "reportschedule": "Report schedule", "publickey": "SSH key",
}  # fmt: skip
_MODELS: dict[str, Any] = {
    "user": User, "group": Group, "membership": Membership,
    "resource": Resource, "entitlement": Entitlement, "policy": Policy,
    "reportschedule": ReportSchedule, "publickey": PublicKey,
}  # fmt: skip
_NAMED: dict[str, Any] = {
    "manager_id": User, "owner_id": User, "person_id": User, "history_user_id": User,
    "group_id": Group, "resource_id": Resource, "policy_id": Policy,
}  # fmt: skip
_UNTOLD = {
    "id", "uid", "created_at", "version", "history_id", "history_date", "history_type",
    "history_user_id", "history_change_reason", "granted_by", "saved_id",
}  # fmt: skip
#: A column that lists people by their numbers.
_PEOPLE = "recipients"
_VALUE_MOST = 60
_CHANGES_MOST = 6
_OF_REQUEST = re.compile(r"\brequest ([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\b")


@dataclass(frozen=True)
class Change:
    """One row of a history: who changed which thing, and how."""

    who: str
    sentence: Sentence
    on: str
    object_id: int
    #: The request that a grant made it for.
    granted_by: uuid.UUID | None = None
    #: Whose thing it is.
    person_id: int | None = None


def told(wanted: Mapping[str, Iterable[int]]) -> dict[tuple[str, int], Change]:
    """Return changes by their kind and history id.

    One query for each kind that is wanted, and one for each kind of thing that they name.
    """
    loaded = {name: _load(name, list(ids)) for name, ids in wanted.items()}
    names = _names(row for rows, before in loaded.values() for row in (*rows, *before.values()))
    return {
        (name, row.history_id): Change(
            who=names.get((User, row.history_user_id), "portal"),
            sentence=_sentence(name, row, before.get(row.history_id), names),
            on=_title(name, row, names),
            object_id=row.id,
            granted_by=getattr(row, "granted_by", None),
            person_id=getattr(row, "person_id", None),
        )
        for name, (rows, before) in loaded.items()
        for row in rows
    }


def _load(name: str, ids: list[int]) -> tuple[list[Any], dict[int, Any]]:
    """Return rows of one history, and for each the row of the same thing before it (one query)."""
    history = _MODELS[name].history.model
    table = history._meta.db_table
    found = history.objects.raw(
        f"""
        SELECT h.*, NULL::bigint AS followed_by FROM {table} h WHERE h.history_id = ANY(%(ids)s)
        UNION ALL
        SELECT b.*, h.history_id FROM {table} h CROSS JOIN LATERAL (
            SELECT * FROM {table} e WHERE e.id = h.id AND e.history_id < h.history_id
            ORDER BY e.history_id DESC LIMIT 1) b
        WHERE h.history_id = ANY(%(ids)s)
        """,  # noqa: S608 - a table's name
        {"ids": ids},
    )
    rows = list(found)
    before = {row.followed_by: row for row in rows if row.followed_by is not None}
    return [row for row in rows if row.followed_by is None], before


def _names(rows: Iterable[Any]) -> dict[tuple[Any, int | None], str]:
    """Return the names of everything that the rows refer to (one query for each kind)."""
    wanted: dict[Any, set[int]] = {}
    for row in rows:
        for column, target in _NAMED.items():
            if (key := getattr(row, column, None)) is not None:
                wanted.setdefault(target, set()).add(key)
        if listed := getattr(row, _PEOPLE, None):
            wanted.setdefault(User, set()).update(listed)
    return {
        (target, found.pk): str(found)
        for target, keys in wanted.items()
        for found in target.objects.filter(pk__in=keys)
    }


def _title(name: str, row: Any, names: dict[tuple[Any, int | None], str]) -> str:
    if name == "membership":
        person = names.get((User, row.person_id), "?")
        return f"{person} in {names.get((Group, row.group_id), '?')}"
    if name == "publickey":
        return f"{row.fingerprint} of {names.get((User, row.person_id), '?')}"
    if name == "entitlement":
        return f"{names.get((Resource, row.resource_id), '?')} · {row.name}"
    if name == "user":
        return str(row.name or row.username)
    return str(row.name)


def _sentence(
    name: str, row: Any, before: Any | None, names: dict[tuple[Any, int | None], str]
) -> Sentence:
    headline = f"{NOUNS[name]} “{_title(name, row, names)}”"
    reason = f"“{_shortened(row.history_change_reason)}”" if row.history_change_reason else ""
    if row.history_type == "-":
        return Sentence(headline, "was removed", reason)
    if row.history_type == "+" or before is None:
        version = f", version {row.version}" if name == "policy" else ""
        return Sentence(headline, f"was added{version}", reason)
    if name == "policy" and before.version != row.version:
        verb = f"{before.version} → {row.version}"
    else:
        verb = "was changed"
    changes = list(_changes(before, row, names))
    more = len(changes) - _CHANGES_MOST
    parts = [*changes[:_CHANGES_MOST], *([f"and {more} more"] if more > 0 else [])]
    return Sentence(headline, verb, " · ".join([*parts, *([reason] if reason else [])]))


def _changes(before: Any, after: Any, names: dict[tuple[Any, int | None], str]) -> Iterator[str]:
    for field in after._meta.concrete_fields:
        column = field.attname
        if column in _UNTOLD:
            continue
        old, new = getattr(before, column), getattr(after, column)
        if old == new:
            continue
        label = column.removesuffix("_id").replace("_", " ").removeprefix("is ")
        if target := _NAMED.get(column):
            old, new = (names.get((target, key), "nobody") for key in (old, new))
        if column == _PEOPLE:
            old, new = (_listed(each, names) for each in (old, new))
        if isinstance(old, dict | list) and isinstance(new, dict | list):
            yield from _within(label, old, new, is_policy=column == "document")
        else:
            yield f"{label} {_value(old)} → {_value(new)}"


def _listed(ids: Iterable[int], names: Mapping[tuple[Any, int | None], str]) -> str:
    return ", ".join(names.get((User, pk), "?") for pk in ids)


def _within(label: str, old: Any, new: Any, *, is_policy: bool) -> Iterator[str]:
    """Yield what differs in two documents: in words where there are any, else with its path."""
    for leaf in policy_changes.leaves(old, new):
        path, *values = leaf
        told = policy_changes.said(old, new, leaf, _value) if is_policy else None
        before, after = map(_value, values)
        yield told or f"{policy_changes.path_words(label, path)} {before} → {after}"


def _shortened(reason: str) -> str:
    """Return a reason with the short names of requests instead of their ids."""
    return _OF_REQUEST.sub(lambda found: f"request {reference(uuid.UUID(found[1]))}", reason)


def _value(value: Any) -> str:
    if value is None or value == "":
        return "nothing"
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = str(value)
    return text if len(text) <= _VALUE_MOST else f"{text[:_VALUE_MOST]}…"
