"""Proof files: one entry's place in a log, verifiable without the log.

Source: C2SP tlog-proof@v1.
"""

from __future__ import annotations

from dataclasses import dataclass

from audit.domain import checkpoint as checkpoints
from audit.domain import lines, merkle
from audit.domain.lines import Malformed
from audit.domain.policy import Policy, Trusted

HEADER = "c2sp.org/tlog-proof@v1"
HASHES_MOST = 63


@dataclass(frozen=True, slots=True)
class Proof:
    """An entry's index, its inclusion proof (the leaf's sibling first) and the checkpoint.

    `extra` is opaque and not authenticated by anything.
    """

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: bytes
    extra: bytes | None = None

    def encode(self) -> bytes:
        """Return the proof as a `.tlog-proof` file."""
        head = [HEADER]
        if self.extra is not None:
            head.append(f"extra {lines.encode(self.extra)}")
        head += [f"index {self.index}", *map(lines.encode, self.hashes), ""]
        return "".join(f"{line}\n" for line in head).encode() + self.checkpoint

    def verify(self, *, entry: bytes, policy: Policy) -> Trusted:
        """Return the checkpoint that the policy trusts, if it covers exactly this entry.

        Raises: Malformed, note.BadSignature, note.Untrusted, QuorumMissed, merkle.ProofFailed.
        """
        trusted = policy.trusted(self.checkpoint)
        merkle.verify_inclusion(
            leaf=merkle.leaf_hash(entry),
            index=self.index,
            size=trusted.checkpoint.size,
            proof=self.hashes,
            root=trusted.checkpoint.root,
        )
        return trusted


def read(data: bytes) -> Proof:
    """Return a proof file's parts; nothing is verified but the form.

    Raises: Malformed.
    """
    head, blank, checkpoint = data.partition(b"\n\n")
    if not blank:
        raise Malformed("a proof has an empty line before its checkpoint")
    found = lines.utf8(head).split("\n")
    if found.pop(0) != HEADER:
        raise Malformed(f"a proof begins with {HEADER}")
    extra = None
    if found and found[0].startswith("extra "):
        extra = lines.decode(found.pop(0).removeprefix("extra "))
    if not found or not found[0].startswith("index "):
        raise Malformed("a proof has an index line")
    index = lines.decimal(found.pop(0).removeprefix("index "))
    if len(found) > HASHES_MOST:
        raise Malformed(f"a proof has at most {HASHES_MOST} hashes")
    checkpoints.read(checkpoint)
    return Proof(index, tuple(map(lines.decode_hash, found)), checkpoint, extra)
