"""What a run left behind, read without any of the portal's code: SQL, journals, snapshots."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from tests.chaos import targets

FINAL = {"denied", "cancelled", "lapsed", "failed", "expired", "revoked"}


@dataclass
class Request:
    """One request as its revisions tell it. Moments are Unix seconds of the database's clock."""

    key: str
    login: str
    resource: str
    entitlement: str
    revisions: list[dict[str, Any]] = field(default_factory=list)
    granted: int = 0
    removed: int = 0
    failures: int = 0

    @property
    def last(self) -> dict[str, Any]:
        return self.revisions[-1]

    @property
    def approved_at(self) -> float | None:
        """When it was approved, by the time that the database set."""
        return self._moment("approved")

    @property
    def active_at(self) -> float | None:
        return self._moment("activated")

    @property
    def over_at(self) -> float | None:
        """When the access was to be gone: its end, or when the request was called off."""
        if self.last["removal_due_at"] is not None:
            return float(self.last["removal_due_at"])
        return self.final_at

    @property
    def final_at(self) -> float | None:
        """When it came to its final state, by the time that the database set."""
        return self.last["recorded_at"] if self.last["state"] in FINAL else None

    def _moment(self, event: str) -> float | None:
        for row in self.revisions:
            if row["event"] == event:
                return float(row["recorded_at"])
        return None


_REVISIONS = """
SELECT r.request_id::text AS key, u.username AS login, r.resource_name AS resource,
    r.entitlement_name AS entitlement, r.revision, r.event, r.state, r.end_reason,
    a.username AS actor,
    extract(epoch FROM r.recorded_at)::float AS recorded_at,
    extract(epoch FROM r.occurred_at)::float AS occurred_at,
    extract(epoch FROM r.due_at)::float AS due_at,
    extract(epoch FROM r.ends_at)::float AS ends_at,
    extract(epoch FROM r.removal_due_at)::float AS removal_due_at,
    extract(epoch FROM r.removal_confirmed_at)::float AS removal_confirmed_at
FROM approvals_accessrequest r JOIN approvals_user u ON u.id = r.subject_id
LEFT JOIN approvals_user a ON a.id = r.actor_id
ORDER BY r.request_id, r.id
"""
_EVENTS = """
SELECT request_id::text, count(*) FILTER (WHERE kind = 'granted'),
    count(*) FILTER (WHERE kind = 'removed'),
    count(*) FILTER (WHERE kind IN ('remove_failed', 'grant_failed'))
FROM approvals_grantevent GROUP BY request_id
"""


def requests(database: psycopg.Connection[Any]) -> dict[str, Request]:
    """Return every request with its revisions, in the order in which they were written."""
    found: dict[str, Request] = {}
    cursor = database.execute(_REVISIONS)
    names = [column.name for column in cursor.description or ()]
    for values in cursor:
        row = dict(zip(names, values, strict=True))
        request = found.setdefault(
            row["key"], Request(row["key"], row["login"], row["resource"], row["entitlement"])
        )
        request.revisions.append(row)
    for key, granted, removed, failures in database.execute(_EVENTS):
        found[key].granted, found[key].removed, found[key].failures = granted, removed, failures
    return found


def journal(folder: Path) -> list[dict[str, Any]]:
    """Return what the clients were told, of all journals."""
    lines: list[dict[str, Any]] = []
    for path in sorted(folder.glob("journal-*.jsonl")):
        lines += [json.loads(line) for line in path.read_text().splitlines()]
    return lines


def visits(folder: Path) -> list[dict[str, Any]]:
    """Return what the visitor of pages saw, in order."""
    return [json.loads(line) for line in (folder / "visits.jsonl").read_text().splitlines()]


@dataclass
class Hold:
    """A time for which somebody had an access at a folder target, and by which request."""

    login: str
    entitlement: str
    request: str
    begin: float
    end: float | None


@dataclass
class Call:
    """One call of a target that had its effect, from its begin to that effect."""

    name: str
    request: str
    pid: int
    began: float
    done: float


def calls(target: targets.FolderTarget) -> Iterator[Call]:
    """Yield the calls that had an effect, in the order of their effects."""
    begun: dict[tuple[int, str, str], list[float]] = defaultdict(list)
    for line in target.calls():
        key = (line["pid"], line["request"], line["name"])
        if line["stage"] == "began":
            begun[key].append(line["at"])
        else:
            began = begun[key].pop() if begun[key] else line["at"]
            begun[key].clear()
            yield Call(line["name"], line["request"], line["pid"], began, line["at"])


def holds(target: targets.FolderTarget) -> list[Hold]:
    """Return every time of access at a folder target, from its own record."""
    open_: dict[tuple[str, str], Hold] = {}
    found: list[Hold] = []
    for line in target.calls():
        if line["stage"] != "done":
            continue
        pair = (line["login"], line["entitlement"])
        if line["name"] == "grant" and pair not in open_:
            open_[pair] = Hold(*pair, line["request"], line["at"], None)
            found.append(open_[pair])
        elif line["name"] == "revoke" and pair in open_:
            open_.pop(pair).end = line["at"]
    return found
