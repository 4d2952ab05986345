"""How the log is doing, and where one entry of it stands: what pages show of the ledger.

Every figure is cheap however long the log is: what waits is found above the sealer's own horizon,
delays are those of the newest leaves.
"""

import json
from base64 import b64encode
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.conf import settings
from django.db import connection

from audit.models import Log, Verification
from audit.selectors import verifications

__all__ = [
    "LeafLine",
    "Log",
    "LogState",
    "Place",
    "current",
    "is_verification_missed",
    "last_verification",
    "leaves",
    "logs",
    "place",
]

#: More unsealed entries than these are not counted.
COUNTED_MOST = 10_000
#: The delays shown are those of this many newest leaves.
DELAYS_OF = 500
#: The night's verification comes every day: what is older was missed, or there was none yet.
VERIFIED_WITHIN = timedelta(hours=26)
#: Entries that wait for longer than this are a backlog, which the sealer takes first.
BACKLOG_AFTER = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogState:
    """The log that is written to, as it stands at `now`.

    `unsealed` is at most `COUNTED_MOST + 1`. Delays are from an entry's insert to the checkpoint
    that first covered it, of the newest leaves; None where there are none. What was there before
    the log's first checkpoint waited for a sealer that did not run yet, and tells of no delay.
    """

    now: datetime
    origin: str
    size: int
    root: bytes
    signed_at: datetime
    unsealed: int
    oldest_unsealed_at: datetime | None
    delay_p50: timedelta | None
    delay_p99: timedelta | None
    delays_of: int

    @property
    def root_text(self) -> str:
        """Return the newest checkpoint's root as checkpoints write it."""
        return b64encode(self.root).decode()

    @property
    def age(self) -> timedelta:
        """Return how old the newest checkpoint is."""
        return self.now - self.signed_at

    @property
    def waiting(self) -> timedelta:
        """Return how long the oldest unsealed entry waits."""
        return self.now - self.oldest_unsealed_at if self.oldest_unsealed_at else timedelta()

    @property
    def more_unsealed(self) -> bool:
        """Return whether there are more unsealed entries than were counted."""
        return self.unsealed > COUNTED_MOST

    @property
    def stale(self) -> bool:
        """Return whether the sealer is silent for longer than operators should put up with."""
        limit: timedelta = settings.LEDGER_STALE
        return self.waiting > limit or self.age > settings.LEDGER_HEARTBEAT + limit


_STATE = """
WITH newest AS (
    SELECT g.id AS log_id, g.origin, c.size, c.root, c.signed_at,
           CASE WHEN c.system = (SELECT system_identifier::text FROM pg_control_system())
                THEN c.horizon ELSE 0 END AS horizon
    FROM (SELECT id, origin FROM audit_log ORDER BY id DESC LIMIT 1) g
    JOIN LATERAL (SELECT size, root, signed_at, horizon, system FROM audit_checkpoint
                  WHERE log_id = g.id ORDER BY size DESC LIMIT 1) c ON true
), unsealed AS (
    SELECT count(*) AS count, min(recorded_at) AS oldest FROM (
        SELECT e.recorded_at FROM audit_entry e
        WHERE e.xid >= (SELECT horizon::text::xid8 FROM newest)
          AND NOT EXISTS (SELECT FROM audit_leaf l WHERE l.entry_id = e.id)
        LIMIT %(counted)s) waiting
), delays AS (
    SELECT c.signed_at - e.recorded_at AS delay
    FROM newest n
    JOIN audit_leaf l ON l.log_id = n.log_id AND l.index >= n.size - %(leaves)s
    JOIN audit_entry e ON e.id = l.entry_id
    JOIN LATERAL (SELECT signed_at FROM audit_checkpoint k
                  WHERE k.log_id = l.log_id AND k.size > l.index ORDER BY k.size LIMIT 1) c ON true
    WHERE e.recorded_at >= (SELECT signed_at FROM audit_checkpoint k
                            WHERE k.log_id = n.log_id ORDER BY k.size LIMIT 1)
)
SELECT clock_timestamp(), n.origin, n.size, n.root, n.signed_at, u.count, u.oldest,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY d.delay),
       percentile_cont(0.99) WITHIN GROUP (ORDER BY d.delay), count(d.delay)
FROM newest n CROSS JOIN unsealed u LEFT JOIN delays d ON true
GROUP BY n.origin, n.size, n.root, n.signed_at, u.count, u.oldest
"""


