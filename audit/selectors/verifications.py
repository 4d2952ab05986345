"""Runs of verification as they are recorded, and which of them are worth something.

Rows can be inserted by whoever has the application's database role. One that says that all is well,
or what a tree was, counts only with a checkpoint that the log's key signed. One that says that
something is wrong always counts.
"""

from audit.domain import checkpoint, note
from audit.domain.lines import Malformed
from audit.domain.note import LogKey
from audit.models import Log, Verification

#: So many rows are looked at for one that counts.
LOOK_BACK = 100


def is_genuine(row: Verification, key: LogKey) -> bool:
    """Return whether the key signed the very tree that a row says was seen."""
    try:
        said = checkpoint.open_verified(message=bytes(row.note), log=key)
    except (Malformed, note.BadSignature, note.Untrusted):
        return False
    return (said.origin, said.size, said.root) == (row.log, row.size, bytes(row.root))


def largest(origin: str, key: LogKey) -> Verification | None:
    """Return the run that saw the largest tree of a log, of those that the key vouches for."""
    rows = Verification.objects.filter(log=origin, outcome=Verification.Outcome.VERIFIED)
    by_size = rows.exclude(note=b"").order_by("-size", "-id")
    return next((row for row in by_size.iterator() if is_genuine(row, key)), None)


def newest() -> Verification | None:
    """Return the run that was recorded last, of those that count; None before the first."""
    keys = {log.origin: _key(log) for log in Log.objects.all()}
    for row in Verification.objects.order_by("-recorded_at", "-id")[:LOOK_BACK]:
        if row.outcome == Verification.Outcome.PROBLEMS:
            return row
        key = keys.get(row.log)
        if key is not None and is_genuine(row, key):
            return row
    return None


def _key(log: Log) -> LogKey | None:
    try:
        name, _, public = note.read_vkey(log.vkey)
        return LogKey(name, public)
    except Malformed:
        return None
