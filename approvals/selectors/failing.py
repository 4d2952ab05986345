"""Work of the outbox that fails, with what it is about: the worst first."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from django.db import connection

#: Removals come first: while they fail, somebody holds access whose time is up.
_RANK = "CASE WHEN o.topic IN ('grant.withdraw', 'grant.cleanup') THEN 0 ELSE 1 END"
_ABOUT = """
FROM approvals_outboxitem o
LEFT JOIN approvals_currentrequest c ON c.request_id = (o.payload ->> 'request_id')::uuid
LEFT JOIN approvals_accessrequest r ON r.id = c.record_id
LEFT JOIN approvals_entitlement e ON e.id = c.entitlement_id
LEFT JOIN approvals_resource t ON t.id = e.resource_id
LEFT JOIN approvals_user u ON u.id = t.owner_id
WHERE o.first_failed_at IS NOT NULL
"""
_ROWS = f"""
SELECT {_RANK} AS rank, o.id, o.topic, o.attempts, o.first_failed_at, o.not_before,
  o.leased_until IS NOT NULL AND o.leased_until > clock_timestamp(), o.last_error,
  coalesce(t.name, ''), coalesce(e.name, ''), coalesce(r.subject_name, ''), c.request_id,
  coalesce(nullif(u.name, ''), u.username, '')
{_ABOUT} AND (%(target)s = '' OR t.name = %(target)s)
  AND ({_RANK}, o.first_failed_at, o.id) >
      (%(rank)s::int, %(at)s::timestamptz, %(id)s::bigint)
ORDER BY rank, o.first_failed_at, o.id LIMIT %(limit)s
"""
_TARGETS = f"SELECT t.name, count(*) {_ABOUT} AND t.name IS NOT NULL GROUP BY 1 ORDER BY 1"

_WHAT = {
    "grant.withdraw": "Removal",
    "grant.cleanup": "Removal of a failed grant",
    "grant.apply": "Grant",
    "grant.ready": "Prolongation",
    "grant.start": "Start",
    "notice.send": "Mail",
    "request.remind": "Reminder",
    "ledger.mail": "Mail of the ledger’s checkpoint",
    "ledger.alarm": "Mail of the ledger’s alarm",
    "erasure.approved": "Mail of an approved erasure",
    "directory.changed": "Change of the directory",
}


class Place(NamedTuple):
    """Where a page of the list ends."""

    rank: int
    at: datetime
    id: int


@dataclass(frozen=True, slots=True)
class Failing:
    """One piece of work that fails. Names are empty where it is about no request."""

    rank: int
    id: int
    topic: str
    attempts: int
    failing_since: datetime
    next_try_at: datetime
    being_tried: bool
    last_error: str
    target: str
    entitlement: str
    subject: str
    request_id: uuid.UUID | None
    owner: str

    @property
    def what(self) -> str:
        """Return what was to be done, in a word or a few."""
        return _WHAT.get(self.topic, self.topic)

    @property
    def is_removal(self) -> bool:
        """Return whether access stays at the target for as long as it fails."""
        return self.rank == 0

    @property
    def place(self) -> Place:
        """Return where the next page begins."""
        return Place(self.rank, self.failing_since, self.id)


def rows(*, target: str = "", after: Place | None = None, limit: int) -> list[Failing]:
    """Return what fails, removals first, then by how long it has failed (one query)."""
    where = after or Place(-1, datetime.min, 0)
    parameters: dict[str, Any] = where._asdict() | {"target": target, "limit": limit}
    if after is None:
        parameters["at"] = "-infinity"
    with connection.cursor() as cursor:
        cursor.execute(_ROWS, parameters)
        return [Failing(*row) for row in cursor.fetchall()]


def targets() -> list[tuple[str, int]]:
    """Return the targets that something fails at, and how much (one query)."""
    with connection.cursor() as cursor:
        cursor.execute(_TARGETS)
        return list(cursor.fetchall())
