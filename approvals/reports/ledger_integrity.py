"""Integrity and completeness of the log: each log as it stood at a moment, its signature checked.

A gap is a leaf that the newest checkpoint of then counts and the database does not have. Whether
every entry says what its record says is for verification, whose last run is named; only outsiders
with a checkpoint of their own can show that the log was never rewritten (see docs/auditing.md).
"""

import uuid
from base64 import b64encode
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from django.db import connection

from approvals.reports.frame import Column, Figure, Filters, Report, Row, counted
from approvals.selectors import clock
from approvals.selectors.requests import Cursor
from audit.domain import note
from audit.domain.lines import Malformed
from audit.selectors import holders, state
from audit.selectors import log as ledger

_AS_MADE = "as they are when the report is made"
#: Nothing deletes an entry; an erasure takes what it says about a person, and leaves the entry.
RETENTION = "without end"

COLUMNS = (
    Column("log", "Log", "mono"),
    Column("key_id", "Key", "mono"),
    Column("first_leaf", "First", "number", wide=True),
    Column("last_leaf", "Last", "number", wide=True),
    Column("entries", "Entries", "number"),
    Column("gaps", "Gaps", "number"),
    Column("first_recorded_at", "Kept since", "moment"),
    Column("retention", "Retention", wide=True),
    Column("last_recorded_at", "Newest entry", "moment", wide=True),
    Column("signed_at", "Signed", "moment"),
    Column("root", "Root", "mono"),
    Column("signature", "Signature"),
    Column("outside_holders", "Outside holders", note=_AS_MADE),
    Column("verified_at", "Verified", "moment"),
    Column("verification", "Result"),
    Column("verified_by", "Verified by", wide=True),
    Column("vkey", "Public key", "mono", wide=True),
)

_LOGS = """
SELECT g.id, g.origin, g.vkey, c.size, c.root, c.note, c.signed_at, l.count, l.first, l.last,
       (SELECT e.recorded_at FROM audit_leaf f JOIN audit_entry e ON e.id = f.entry_id
        WHERE f.log_id = g.id AND f.index = l.first),
       (SELECT e.recorded_at FROM audit_leaf f JOIN audit_entry e ON e.id = f.entry_id
        WHERE f.log_id = g.id AND f.index = l.last),
       v.finished_at, v.outcome, v.problem_count, v.size, v.by
FROM audit_log g
JOIN LATERAL (SELECT size, root, note, signed_at FROM audit_checkpoint
              WHERE log_id = g.id AND signed_at <= %(moment)s ORDER BY size DESC LIMIT 1) c ON true
JOIN LATERAL (SELECT count(*) AS count, min(index) AS first, max(index) AS last
              FROM audit_leaf WHERE log_id = g.id AND index < c.size) l ON true
LEFT JOIN LATERAL (SELECT finished_at, outcome, problem_count, size, by FROM audit_verification
                   WHERE log = g.origin AND finished_at <= %(moment)s
                   ORDER BY finished_at DESC, id DESC LIMIT 1) v ON true
ORDER BY g.id DESC
"""
_RUNS = """
SELECT count(*), count(*) FILTER (WHERE outcome <> 'verified') FROM audit_verification
WHERE finished_at >= %(start)s AND finished_at <= %(moment)s
"""


def rows(filters: Filters, after: Cursor | None, limit: int | None) -> Iterator[Row]:
    """Yield the logs, the one that was written to first; there are a handful at most."""
    found = _logs(filters)
    held = _held_outside(clock.now())
    for number, row in enumerate(found):
        made = _row(row, held=held if number == 0 else "")
        if after is None or made.cursor < after:
            yield made


def _logs(filters: Filters) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(_LOGS, filters.parameters)
        return list(cursor.fetchall())


def _row(found: tuple[Any, ...], *, held: str) -> Row:
    (
        pk, origin, vkey, size, root, message, signed_at, entries, first, last, first_at, last_at,
        verified_at, outcome, problems, verified_size, by,
    ) = found  # fmt: skip
    name, kind, public = note.read_vkey(vkey)
    result = ""
    if outcome is not None:
        said = "verified" if outcome == "verified" else f"{problems} problems"
        result = f"{said}, {verified_size} of {size} entries"
    cells = (
        origin, note.key_id(name=name, kind=kind, public=public).hex(), first, last, entries,
        size - entries, first_at, RETENTION, last_at, signed_at, b64encode(bytes(root)).decode(),
        _signature(bytes(message), name=name, public=public), held, verified_at,
        result or "never verified", by or "", vkey,
    )  # fmt: skip
    # Logs follow each other: what orders them is their number, not when they were signed.
    moment = datetime.fromtimestamp(pk, UTC)
    return Row(Cursor(moment, uuid.UUID(int=pk)), None, cells)


def _signature(message: bytes, *, name: str, public: bytes) -> str:
    """Return whether the checkpoint's signature is the log key's, checked now."""
    try:
        note.open_verified(message=message, keys=[note.LogKey(name, public)])
    except (note.BadSignature, note.Untrusted, Malformed):
        return "NOT VALID"
    return "valid"


def _held_outside(now: datetime) -> str:
    """Return the configured holders and how each does; `nobody outside` where none lives."""
    held = holders.alive(now)
    told = "; ".join(f"{each.name}: {each.state}" for each in held)
    if any(each.state == holders.State.ALIVE for each in held):
        return told
    return f"nobody outside ({told})" if told else "nobody outside"


def count(filters: Filters) -> int:
    """Return how many logs had a checkpoint."""
    return counted(
        "SELECT count(*) FROM audit_log g WHERE EXISTS"
        " (SELECT FROM audit_checkpoint WHERE log_id = g.id AND signed_at <= %(moment)s)",
        filters,
    )


def summary(filters: Filters) -> tuple[Figure, ...]:
    """Return the log's size, what waits to be sealed, and the verifications since the first day.

    What waited at a past moment is not told.
    """
    found, current, newest = _logs(filters), state.current(), ledger.current()
    size = found[0][3] if found else 0
    with connection.cursor() as cursor:
        cursor.execute(_RUNS, filters.parameters)
        runs, with_problems = cursor.fetchone()
    waiting = "–"
    if current and current.size == size:
        more = current.more_unsealed
        waiting = f"more than {state.COUNTED_MOST:,}" if more else f"{current.unsealed:,}"
    return (
        Figure("Entries", f"{size:,}"),
        Figure("Waiting to be sealed", waiting),
        Figure("Verifications", f"{runs:,}"),
        Figure("With problems", f"{with_problems:,}"),
        Figure("Key", ledger.key_id(newest) if newest else "–"),
    )


REPORT = Report(
    id="ledger-integrity",
    title="Integrity of the log",
    answers="Whether the sealed log is whole and signed, who holds it outside, what verified it",
    controls=("SOC 2 CC7.2", "ISO 27001 A.8.15", "NIST AU-9, AU-10, AU-11"),
    columns=COLUMNS,
    rows=rows,
    count=count,
    as_of=True,
    since=True,
    without=frozenset({"resource", "person"}),
    summary=summary,
)
