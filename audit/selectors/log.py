"""The sealed log as its tree: tiles, entry bundles, checkpoints. Each is a query or two."""

from collections.abc import Sequence

from django.db import connection

from audit.domain import note, tiles
from audit.domain.tiles import WIDTH, Tile
from audit.models import Checkpoint, Log

#: No log is larger; what a path names beyond is nothing that the database could be asked for.
SIZE_MOST = 2**53


class NoSuchTile(LookupError):
    """The log doesn't have this tile (or not yet)."""


def current() -> Log | None:
    """Return the log that is written to; None before the first seal."""
    return Log.objects.order_by("-id").first()


def named(origin: str) -> Log | None:
    """Return the log of this origin."""
    return Log.objects.filter(origin=origin).first()


def key_id(log: Log) -> str:
    """Return the eight hex digits that name a log's key, and the log in addresses and files."""
    name, kind, public = note.read_vkey(log.vkey)
    return note.key_id(name=name, kind=kind, public=public).hex()


def by_key_id(identity: str) -> Log | None:
    """Return the log whose key has this id. There are a handful of logs at most."""
    return next((log for log in Log.objects.order_by("-id") if key_id(log) == identity), None)


def published_note(checkpoint: Checkpoint) -> bytes:
    """Return a checkpoint's signed note as it is shown to outsiders."""
    return bytes(checkpoint.note)


def newest_checkpoint(log: Log) -> Checkpoint | None:
    """Return the log's newest checkpoint."""
    return Checkpoint.objects.filter(log=log).order_by("-size").first()


def hashes(log: Log, *, level: int, start: int, count: int) -> list[bytes]:
    """Return `count` hashes of one level of the tree from `start` on. Raises: NoSuchTile."""
    with connection.cursor() as cursor:
        if level == 0:
            cursor.execute(
                "SELECT hash FROM audit_leaf WHERE log_id = %s AND index >= %s AND index < %s"
                " ORDER BY index",
                [log.pk, start, start + count],
            )
        else:
            cursor.execute(
                "SELECT hash FROM audit_node WHERE log_id = %s AND level = %s AND index >= %s"
                " AND index < %s ORDER BY index",
                [log.pk, level, start, start + count],
            )
        found = [bytes(row[0]) for row in cursor.fetchall()]
    if len(found) != count:
        raise NoSuchTile(f"level {level} has no {count} hashes from {start} on")
    return found


def tile(log: Log, name: Tile) -> bytes:
    """Return a tile's bytes. Raises: NoSuchTile."""
    if name.index >= SIZE_MOST // WIDTH:
        raise NoSuchTile(f"no log has {name.path}")
    if name.level == "entries":
        return tiles.bundle(entries(log, start=name.index * WIDTH, count=name.width))
    found = hashes(log, level=name.level, start=name.index * WIDTH, count=name.width)
    return b"".join(found)


def entries(log: Log, *, start: int, count: int) -> Sequence[bytes]:
    """Return the bytes of `count` entries from leaf `start` on. Raises: NoSuchTile."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT e.data FROM audit_leaf l JOIN audit_entry e ON e.id = l.entry_id"
            " WHERE l.log_id = %s AND l.index >= %s AND l.index < %s ORDER BY l.index",
            [log.pk, start, start + count],
        )
        found = [bytes(row[0]) for row in cursor.fetchall()]
    if len(found) != count:
        raise NoSuchTile(f"the log has no {count} entries from {start} on")
    return found


def edge(log: Log, *, size: int) -> tiles.Edge:
    """Return the right edge of the tree of this size. Raises: NoSuchTile."""
    return tiles.load_edge(size=size, read=lambda name: tile(log, name))


def tree(log: Log, *, size: int) -> tiles.Tree:
    """Return the tree of this size, which reads its tiles as it needs them."""
    return tiles.Tree(size=size, read=lambda name: tile(log, name))
