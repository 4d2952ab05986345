"""The tree as immutable tiles: their names, how appending makes them, proofs out of them.

Lives here: pure functions of bytes; whoever stores tiles hands in a `Read`. A tile holds up to 256
hashes of one level; hash i of tile n at level l is the root over the leaves from (n·256+i)·256^l
to (n·256+i+1)·256^l. A partial tile is named with its width and is never hashed upward.

Source: C2SP tlog-tiles; RFC 6962 sections 2.1.1 and 2.1.2.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from audit.domain import merkle
from audit.domain.lines import HASH_BYTES, Malformed

WIDTH = 256
LEVEL_MOST = 63
ENTRY_BYTES_MOST = 65_535
TILE_BYTES = WIDTH * HASH_BYTES

Level = int | Literal["entries"]
_PATH = re.compile(
    r"tile/(entries|0|[1-9][0-9]?)/((?:x[0-9]{3}/)*)([0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?"
)


@dataclass(frozen=True, slots=True)
class Tile:
    """The name of one tile, or of one bundle of entries (level "entries"), and its width."""

    level: Level
    index: int
    width: int = WIDTH

    @property
    def path(self) -> str:
        """Return where the tile is, below the log's prefix."""
        rest, last = divmod(self.index, 1000)
        groups = [f"{last:03}"]
        while rest:
            rest, last = divmod(rest, 1000)
            groups.insert(0, f"x{last:03}")
        partial = f".p/{self.width}" if self.width < WIDTH else ""
        return f"tile/{self.level}/{'/'.join(groups)}{partial}"


#: Returns a tile's bytes; raises whatever its store raises when it has none.
Read = Callable[[Tile], bytes]


def parse(path: str) -> Tile:
    """Return the tile that a path names, if it is the tile's one path.

    Raises: Malformed.
    """
    match = _PATH.fullmatch(path)
    if match is None:
        raise Malformed(f"{path[:80]!r} is no tile's path")
    level, groups, last, width = match.groups()
    tile = Tile(
        level="entries" if level == "entries" else int(level),
        index=int(groups.replace("x", "").replace("/", "") + last),
        width=int(width or WIDTH),
    )
    if tile.path != path or (tile.level != "entries" and tile.level > LEVEL_MOST):
        raise Malformed(f"{path[:80]!r} is no tile's path")
    return tile


