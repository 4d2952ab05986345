"""The tree over all leaves, made anew, against what is stored of it: nodes and checkpoints.

Leaves come in order; of the tree only its right edge is kept. Nodes and checkpoints are read along.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from audit.domain import checkpoint, merkle, note
from audit.domain.lines import Malformed
from audit.domain.note import LogKey
from audit.services.verification.findings import Findings, Problem
from audit.services.verification.outside import Anchor

NODE_BITS = 8

#: A stored checkpoint: its size, root and note. They come ordered by size.
StoredCheckpoint = tuple[int, bytes, bytes]
#: A stored node: level, index and hash. They come ordered by level and index.
StoredNode = tuple[int, bytes]


@dataclass(slots=True)
class Growing:
    """One log's tree as its leaves come in."""

    order: int
    key: LogKey
    checkpoints: Iterator[StoredCheckpoint]
    nodes: Sequence[Iterator[StoredNode]]
    anchors: list[Anchor]
    findings: Findings
    size: int = 0
    signed: int = 0
    signed_root: bytes = merkle.EMPTY_ROOT
    end: bytes = b""
    _edge: list[bytes] = field(default_factory=list)
    _next: StoredCheckpoint | None = None
    _last_id: int = 0
    _wrong: int = 0
    _first_wrong: tuple[int, int] = (0, 0)
    _held_until: int = 0

    def __post_init__(self) -> None:
        self._next = next(self.checkpoints, None)
        self.anchors.sort(key=lambda each: each.size)

    # -- leaves

    def grow(self, hashes: Sequence[bytes], ids: Iterable[int]) -> None:
        """Append leaves, checking every node that becomes whole and every checkpoint on the way."""
        edge, size, stop = self._edge, self.size, self._stop()
        for leaf, entry_id in zip(hashes, ids, strict=True):
            if size == stop:
                self.size = size
                stop = self._reach()
            if entry_id < self._last_id and entry_id:
                self._add("leaf", f"its entry {entry_id} is older than the leaf before's", size)
            self._last_id = entry_id
            made, at, height = leaf, size, 0
            while at & 1:
                made = sha256(b"\x01" + edge.pop() + made).digest()
                at >>= 1
                height += 1
                if not height % NODE_BITS:
                    self._node(height // NODE_BITS, at, made)
            edge.append(made)
            size += 1
        self.size = size
        if size == stop:
            self._reach()

    def _stop(self) -> int:
        """Return the size at which there is something to compare."""
        sizes = [each.size for each in self.anchors[:1]]
        if self._next is not None:
            sizes.append(self._next[0])
        return min(sizes, default=-1)

    def _reach(self) -> int:
        root = merkle.fold(self._edge)
        while self.anchors and self.anchors[0].size <= self.size:
            self._anchor(self.anchors.pop(0), root)
        while self._next is not None and self._next[0] <= self.size:
            self._checkpoint(self._next, root)
            self._next = next(self.checkpoints, None)
            self._last_id = 0  # within one seal, entries are in the order of their ids
        return self._stop()

    def _anchor(self, anchor: Anchor, root: bytes) -> None:
        if anchor.root != root:
            self._add(
                "rewritten",
                f"the first {anchor.size} entries are not those of {anchor.source}: the history was"
                " rewritten, or an older backup was restored and written on",
            )

    def _checkpoint(self, stored: StoredCheckpoint, root: bytes) -> None:
        size, stored_root, message = stored
        name = f"the checkpoint of {size} entries"
        try:
            said = checkpoint.open_verified(message=message, log=self.key)
        except (Malformed, note.BadSignature, note.Untrusted) as error:
            self._add("checkpoint", f"{name} is not signed by the log's key: {error}", size - 1)
            return
        if (said.size, said.root) != (size, stored_root):
            self._add("checkpoint", f"{name} is stored with what its signature isn't of", size - 1)
        if said.size == size:
            self.signed, self.signed_root, self.end = size, said.root, said.text()
        if said.root == root:
            self._held_until = size
        else:
            if not self._wrong:
                self._first_wrong = self._held_until, size - 1
            self._wrong += 1

    def _node(self, level: int, index: int, made: bytes) -> None:
        where = f"node {index} of level {level}"
        stored = next(self.nodes[level - 1], None) if level <= len(self.nodes) else None
        last = (index + 1 << NODE_BITS * level) - 1
        if stored is None:
            self._add("tree", f"{where} is missing", last)
        elif stored[0] != index:
            self._add("tree", f"in place of {where} there is node {stored[0]}", last)
        elif stored[1] != made:
            words = f"{where} is not the root over the leaves from {index << NODE_BITS * level} on"
            self._add("tree", words, last)

    # -- the end

    def finish(self) -> None:
        """Say what remains: wrong roots, what is stored beyond the leaves, what is cut off."""
        if not self.size:
            self._reach()
        if self._wrong:
            first, last = self._first_wrong
            which = "a checkpoint" if self._wrong == 1 else f"{self._wrong} checkpoints"
            words = f"the leaves {first} to {last} are not those that were signed"
            self._add("tree", f"{words}: {which} signed another root", last)
        if self.signed < self.size:
            words = f"no checkpoint signs the leaves from {self.signed} on"
            self._add("checkpoint", words, self.size)
        while self._next is not None:
            words = f"there are {self.size} leaves, and a checkpoint of {self._next[0]}"
            self._add("cut", words, self.size)
            self._next = next(self.checkpoints, None)
        for level, nodes in enumerate(self.nodes, 1):
            for index, _ in nodes:
                words = f"node {index} of level {level} is over leaves that are not there"
                self._add("tree", words, index << NODE_BITS * level)

    def _add(self, kind: str, what: str, leaf: int | None = None) -> None:
        self.findings.add(Problem(kind=kind, what=what, order=self.order, leaf=leaf))
