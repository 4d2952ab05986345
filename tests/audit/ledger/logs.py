"""Logs made by the writer's own parts, for tests and benches to verify: exports on disk.

Keys are made of fixed seeds, so that a failure can be looked at again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

from audit.domain import checkpoint, cosignature, entries, merkle, note, policy
from audit.domain import tiles as tile_format
from audit.domain.checkpoint import Checkpoint
from audit.domain.entries import Entry

ORIGIN = "jit.example.com/audit"
LOG = note.LogSigner(name=ORIGIN, seed=b"L" * 32)
WITNESS = cosignature.Cosigner(
    name="witness.example.com/w1", seed=b"W" * 32, time_seconds=1_795_489_586
)
POLICY = policy.Policy(
    quorum="w1",
    logs=[policy.Log(LOG.key)],
    witnesses={"w1": policy.Witness(WITNESS.key)},
)
BEGAN = datetime(2026, 7, 22, 16, 23, 2, tzinfo=UTC)


@dataclass
class Store:
    """Tiles in memory, by name."""

    tiles: dict[tile_format.Tile, bytes] = field(default_factory=dict)
    edge: tile_format.Edge = field(default_factory=tile_format.Edge)

    def append(self, leaf_hashes: list[bytes]) -> None:
        self.edge, made = tile_format.append(edge=self.edge, leaf_hashes=leaf_hashes)
        for tile, data in made:
            assert tile not in self.tiles
            self.tiles[tile] = data

    def read(self, tile: tile_format.Tile) -> bytes:
        return self.tiles[tile]

    @property
    def tree(self) -> tile_format.Tree:
        return tile_format.Tree(size=self.edge.size, read=self.read)


def signed(*, size: int, root: bytes) -> bytes:
    """Return a checkpoint by the log and the witness."""
    said = Checkpoint(ORIGIN, size, root)
    return checkpoint.sign(checkpoint=said, signers=[LOG, WITNESS])


def export(folder: Path, *, made: Iterable[bytes], payloads: Iterable[bytes] | None = None) -> int:
    """Write an export of these entries, holding a bundle of them at a time; return the size."""
    store = Store()
    held: list[bytes] = []

    def flush() -> None:
        if not held:
            return
        tile = tile_format.Tile("entries", store.edge.size // tile_format.WIDTH, len(held))
        write(folder, {tile: tile_format.bundle(held)})
        store.append([merkle.leaf_hash(entry) for entry in held])
        held.clear()
        full = {t: d for t, d in store.tiles.items() if t.width == tile_format.WIDTH}
        if len(held) < tile_format.WIDTH:
            write(folder, full)
            for each in full:
                del store.tiles[each]

    for entry in made:
        held.append(entry)
        if len(held) == tile_format.WIDTH:
            flush()
    flush()
    size = store.edge.size
    write(
        folder,
        {tile: store.tiles[tile] for tile in tile_format.every(size=size) if tile in store.tiles},
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "checkpoint").write_bytes(signed(size=size, root=store.edge.root))
    if payloads is not None:
        with (folder / "payloads.jsonl").open("wb") as file:
            file.writelines(payloads)
    return size


def write(folder: Path, found: dict[tile_format.Tile, bytes]) -> None:
    for tile, data in found.items():
        path = folder / tile.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


@dataclass
class Ledger:
    """A ledger in the making: entries in order, payload lines, each object's newest entry."""

    made: list[bytes] = field(default_factory=list)
    payloads: list[bytes] = field(default_factory=list)
    newest: dict[tuple[str, str], tuple[int, str]] = field(default_factory=dict)

    def add(
        self,
        *,
        model: str,
        id: str,
        values: dict[str, Any],
        op: str = "submit",
        type: str = entries.REVISION,
        erased: frozenset[str] = frozenset(),
    ) -> bytes:
        """Append an entry; `erased` are fields whose values never reach the payloads."""
        leaf = len(self.made)
        rev, prev = self.newest.get((model, id), (0, ""))
        if type != entries.ERASURE:
            rev += 1
        salts = {name: sha256(b"%d %s" % (leaf, name.encode())).digest() for name in values}
        fields = {
            name: ""
            if type == entries.ERASURE
            else entries.commitment(name=name, value=value, salt=salts[name])
            for name, value in values.items()
        }
        entry = Entry(
            type=type,
            model=model,
            id=id,
            rev=rev,
            prev=prev,
            op=op,
            actor="3f2b8c1e-6a57-4c55-9d20-0d3f6f0c2b11",
            at=entries.stamp(BEGAN + timedelta(seconds=leaf)),
            fields=fields,
        ).encode()
        self.made.append(entry)
        self.newest[model, id] = rev, entries.digest(entry)
        kept = {n: (v, salts[n]) for n, v in values.items() if n not in erased}
        if kept and type == entries.REVISION:
            self.payloads.append(entries.payload_line(leaf=leaf, fields=kept))
        return entry

    def export(self, folder: Path, *, payloads: bool = True) -> int:
        return export(folder, made=self.made, payloads=self.payloads if payloads else None)


def lifecycles(count: int, *, concurrent: int = 50, revisions: int = 6) -> Iterator[bytes]:
    """Yield `count` entries as requests make them: each of six revisions, many at a time."""
    alive: list[tuple[str, int, str]] = []
    commitments = [sha256(b"%d" % number).hexdigest() for number in range(9)]
    names = (
        "state", "subject", "entitlement", "reason", "starts_at", "ends_at", "policy", "level", "extends",
    )  # fmt: skip
    fields = dict(zip(names, commitments, strict=True))
    for number in range(count):
        at = number % concurrent
        if at >= len(alive):
            alive.append(("", 0, ""))
        identity, rev, prev = alive[at]
        if rev in (0, revisions):
            identity, rev, prev = f"0198c0de-0000-7000-8000-{number:012}", 0, ""
        fields["state"] = commitments[number % 9]
        data = Entry(
            model="approvals.accessrequest",
            id=identity,
            rev=rev + 1,
            prev=prev,
            op="approve",
            actor=f"3f2b8c1e-0000-4000-8000-{number:012}",
            at="2026-07-22T16:23:02.000000Z",
            fields=fields,
        ).encode()
        alive[at] = identity, rev + 1, entries.digest(data)
        yield data
