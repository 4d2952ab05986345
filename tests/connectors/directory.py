"""A directory of groups in memory, which keeps `portal.Store` as the product's own must."""

from __future__ import annotations

import threading

from approvals.connectors.portal import UnknownGroup, UnknownLogin


class Directory:
    """Memberships with the request that carries them; None means standing."""

    def __init__(self, *, people: set[str], groups: set[str]) -> None:
        self.people = people
        self.carried_by: dict[str, dict[str, str | None]] = {group: {} for group in groups}
        self.history: list[tuple[str, str, str, str]] = []
        self.down = False
        self._lock = threading.Lock()

    def add(self, *, login: str, group: str, request_id: str, reason: str) -> bool:
        with self._lock:
            members = self._members(group)
            if login not in self.people:
                raise UnknownLogin(login)
            if login not in members:
                members[login] = request_id
                self.history.append(("added", login, group, reason))
            return members[login] is not None

    def remove(self, *, login: str, group: str, request_id: str, reason: str) -> bool:
        with self._lock:
            try:
                members = self._members(group)
            except UnknownGroup:
                return False
            if members.get(login) is None:
                return False
            del members[login]
            self.history.append(("removed", login, group, reason))
            return True

    def members(self, *, group: str) -> list[str]:
        with self._lock:
            return list(self._members(group))

    def _members(self, group: str) -> dict[str, str | None]:
        if self.down:
            raise ConnectionError("the directory is down")
        if group not in self.carried_by:
            raise UnknownGroup(group)
        return self.carried_by[group]
