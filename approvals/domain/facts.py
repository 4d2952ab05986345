"""What the domain is told about people: a directory, and the parties of one request.

Lives here: plain values, as they stand at one moment. Who loads them is not known here.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass

PersonKey = Hashable
"""Whatever names a person without doubt: a primary key in the portal, a name in the cases."""


@dataclass(frozen=True, slots=True)
class Person:
    """One human as the directory has them at a moment."""

    key: PersonKey
    manager: PersonKey | None
    groups: frozenset[str]
    active: bool


@dataclass(frozen=True, slots=True)
class Parties:
    """Who a request concerns: who asked, who gets the access, who owns the resource."""

    requester: PersonKey
    subject: PersonKey
    owner: PersonKey | None


class Directory:
    """People as they stand at one moment; it copies what it is given and never changes."""

    __slots__ = ("_logins", "_members", "_people")

    def __init__(self, people: Mapping[PersonKey, Person], logins: Mapping[str, PersonKey]) -> None:
        self._people = dict(people)
        self._logins = dict(logins)
        members: dict[str, set[PersonKey]] = {}
        for key, person in self._people.items():
            for group in person.groups:
                members.setdefault(group, set()).add(key)
        self._members = {group: frozenset(keys) for group, keys in members.items()}

    def get(self, key: PersonKey) -> Person | None:
        """Return the person, or None for someone who is not in the directory."""
        return self._people.get(key)

    def in_group(self, name: str) -> frozenset[PersonKey]:
        """Return the members of a group, active or not; an unknown group has none."""
        return self._members.get(name, frozenset())

    def by_login(self, login: str) -> PersonKey | None:
        """Return who signs in as `login`, or None."""
        return self._logins.get(login)

    def is_active(self, key: PersonKey) -> bool:
        """Say whether the person is there and active; whoever is not in the directory isn't."""
        person = self._people.get(key)
        return person is not None and person.active
