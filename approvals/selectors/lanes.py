"""The outbox as operators see it: how much waits in each lane, what fails, what is kept back."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from django.db import connection

from approvals.outbox.queue import LANES

#: More items than these are not counted.
COUNTED_MOST = 10_000


@dataclass(frozen=True, slots=True)
class LaneState:
    """One lane: how many items are due, how many fail, and how long the first has waited.

    `due` and `failing` are at most `COUNTED_MOST + 1`. `oldest_at` is when the first item that a
    worker could take now came due: what waits for its key's turn or is being done is left out.
    """

    name: str
    due: int
    failing: int
    oldest_at: datetime | None


_LANES = """
SELECT lane.name,
  (SELECT count(*) FROM (SELECT FROM approvals_outboxitem o
     WHERE o.lane = lane.name AND o.not_before <= %(now)s LIMIT %(most)s) due_items),
  (SELECT count(*) FROM (SELECT FROM approvals_outboxitem o
     WHERE o.lane = lane.name AND o.first_failed_at IS NOT NULL LIMIT %(most)s) failing_items),
  (SELECT greatest(o.not_before, coalesce(o.leased_until, o.not_before)) AS came
     FROM approvals_outboxitem o WHERE o.lane = lane.name
     AND greatest(o.not_before, coalesce(o.leased_until, o.not_before)) <= %(now)s
     AND (o.key = '' OR NOT EXISTS (SELECT FROM approvals_outboxitem earlier
          WHERE earlier.key = o.key AND earlier.key <> '' AND earlier.id < o.id))
     ORDER BY came LIMIT 1)
FROM unnest(%(lanes)s::text[]) AS lane(name)
"""


def states(*, now: datetime) -> list[LaneState]:
    """Return every lane, in its fixed order (one query)."""
    with connection.cursor() as cursor:
        cursor.execute(_LANES, {"now": now, "most": COUNTED_MOST + 1, "lanes": list(LANES)})
        return [LaneState(*row) for row in cursor.fetchall()]


class Blocked(NamedTuple):
    """A key whose first item fails, so that others wait behind it."""

    key: str
    topic: str
    failing_since: datetime
    behind: int
    last_error: str


_BLOCKED = """
SELECT o.key, o.topic, o.first_failed_at, (SELECT count(*) FROM (SELECT FROM approvals_outboxitem x
         WHERE x.key = o.key AND x.key <> '' AND x.id > o.id AND x.not_before <= %(now)s
         LIMIT 100) counted) AS behind, o.last_error
FROM approvals_outboxitem o
WHERE o.first_failed_at <= %(since)s AND o.key <> ''
  AND EXISTS (SELECT FROM approvals_outboxitem x
              WHERE x.key = o.key AND x.key <> '' AND x.id > o.id AND x.not_before <= %(now)s)
  AND NOT EXISTS (SELECT FROM approvals_outboxitem x
                  WHERE x.key = o.key AND x.key <> '' AND x.id < o.id)
ORDER BY o.first_failed_at LIMIT %(limit)s
"""


def blocked(*, now: datetime, for_longer_than: timedelta, limit: int) -> list[Blocked]:
    """Return keys that have been blocked for so long, the longest first (one query).

    `behind` counts to 100.
    """
    with connection.cursor() as cursor:
        cursor.execute(_BLOCKED, {"now": now, "since": now - for_longer_than, "limit": limit})
        return [Blocked(*row) for row in cursor.fetchall()]
