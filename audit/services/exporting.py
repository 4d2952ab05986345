"""An export: a folder that holds a whole log and all that verifying it offline needs.

`policy` is written first and names the log that the folder is of; `checkpoint` comes last and makes
the export valid. Everything in between is added file by file, each complete from the moment that it
is there, so that an export that was interrupted, or an older one, is gone on with.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from django.db import connection, transaction

from audit.domain import checkpoint as checkpoints
from audit.domain import policy as policy_format
from audit.domain import tiles, verifier
from audit.domain.lines import Malformed
from audit.domain.policy import Policy
from audit.domain.tiles import WIDTH, Tile
from audit.models import Checkpoint, Log
from audit.selectors import holders, payloads, policies, proofs
from audit.selectors import log as reads

CHUNK = 16 * WIDTH
PATIENCE_SECONDS = 10.0

README = """\
Verify: python3 verifier.py export . --policy POLICY --old CHECKPOINT (Python 3.11, cryptography)
POLICY and CHECKPOINT are the log's key and an earlier checkpoint that you hold from elsewhere: those in this folder vouch only for themselves.
The tiles are in the C2SP tlog-tiles format: other tools read them as well. All of it must verify; one bad record is named and ends with status 1.
If the log succeeded an older one (its verification says so), have that one's export too, and add --older ITS_FOLDER: else what goes on from it is NOT COMPARED.
timestamps/ holds what timestamp authorities signed (RFC 3161): openssl ts -verify -token_in -in NAME.tst -data NAME.note -CAfile ROOTS
"""  # noqa: E501

#: Called with how many leaves are written and how many there are.
Progress = Callable[[int, int], None]


class NotExported(Exception):
    """There is nothing to export, or not into this folder; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What an export came to.

    `before` is the size that the folder had; `payloads` counts lines; `accepted` says whether the
    checkpoint has the cosignatures that the policy beside it asks for.
    """

    origin: str
    size: int
    before: int
    payloads: int | None
    accepted: bool


def export(
    folder: Path,
    *,
    log: Log,
    size: int | None = None,
    with_payloads: bool = False,
    progress: Progress = lambda done, total: None,
    patience_seconds: float = PATIENCE_SECONDS,
) -> Exported:
    """Write a log, or go on with an export of it, up to its newest checkpoint or that of `size`.

    With payloads it waits up to `patience_seconds` until what was erased just now is sealed. Memory
    does not grow with the log. Full tiles and bundles that are there are not written again;
    payloads are written anew each time, since what was erased meanwhile must leave them.
    Raises: NotExported, reads.NoSuchTile or Malformed for a log that is damaged, OSError,
    holders.PolicyUnreadable.
    """
    trust = policies.published(first=log) or Policy()
    before = _held(folder, log)
    if with_payloads is False and (folder / "payloads.jsonl").exists():
        raise NotExported(f"{folder} has payloads: export with them, or remove payloads.jsonl.")
    with _snapshot(patience_seconds) if with_payloads else contextlib.nullcontext():
        found, message = _choose(log, size)
        if before is not None:
            _check_continues(folder, log, before, found.size)
        if with_payloads:
            _check_erasures(log, found.size)
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / "policy", trust.encode())
        _write_tiles(folder, log, found.size, lambda done: progress(done, found.size))
        lines = None
        if with_payloads:
            lines = _write_payloads(folder, log, found.size, lambda n: progress(n, found.size))
            _write_later_erasures(folder, log)
    _write_timestamps(folder, log, found.size)
    _write(folder / "README.txt", README.encode())
    _write(folder / "verifier.py", Path(verifier.__file__).read_bytes())
    _write(folder / "checkpoint", message)
    if before is not None:
        _remove_outgrown(folder, before=before.size, size=found.size)
    return Exported(
        origin=log.origin,
        size=found.size,
        before=before.size if before else 0,
        payloads=lines,
        accepted=policies.accepts(trust, message),
    )


# -- what is in the folder, and what is to be written


def _held(folder: Path, log: Log) -> checkpoints.Checkpoint | None:
    """Return the checkpoint of the export that the folder holds; None for a new or begun one.

    Raises: NotExported for a folder of something else.
    """
    if not folder.exists() or not any(folder.iterdir()):
        return None
    try:
        begun = policy_format.read((folder / "policy").read_bytes()).logs[0].key.vkey
        held = None
        if (folder / "checkpoint").exists():
            held = checkpoints.read((folder / "checkpoint").read_bytes())[0]
    except (OSError, IndexError, Malformed) as error:
        raise NotExported(f"{folder} holds something else than an export of a ledger.") from error
    if begun != log.vkey or (held and held.origin != log.origin):
        raise NotExported(
            f"{folder} holds another log's export ({held.origin if held else begun}), not one of "
            f"{log.origin}."
        )
    return held


def _choose(log: Log, size: int | None) -> tuple[Checkpoint, bytes]:
    if size is None:
        found = policies.newest_accepted(log)
        if found is None:
            raise NotExported(f"Nothing is sealed in {log.origin} yet.")
        return found
    held = Checkpoint.objects.filter(log=log, size=size).first()
    if held is None:
        near = Checkpoint.objects.filter(log=log, size__gt=size).order_by("size").first()
        hint = f" The next larger one is of {near.size}." if near else ""
        raise NotExported(f"No checkpoint of {size} leaves was signed in {log.origin}.{hint}")
    return held, reads.published_note(held)


def _check_continues(folder: Path, log: Log, held: checkpoints.Checkpoint, size: int) -> None:
    if held.size > size:
        raise NotExported(
            f"{folder} holds {held.size} leaves, and the checkpoint to export is of {size}: the "
            "end of the log is cut off, or --size is smaller than before."
        )
    if reads.tree(log, size=size).root(held.size) != held.root:
        raise NotExported(
            f"The log does not continue the {held.size} leaves that {folder} holds: one of the two "
            "was tampered with. Keep the folder: it is evidence."
        )


# -- values that were erased


@contextlib.contextmanager
def _snapshot(patience_seconds: float) -> Iterator[None]:
    """Read everything inside as of one moment at which every erasure that was made is sealed.

    Otherwise a value could be missing without the leaf that says why. Raises: NotExported.
    """
    assert not connection.in_atomic_block, "the snapshot is taken by the first statement"
    until = time.monotonic() + patience_seconds
    while True:
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            if not _erasure_waits():
                yield
                return
        if time.monotonic() > until:
            raise NotExported("An erasure waits to be sealed: is the sealer running?")
        time.sleep(0.2)


def _erasure_waits() -> bool:
    newest = Checkpoint.objects.order_by("-id").first()
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT FROM audit_entry e WHERE xid >= %s::text::xid8"
            ' AND position(\'"type":"erase"\'::bytea in data) > 0'
            " AND NOT EXISTS (SELECT FROM audit_leaf l WHERE l.entry_id = e.id))",
            [str(newest.horizon if newest else 0)],
        )
        return bool(cursor.fetchone()[0])


def _check_erasures(log: Log, size: int) -> None:
    """Refuse values up to a size after which some of them were erased.

    Raises: NotExported.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT max(l.index) FROM audit_leaf l JOIN audit_entry e ON e.id = l.entry_id"
            " WHERE l.log_id = %s AND l.index >= %s"
            ' AND position(\'"type":"erase"\'::bytea in e.data) > 0',
            [log.pk, size],
        )
        last = cursor.fetchone()[0]
    if last is not None:
        raise NotExported(
            f"Leaf {last} erased values: with payloads, export at least {last + 1} leaves, so that "
            "the export says why they are missing."
        )