def across(*, level: Level, size: int) -> Iterator[Tile]:
    """Yield the tiles of one level in a tree of this size, from the left, partial one last."""
    hashes = size if level == "entries" else size >> (8 * level)
    for index in range(hashes // WIDTH):
        yield Tile(level, index)
    if hashes % WIDTH:
        yield Tile(level, hashes // WIDTH, hashes % WIDTH)


def right_edge(*, size: int) -> Iterator[Tile]:
    """Yield the partial tiles and the partial bundle of a tree of this size."""
    kinds: list[Level] = ["entries", *levels(size=size)]
    for level in kinds:
        hashes = size if level == "entries" else size >> (8 * level)
        if hashes % WIDTH:
            yield Tile(level, hashes // WIDTH, hashes % WIDTH)


def levels(*, size: int) -> range:
    """Return the levels of tiles that a tree of this size has."""
    return range(-(-size.bit_length() // 8))


def every(*, size: int) -> Iterator[Tile]:
    """Yield every tile and bundle that a tree of this size consists of."""
    yield from across(level="entries", size=size)
    for level in levels(size=size):
        yield from across(level=level, size=size)


def _hashes(data: bytes) -> list[bytes]:
    return [data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES)]


def _load(read: Read, tile: Tile) -> list[bytes]:
    data = read(tile)
    if len(data) != tile.width * HASH_BYTES:
        raise Malformed(f"{tile.path} has {len(data)} bytes, not {tile.width * HASH_BYTES}")
    return _hashes(data)


# -- appending


@dataclass(frozen=True, slots=True)
class Edge:
    """The right edge of a tree: the hashes of each level's partial tile. All that appending needs.

    `levels[l]` holds ⌊size / 256^l⌋ mod 256 hashes; there are as many levels as the size needs.
    """

    size: int = 0
    levels: tuple[tuple[bytes, ...], ...] = ()

    @property
    def root(self) -> bytes:
        """Return the root of the whole tree."""
        return merkle.fold(
            peak for hashes in reversed(self.levels) for peak in merkle.peaks(hashes)
        )


def load_edge(*, size: int, read: Read) -> Edge:
    """Return the right edge of a stored tree of this size, out of its partial tiles.

    Raises: Malformed for a tile of the wrong length; whatever `read` raises.
    """
    levels: list[tuple[bytes, ...]] = []
    while hashes := size >> (8 * len(levels)):
        index, width = divmod(hashes, WIDTH)
        tile = Tile(len(levels), index, width)
        levels.append(tuple(_load(read, tile)) if width else ())
    return Edge(size, tuple(levels))


def append(*, edge: Edge, leaf_hashes: Sequence[bytes]) -> tuple[Edge, list[tuple[Tile, bytes]]]:
    """Return the edge after these leaves, and every tile that the larger tree newly has.

    New are all tiles that became full, and one partial tile for each level whose hashes changed.
    """
    if not leaf_hashes:
        return edge, []
    size = edge.size + len(leaf_hashes)
    made: list[tuple[Tile, bytes]] = []
    levels: list[tuple[bytes, ...]] = []
    rising: Sequence[bytes] = leaf_hashes
    while rising or len(levels) < len(edge.levels):
        level = len(levels)
        held = [*(edge.levels[level] if level < len(edge.levels) else ()), *rising]
        first = (edge.size >> (8 * level)) // WIDTH
        full = len(held) // WIDTH
        parts = [held[at * WIDTH : (at + 1) * WIDTH] for at in range(full)]
        made += [(Tile(level, first + at), b"".join(part)) for at, part in enumerate(parts)]
        partial = held[full * WIDTH :]
        if partial and rising:
            made.append((Tile(level, first + full, len(partial)), b"".join(partial)))
        levels.append(tuple(partial))
        rising = [merkle.full_root(part) for part in parts]
    return Edge(size, tuple(levels)), made


# -- reading


class Tree:
    """Roots and proofs of a stored tree, and of every earlier size of it.

    It reads the tiles that the tree of `size` has, each once; it trusts them, so whoever got them
    from elsewhere compares `root()` with a checkpoint first and verifies what comes out.
    """

    def __init__(self, *, size: int, read: Read) -> None:
        self.size = size
        self._read = read
        self._tiles: dict[tuple[int, int], list[bytes]] = {}

    def _tile(self, level: int, index: int) -> list[bytes]:
        if (level, index) not in self._tiles:
            width = min(WIDTH, (self.size >> (8 * level)) - index * WIDTH)
            self._tiles[level, index] = _load(self._read, Tile(level, index, width))
        return self._tiles[level, index]

    def _complete(self, height: int, index: int) -> bytes:
        level, inside = divmod(height, 8)
        first = index << inside
        hashes = self._tile(level, first // WIDTH)
        return merkle.full_root(hashes[first % WIDTH :][: 1 << inside])

    def _root(self, start: int, end: int) -> bytes:
        """Return the root over some leaves; start is a multiple of a power of two ≥ end - start."""
        found = []
        while start < end:
            height = (end - start).bit_length() - 1
            found.append(self._complete(height, start >> height))
            start += 1 << height
        return merkle.fold(found)

    def _check(self, size: int) -> None:
        if not 0 <= size <= self.size:
            raise ValueError(f"the tree has {self.size} leaves, not {size}")

    def leaf_hash(self, index: int) -> bytes:
        """Return the hash of one leaf."""
        self._check(index + 1)
        return self._complete(0, index)

    def root(self, size: int | None = None) -> bytes:
        """Return the root of the tree, or of what it was at an earlier size."""
        size = self.size if size is None else size
        self._check(size)
        return self._root(0, size)

    def inclusion(self, *, index: int, size: int | None = None) -> list[bytes]:
        """Return the proof that leaf `index` is in the tree of `size`, the leaf's sibling first."""
        size = self.size if size is None else size
        self._check(size)
        if not 0 <= index < size:
            raise ValueError(f"leaf {index} is not in a tree of {size}")
        proof: list[bytes] = []
        start, end = 0, size
        while end - start > 1:
            middle = start + (1 << (end - start - 1).bit_length() - 1)
            if index < middle:
                proof.append(self._root(middle, end))
                end = middle
            else:
                proof.append(self._root(start, middle))
                start = middle
        return proof[::-1]

    def consistency(self, *, old: int, new: int | None = None) -> list[bytes]:
        """Return the proof that the tree of `new` leaves only appended to that of `old`."""
        new = self.size if new is None else new
        self._check(new)
        if not 0 <= old <= new:
            raise ValueError(f"a tree of {old} can't have grown into one of {new}")
        if old in (0, new):
            return []
        proof: list[bytes] = []
        start, end, whole = 0, new, True
        while end != old:
            middle = start + (1 << (end - start - 1).bit_length() - 1)
            if old <= middle:
                proof.append(self._root(middle, end))
                end = middle
            else:
                proof.append(self._root(start, middle))
                start, whole = middle, False
        if not whole:
            proof.append(self._root(start, end))
        return proof[::-1]


# -- entry bundles


def bundle(entries: Sequence[bytes]) -> bytes:
    """Return up to 256 entries as the bytes of their bundle.

    Raises: Malformed for an entry of more than 65,535 bytes.
    """
    if len(entries) > WIDTH:
        raise ValueError(f"a bundle holds {WIDTH} entries, not {len(entries)}")
    for entry in entries:
        if len(entry) > ENTRY_BYTES_MOST:
            raise Malformed(f"an entry has at most {ENTRY_BYTES_MOST} bytes, not {len(entry)}")
    return b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)


def unbundle(data: bytes, *, width: int) -> list[bytes]:
    """Return the `width` entries of a bundle.

    Raises: Malformed when the lengths don't add up to exactly that.
    """
    entries: list[bytes] = []
    at = 0
    while at < len(data):
        end = at + 2 + int.from_bytes(data[at : at + 2], "big")
        if at + 2 > len(data) or end > len(data):
            raise Malformed(f"entry {len(entries)} of the bundle is cut off")
        entries.append(data[at + 2 : end])
        at = end
    if len(entries) != width:
        raise Malformed(f"the bundle has {len(entries)} entries, not {width}")
    return entries
