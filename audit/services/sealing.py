"""The sealer: gives entries their places in the log and signs the tree's new head.

Writers never wait for it. In one snapshot it takes every visible entry that has no leaf, in the
order of ids; entries of one object are in their order, since their writer held the object. What it
may have missed of slow transactions it finds later: nothing is skipped for being late. The look is
bounded by a horizon, below which every transaction had ended at the last complete look; after a
restore into another cluster, whose transaction numbers mean something else, everything is looked
at, and once a day in any case.
"""

import dataclasses
from datetime import datetime, timedelta

import structlog
from django.db import connection, transaction

from audit.domain import checkpoint, entries, merkle, tiles
from audit.domain.note import Signer
from audit.domain.tiles import WIDTH
from audit.models import Checkpoint, Leaf, Log, Node, sealed
from audit.selectors import log as reads

log = structlog.get_logger(__name__)

#: A session lock of this number is held by the process that seals.
LOCK = 0x6A69747365616C
BATCH = 50_000
LOOK_AT_ALL_EVERY = timedelta(hours=24)


class LedgerDamaged(Exception):
    """The stored tree isn't the one that was signed last: nothing more is signed on top of it."""


class KeyChanged(Exception):
    """The key isn't the log's: a new key needs a new origin, whose log commits to the old one's."""


@dataclasses.dataclass(frozen=True, slots=True)
class Sealed:
    """What a look at the entries came to. `more` says that the batch was full."""

    log: Log
    size: int
    added: int
    more: bool


def lead() -> bool:
    """Return whether this process seals from now on, until its connection ends.

    Taken before any transaction: a snapshot from before another's last seal would seal twice.
    """
    assert not connection.in_atomic_block, "the sealer's lock is taken before its transaction"
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [LOCK])
        return bool(cursor.fetchone()[0])


def leads() -> bool:
    """Return whether this connection still holds the sealer's lock."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted"
            " AND pid = pg_backend_pid() AND classid = %s AND objid = %s)",
            [LOCK >> 32, LOCK & 0xFFFFFFFF],
        )
        return bool(cursor.fetchone()[0])


def resign() -> None:
    """Let another process seal: the lock is given back, and so is the connection that held it.

    A connection that is only closed goes back to its pool, and its session keeps the lock.
    """
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock_all()")
    except Exception as error:
        log.info("sealer.connection_lost", error=str(error))
    connection.close()
    connection.close_pool()  # type: ignore[attr-defined]


def open_log(signer: Signer, *, vkey: str, now: datetime) -> Log:
    """Return the log that this key writes; a new one begins by committing to the old one's end.

    Raises: KeyChanged when the origin is an older log's or another key's.
    """
    held = reads.current()
    if held is not None and held.origin == signer.name:
        if held.vkey != vkey:
            raise KeyChanged(
                f"The key is not that of the log {held.origin}. If the key was changed, choose "
                "a new LEDGER_ORIGIN: the new log will commit to the end of the old one."
            )
        return held
    if reads.named(signer.name) is not None:
        raise KeyChanged(
            f"{signer.name} is an older log of this portal: choose a new LEDGER_ORIGIN."
        )
    with transaction.atomic():
        made = Log.objects.create(origin=signer.name, vkey=vkey, opened_at=now)
        if held is not None:
            _succeed(made, held, signer, now=now)
    log.info("ledger.opened", origin=made.origin, after=held.origin if held else None)
    return made


def _succeed(made: Log, held: Log, signer: Signer, *, now: datetime) -> None:
    old = reads.newest_checkpoint(held)
    if old is None:
        return
    text, _ = checkpoint.read(bytes(old.note))
    said = entries.succession(origin=made.origin, old_checkpoint=text.text(), at=now)
    data = said.encode()
    entry = _insert_entry(said, data)
    leaf = merkle.leaf_hash(data)
    Leaf.objects.create(log=made, index=0, entry_id=entry, hash=leaf)
    _sign(
        made,
        tiles.append(edge=tiles.Edge(), leaf_hashes=[leaf])[0],
        signer,
        old.horizon,
        old.system,
    )


def seal(made: Log, signer: Signer, *, now: datetime, batch: int = BATCH) -> Sealed:
    """Seal at most `batch` entries and sign the new head; does nothing where none is unsealed.

    The sealer's lock must be held. All of it is one transaction, and nothing is remembered between
    calls. Raises: LedgerDamaged, SigningFailed, DatabaseError; then nothing was sealed.
    """
    assert not connection.in_atomic_block, "the snapshot is taken by the first statement"
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        last = reads.newest_checkpoint(made)
        size = last.size if last else 0
        system, horizon, all_seen = _where(now)
        look_at_all = last is None or last.system != system or not all_seen
        taken = _take(made, size=size, since=0 if look_at_all else last.horizon, batch=batch)  # type: ignore[union-attr]
        more = len(taken) == batch
        if not taken:
            return Sealed(made, size, 0, more=False)
        edge = reads.edge(made, size=size)
        if last is not None and edge.root != bytes(last.root):
            raise LedgerDamaged(
                f"The tree of {size} leaves does not have the root that was signed: the ledger was "
                "tampered with or damaged. Run `manage.py ledger_verify`; nothing is sealed until "
                "then."
            )
        after, new_tiles = tiles.append(edge=edge, leaf_hashes=taken)
        Node.objects.bulk_create(
            [
                Node(
                    log=made,
                    level=int(tile.level) + 1,
                    index=tile.index,
                    hash=merkle.full_root([data[at : at + 32] for at in range(0, len(data), 32)]),
                )
                for tile, data in new_tiles
                if tile.width == WIDTH
            ],
            batch_size=2_000,
        )
        if more:
            horizon = last.horizon if last and not look_at_all else 0
        _sign(made, after, signer, horizon, system, looked_at_all=look_at_all and not more)
    return Sealed(made, after.size, len(taken), more=more)


def _where(now: datetime) -> tuple[str, int, bool]:
    """Return the cluster's identifier, the horizon of this snapshot, and if all was seen lately."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT (SELECT system_identifier::text FROM pg_control_system()),"
            " pg_snapshot_xmin(pg_current_snapshot())::text::bigint,"
            " EXISTS (SELECT FROM audit_checkpoint WHERE looked_at_all AND signed_at > %s)",
            [now - LOOK_AT_ALL_EVERY],
        )
        system, horizon, seen = cursor.fetchone()
    return system, horizon, seen