# -- writing


def _write(path: Path, data: bytes) -> None:
    """Put a file in place, whole or not at all; nothing is touched where it is there already."""
    with contextlib.suppress(OSError):
        if path.stat().st_size == len(data) and path.read_bytes() == data:
            return
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.part")
    beside.write_bytes(data)
    beside.replace(path)


def _write_tiles(folder: Path, log: Log, size: int, show: Callable[[int], None]) -> None:
    for level in tiles.levels(size=size):
        hashes = size >> (8 * level)
        for start in range(0, hashes, CHUNK):
            count = min(CHUNK, hashes - start)
            _write_row(folder, log, level, start, count)
            if level == 0:
                _write_bundles(folder, log, start, count)
                show(start + count)


def _missing(folder: Path, level: tiles.Level, start: int, count: int) -> list[Tile]:
    """Return the tiles over these hashes of a level that the folder doesn't have in full."""
    wanted = [
        Tile(level, at // WIDTH, min(WIDTH, start + count - at))
        for at in range(start, start + count, WIDTH)
    ]
    return [each for each in wanted if each.width < WIDTH or not (folder / each.path).exists()]


def _write_row(folder: Path, log: Log, level: int, start: int, count: int) -> None:
    missing = _missing(folder, level, start, count)
    if not missing:
        return
    hashes = reads.hashes(log, level=level, start=start, count=count)
    for each in missing:
        at = each.index * WIDTH - start
        _write(folder / each.path, b"".join(hashes[at : at + each.width]))


def _write_bundles(folder: Path, log: Log, start: int, count: int) -> None:
    missing = _missing(folder, "entries", start, count)
    if not missing:
        return
    entries = reads.entries(log, start=start, count=count)
    for each in missing:
        at = each.index * WIDTH - start
        _write(folder / each.path, tiles.bundle(entries[at : at + each.width]))


def _write_payloads(folder: Path, log: Log, size: int, show: Callable[[int], None]) -> int:
    """Write payloads.jsonl anew, and return how many lines it has."""
    beside, lines = folder / ".payloads.jsonl.part", 0
    with beside.open("wb") as file:
        for chunk in payloads.walk(log, start=0, end=size):
            made = [line for each in chunk if (line := each.payload()) is not None]
            file.writelines(made)
            lines += len(made)
            show(chunk[-1].index + 1 if chunk else size)
    beside.replace(folder / "payloads.jsonl")
    return lines


def _write_later_erasures(folder: Path, log: Log) -> None:
    """Write proofs of the erasures that later logs tell of and that took values of this log."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT l.log_id, l.index FROM audit_leaf l JOIN audit_entry e ON e.id = l.entry_id"
            ' WHERE l.log_id > %s AND position(\'"type":"erase"\'::bytea in e.data) > 0'
            " AND EXISTS (SELECT FROM audit_entry o JOIN audit_leaf a ON a.entry_id = o.id"
            "   WHERE a.log_id = %s AND o.object_id = e.object_id AND o.model = e.model)"
            " ORDER BY l.log_id, l.index",
            [log.pk, log.pk],
        )
        found = cursor.fetchall()
    logs = Log.objects.in_bulk({each for each, _ in found})
    for each, index in found:
        proven = proofs.of_leaf(log=logs[each], index=index)
        name = f"{reads.key_id(logs[each])}-{index:012}"
        _write(folder / "later" / f"{name}.tlog-proof", proven.proof)
        _write(folder / "later" / f"{name}.entry.json", proven.entry)


def _write_timestamps(folder: Path, log: Log, size: int) -> None:
    """Write each authority's newest token, and the checkpoint's note that it is a timestamp of.

    Rows can be made up: only what the authority signed is written, whatever else bears its name.
    """
    for authority in holders.authorities():
        token = holders.largest_timestamped(log, authority, most=size)
        if token is None:
            continue
        note = Checkpoint.objects.get(log=log, size=token.size)
        name = "".join(each if each.isalnum() or each in "-." else "-" for each in authority)
        _write(folder / "timestamps" / f"{name}-{token.size}.tst", bytes(token.evidence))
        _write(folder / "timestamps" / f"{name}-{token.size}.note", bytes(note.note))


def _remove_outgrown(folder: Path, *, before: int, size: int) -> None:
    """Remove the partial tiles of the earlier export that the larger log has no use for."""
    kept = set(tiles.right_edge(size=size))
    for each in tiles.right_edge(size=before):
        if each not in kept:
            path = folder / each.path
            path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                path.parent.rmdir()
