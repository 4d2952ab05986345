"""The Merkle tree's hashes, and proofs checked against a root.

Lives here: hashing and verification, of hashes that the caller has. Making proofs out of stored
tiles is in `tiles`.

Source: RFC 6962 section 2.1; the verifiers follow RFC 9162 sections 2.1.3.2 and 2.1.4.2.
"""

from collections.abc import Iterable, Sequence
from hashlib import sha256

EMPTY_ROOT = sha256(b"").digest()


class ProofFailed(ValueError):
    """A proof that doesn't lead from what it starts at to the root."""


def leaf_hash(entry: bytes) -> bytes:
    """Return the hash of an entry as a leaf."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node over its two children."""
    return sha256(b"\x01" + left + right).digest()


def full_root(hashes: Sequence[bytes]) -> bytes:
    """Return the root over 2^k hashes of complete subtrees of one height."""
    level = list(hashes)
    if not level or len(level) & (len(level) - 1):
        raise ValueError(f"{len(level)} hashes are no complete subtree")
    while len(level) > 1:
        pairs = iter(level)
        level = [node_hash(left, right) for left, right in zip(pairs, pairs, strict=True)]
    return level[0]


def peaks(hashes: Sequence[bytes]) -> list[bytes]:
    """Return the roots of the complete subtrees that hashes of one height make, largest first."""
    found = []
    start = 0
    for bit in reversed(range(len(hashes).bit_length())):
        if len(hashes) >> bit & 1:
            found.append(full_root(hashes[start : start + (1 << bit)]))
            start += 1 << bit
    return found


def fold(found: Iterable[bytes]) -> bytes:
    """Return the tree's root over its peaks, which come largest first; none are the empty tree."""
    root: bytes | None = None
    for peak in reversed(list(found)):
        root = peak if root is None else node_hash(peak, root)
    return EMPTY_ROOT if root is None else root


def root_of(leaf_hashes: Sequence[bytes]) -> bytes:
    """Return the root of the tree over these leaf hashes, all of which are in memory."""
    return fold(peaks(leaf_hashes))


def verify_inclusion(
    *, leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes
) -> None:
    """Return if the leaf hash is at `index` in the tree of `size` leaves with this root.

    Raises: ProofFailed.
    """
    if not 0 <= index < size:
        raise ProofFailed(f"leaf {index} is not in a tree of {size}")
    at, last, found = index, size - 1, leaf
    for step in proof:
        if last == 0:
            raise ProofFailed("the inclusion proof is too long")
        if at & 1 or at == last:
            found = node_hash(step, found)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            found = node_hash(found, step)
        at, last = at >> 1, last >> 1
    if last:
        raise ProofFailed("the inclusion proof is too short")
    if found != root:
        raise ProofFailed(f"the inclusion proof of leaf {index} doesn't lead to the root")


def verify_consistency(
    *, old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]
) -> None:
    """Return if the tree of `new` leaves only appended to the tree of `old` leaves.

    Raises: ProofFailed.
    """
    if not 0 <= old <= new:
        raise ProofFailed(f"a tree of {old} can't have grown into one of {new}")
    if old in (0, new):
        _verify_trivial(old=old, new=new, old_root=old_root, new_root=new_root, proof=proof)
        return
    steps = list(proof) if old & (old - 1) else [old_root, *proof]
    if not steps:
        raise ProofFailed("the consistency proof is empty")
    at, last = old - 1, new - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    was = found = steps[0]
    for step in steps[1:]:
        if last == 0:
            raise ProofFailed("the consistency proof is too long")
        if at & 1 or at == last:
            was, found = node_hash(step, was), node_hash(step, found)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            found = node_hash(found, step)
        at, last = at >> 1, last >> 1
    if last:
        raise ProofFailed("the consistency proof is too short")
    if was != old_root or found != new_root:
        raise ProofFailed(f"the tree of {new} is no continuation of the tree of {old}")


def _verify_trivial(
    *, old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]
) -> None:
    if proof:
        raise ProofFailed("nothing is to be proven here, but there is a proof")
    if old == 0 and old_root != EMPTY_ROOT:
        raise ProofFailed("the empty tree has another root")
    if old == new and old_root != new_root:
        raise ProofFailed(f"two trees of {new} have different roots")