def _take(made: Log, *, size: int, since: int, batch: int) -> list[bytes]:
    """Give unsealed entries their leaves from index `size` on; return the hashes in order.

    One that no bundle can hold, which the database would not have taken, gets none: with it nobody
    could read the log any more.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO audit_leaf (log_id, index, entry_id, hash)"
            " SELECT %s, %s::bigint + row_number() OVER (ORDER BY id) - 1, id,"
            "   sha256('\\x00'::bytea || data)"
            " FROM (SELECT id, data FROM audit_entry e WHERE xid >= %s::text::xid8"
            "   AND NOT EXISTS (SELECT FROM audit_leaf l WHERE l.entry_id = e.id)"
            "   AND octet_length(data) <= %s"
            "   ORDER BY id LIMIT %s) fresh"
            " RETURNING index, hash",
            [made.pk, size, str(since), tiles.ENTRY_BYTES_MOST, batch],
        )
        return [bytes(found) for _, found in sorted(cursor.fetchall())]


def _sign(
    made: Log,
    edge: tiles.Edge,
    signer: Signer,
    horizon: int,
    system: str,
    *,
    looked_at_all: bool = False,
) -> None:
    said = checkpoint.Checkpoint(made.origin, edge.size, edge.root)
    Checkpoint.objects.create(
        log=made,
        size=edge.size,
        root=edge.root,
        note=checkpoint.sign(checkpoint=said, signers=[signer]),
        horizon=horizon,
        system=system,
        looked_at_all=looked_at_all,
    )


def _insert_entry(said: entries.Entry, data: bytes) -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO audit_entry (model, object_id, record_id, data)"
            " VALUES (%s, %s, NULL, %s) RETURNING id",
            [said.model, said.id, data],
        )
        number: int = cursor.fetchone()[0]
    return number


def beat_heart(made: Log, *, now: datetime, every: timedelta) -> bool:
    """Write a heartbeat entry if the log got no leaf for as long as `every`; return whether.

    It is an object of its own, so that a log that stops growing is told from one that was cut. One
    is also written when everything must be looked at, so that the look leaves a checkpoint behind.
    """
    last = reads.newest_checkpoint(made)
    if last is not None:
        system, _, all_seen = _where(now)
        if all_seen and last.system == system and now - last.signed_at < every:
            return False
    revision, previous = sealed.last(model="log", object_id=made.origin)
    said = entries.Entry(
        type=entries.HEARTBEAT,
        model="log",
        id=made.origin,
        rev=revision + 1,
        prev=previous,
        op="beat",
        actor=entries.SYSTEM,
        at=entries.stamp(now),
    )
    _insert_entry(said, said.encode())
    return True
