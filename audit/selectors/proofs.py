"""Proofs out of the sealed log: that an entry is in it, and that it only grew."""

from __future__ import annotations

from dataclasses import dataclass

from audit.domain import proof
from audit.models import Entry, Leaf, Log
from audit.selectors import log as reads
from audit.selectors import payloads, policies


class NoSuchLeaf(LookupError):
    """The log has no leaf of this index, or not yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where an entry is sealed; `log` and `index` are None while it waits for that."""

    entry: Entry
    log: Log | None
    index: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Proven:
    """One entry with all that shows its place in the log without the log.

    `proof` is a `.tlog-proof` file over `entry`, the entry's exact bytes; `payload` is its line of
    values and salts, None where nothing is left to show.
    """

    log: Log
    index: int
    entry: bytes
    proof: bytes
    payload: bytes | None


def of_leaf(*, log: Log, index: int) -> Proven:
    """Return the proof of one leaf against the newest checkpoint that the published policy accepts.

    Raises: NoSuchLeaf, reads.NoSuchTile for a log that is damaged, holders.PolicyUnreadable.
    """
    found = policies.newest_accepted(log, least=index + 1) if index >= 0 else None
    opened = payloads.read(log, start=index, count=1) if found else []
    if found is None or not opened:
        raise NoSuchLeaf(f"{log.origin} has no leaf {index}")
    checkpoint, message = found
    tree = reads.tree(log, size=checkpoint.size)
    made = proof.Proof(index, tuple(tree.inclusion(index=index)), message)
    return Proven(
        log=log,
        index=index,
        entry=opened[0].data,
        proof=made.encode(),
        payload=opened[0].payload(),
    )


def places(*, object_id: str, model: str = "") -> list[Place]:
    """Return where each entry of an object is, the first one first."""
    held = Entry.objects.filter(object_id=object_id)
    held = held.filter(model=model) if model else held
    made = list(held.order_by("id"))
    leaves = {
        leaf.entry_id: leaf
        for leaf in Leaf.objects.filter(entry_id__in=[e.pk for e in made]).select_related("log")
    }
    return [
        Place(
            entry=entry,
            log=leaves[entry.pk].log if entry.pk in leaves else None,
            index=leaves[entry.pk].index if entry.pk in leaves else None,
        )
        for entry in made
    ]


def consistency(*, log: Log, old: int, new: int) -> list[bytes]:
    """Return the proof that the log of `new` leaves only appended to that of `old`.

    Raises: ValueError for sizes that the log hasn't had or that don't follow each other.
    """
    newest = reads.newest_checkpoint(log)
    if newest is None or not 0 <= old <= new <= newest.size:
        raise ValueError(f"{log.origin} has not grown from {old} to {new} leaves")
    return reads.tree(log, size=newest.size).consistency(old=old, new=new)


def root(*, log: Log, size: int) -> bytes:
    """Return the root that the log had when it was of this size. Raises: ValueError."""
    newest = reads.newest_checkpoint(log)
    if newest is None or not 0 <= size <= newest.size:
        raise ValueError(f"{log.origin} has not had {size} leaves")
    return reads.tree(log, size=newest.size).root(size)