def current() -> LogState | None:
    """Return the state of the log that is written to; None before the first seal (one query)."""
    with connection.cursor() as cursor:
        cursor.execute(_STATE, {"counted": COUNTED_MOST + 1, "leaves": DELAYS_OF})
        row = cursor.fetchone()
    if row is None:
        return None
    return LogState(
        now=row[0],
        origin=row[1],
        size=row[2],
        root=bytes(row[3]),
        signed_at=row[4],
        unsealed=row[5],
        oldest_unsealed_at=row[6],
        delay_p50=row[7],
        delay_p99=row[8],
        delays_of=row[9],
    )


def is_verification_missed() -> bool:
    """Return whether a log that is sealed up to now has not been verified for a day."""
    found = current()
    if found is None or found.waiting > BACKLOG_AFTER:
        return False
    newest = verifications.newest()
    if newest is None or newest.recorded_at is None:
        return True
    return found.now - newest.recorded_at > VERIFIED_WITHIN


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where an object's newest entry (or the entry of one row) stands.

    `index` and what follows it are None until it is sealed; the checkpoint is the first one that
    covers it.
    """

    now: datetime
    digest: str
    recorded_at: datetime
    log: Log | None
    index: int | None
    size: int | None
    root: bytes | None
    signed_at: datetime | None

    @property
    def is_sealed(self) -> bool:
        """Return whether a signed checkpoint covers the entry."""
        return self.size is not None

    @property
    def root_text(self) -> str:
        """Return the checkpoint's root as checkpoints write it; nothing before there is one."""
        return b64encode(self.root).decode() if self.root is not None else ""

    @property
    def delay(self) -> timedelta | None:
        """Return the time from the entry's insert to its checkpoint."""
        return self.signed_at - self.recorded_at if self.signed_at is not None else None

    @property
    def waiting(self) -> timedelta:
        """Return how long the entry has waited to be sealed."""
        return self.now - self.recorded_at

    @property
    def late(self) -> bool:
        """Return whether it waits for longer than operators should put up with."""
        limit: timedelta = settings.LEDGER_STALE
        return not self.is_sealed and self.waiting > limit


_PLACE = """
SELECT clock_timestamp(), encode(sha256(e.data), 'hex'), e.recorded_at,
       g.id, g.origin, g.vkey, g.opened_at, l.index, c.size, c.root, c.signed_at
FROM (SELECT id, data, recorded_at FROM audit_entry
      WHERE model = %(model)s AND object_id = %(object)s
        AND (%(record)s::bigint IS NULL OR record_id = %(record)s::bigint)
      ORDER BY id DESC LIMIT 1) e
LEFT JOIN audit_leaf l ON l.entry_id = e.id
LEFT JOIN audit_log g ON g.id = l.log_id
LEFT JOIN LATERAL (SELECT size, root, signed_at FROM audit_checkpoint k
                   WHERE k.log_id = l.log_id AND k.size > l.index ORDER BY k.size LIMIT 1) c ON true
"""


def place(*, model: str, object_id: str, record_id: int | None = None) -> Place | None:
    """Return where an object's newest entry stands, or that of one of its rows (one query).

    None for what the log doesn't know.
    """
    with connection.cursor() as cursor:
        cursor.execute(_PLACE, {"model": model, "object": object_id, "record": record_id})
        row = cursor.fetchone()
    if row is None:
        return None
    return Place(
        now=row[0],
        digest=row[1],
        recorded_at=row[2],
        log=Log(id=row[3], origin=row[4], vkey=row[5], opened_at=row[6]) if row[3] else None,
        index=row[7],
        size=row[8],
        root=bytes(row[9]) if row[9] is not None else None,
        signed_at=row[10],
    )


def logs() -> list[Log]:
    """Return every log that the portal ever wrote, the one that it writes to first (one query)."""
    return list(Log.objects.order_by("-id"))


class LeafLine(NamedTuple):
    """One sealed entry as a list shows it; `said` are the entry's own members."""

    leaf: int
    recorded_at: datetime
    said: dict[str, Any]


_LEAVES = """
SELECT l.index, e.recorded_at, e.data
FROM audit_leaf l JOIN audit_entry e ON e.id = l.entry_id
WHERE l.log_id = %(log)s AND l.index < %(before)s
ORDER BY l.index DESC LIMIT %(limit)s
"""


def leaves(*, log_id: int, before: int, limit: int) -> list[LeafLine]:
    """Return the leaves below an index, the newest first (one query)."""
    with connection.cursor() as cursor:
        cursor.execute(_LEAVES, {"log": log_id, "before": before, "limit": limit})
        return [LeafLine(index, at, _said(bytes(data))) for index, at, data in cursor.fetchall()]


def _said(data: bytes) -> dict[str, Any]:
    """Return what an entry says; nothing of bytes that are none, which verification will name."""
    try:
        found = json.loads(data)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def last_verification() -> Verification | None:
    """Return the newest recorded run of verification that counts; None before the first."""
    return verifications.newest()
