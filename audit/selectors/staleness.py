"""Whether the ledger keeps up: does an entry wait too long, is the newest checkpoint too old."""

from dataclasses import dataclass
from datetime import UTC, datetime

from django.conf import settings
from django.db import connection

from audit.models import Checkpoint
from audit.selectors import log as reads


@dataclass(frozen=True, slots=True)
class Staleness:
    """The ledger does not keep up. Moments are None where that part is as it should be."""

    unsealed_since: datetime | None
    checkpoint_at: datetime | None
    size: int

    @property
    def text(self) -> str:
        """Return it in words."""
        found = []
        if self.unsealed_since is not None:
            found.append(
                f"An entry has waited for the sealer since {_written(self.unsealed_since)}."
            )
        if self.checkpoint_at is not None:
            found.append(f"The newest checkpoint was signed at {_written(self.checkpoint_at)}.")
        if not self.size:
            found.append("No checkpoint was ever signed.")
        return " ".join(found)


def stale(now: datetime) -> Staleness | None:
    """Return what is too old by LEDGER_STALE and LEDGER_HEARTBEAT; None while the ledger keeps up.

    Three small queries: the look for unsealed entries is bounded as the sealer's own is.
    """
    log = reads.current()
    last = reads.newest_checkpoint(log) if log else None
    oldest = _oldest_unsealed(last)
    waits = oldest is not None and now - oldest > settings.LEDGER_STALE
    longest = settings.LEDGER_HEARTBEAT + settings.LEDGER_STALE
    silent = last is not None and now - last.signed_at > longest
    if not waits and not silent:
        return None
    return Staleness(
        unsealed_since=oldest if waits else None,
        checkpoint_at=last.signed_at if last is not None and silent else None,
        size=last.size if last else 0,
    )


def _oldest_unsealed(last: Checkpoint | None) -> datetime | None:
    """Return when the first entry without a leaf was written, by the order of transactions.

    It is the first one of an index, so that a long backlog costs nothing. Below the last
    checkpoint's horizon there is none, unless this is another cluster (a restore).
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT recorded_at FROM audit_entry e WHERE xid >= ("
            "  SELECT CASE WHEN system_identifier::text = %s THEN %s ELSE '0' END::xid8"
            "  FROM pg_control_system())"
            " AND NOT EXISTS (SELECT FROM audit_leaf l WHERE l.entry_id = e.id)"
            " ORDER BY xid LIMIT 1",
            [last.system if last else "", str(last.horizon) if last else "0"],
        )
        found = cursor.fetchone()
    return found[0] if found else None


def _written(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
