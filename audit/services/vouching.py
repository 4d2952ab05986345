"""What must stand behind an approved erasure before it is carried out.

Its rows can be inserted by whoever has the application's database role, so that alone they say
nothing. The sealer looks for both revisions' entries in the sealed log, holds the rows to them, has
other rooms say who the two people are, and waits: everybody who could have agreed is told
meanwhile, and each of them can withdraw it. The waiting time is counted from what triggers and the
sealer set, by the sealer's own setting.
"""

import uuid
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime

from django.conf import settings

from audit.domain import entries
from audit.domain.entries import SALT_BYTES
from audit.domain.lines import Malformed
from audit.models import Checkpoint, Entry, Erasure, Leaf, Salt
from audit.selectors import erasures as reads

#: Says what is wrong with the people of an erasure; nothing where they are whom it takes.
Voucher = Callable[[Erasure], Iterable[str]]

_vouchers: list[Voucher] = []


class Waits(Exception):
    """Nothing is wrong with it, but its time has not come: until when is unknown, or `due_at`."""

    def __init__(self, due_at: datetime | None) -> None:
        super().__init__(f"It is due at {due_at}." if due_at else "It is not sealed yet.")
        self.due_at = due_at


def by(voucher: Voucher) -> None:
    """Have this asked about the people of every erasure. Called at start-up."""
    if voucher not in _vouchers:
        _vouchers.append(voucher)


def objections(erasure_id: uuid.UUID, *, now: datetime) -> list[str]:
    """Return what is wrong with an approved erasure, one sentence for each; nothing when it is due.

    Raises: Waits.
    """
    revisions = reads.one(erasure_id)
    if [row.event for row in revisions] != [Erasure.Event.ASKED, Erasure.Event.APPROVED]:
        return ["Its revisions are not that it was asked for and approved."]
    asked, approved = revisions
    sealed_at = [_sealed(row) for row in (asked, approved)]
    found = [*_unlike(asked, None), *_unlike(approved, asked)]
    for voucher in _vouchers:
        found += voucher(approved)
    if found:
        return found
    if None in sealed_at:
        raise Waits(None)
    due_at = due(approved)
    if due_at is None or now < due_at:
        raise Waits(due_at)
    return []


def due(approved: Erasure) -> datetime | None:
    """Return when an approved erasure may be carried out: a time after the database recorded it."""
    at = approved.recorded_at
    return at + settings.ERASURE_WAIT if at is not None else None


def _entry(row: Erasure) -> Entry | None:
    object_id = str(row.erasure_id)
    return Entry.objects.filter(model="erasure", object_id=object_id, record_id=row.pk).first()


def _sealed(row: Erasure) -> int | None:
    """Return the leaf of a row's entry that a checkpoint covers."""
    entry = _entry(row)
    leaf = Leaf.objects.filter(entry=entry).first() if entry else None
    if leaf is None:
        return None
    covers = Checkpoint.objects.filter(log=leaf.log_id, size__gt=leaf.index).exists()
    return leaf.index if covers else None


def _unlike(row: Erasure, before: Erasure | None) -> Iterator[str]:
    """Yield what a row and its entry don't have in common."""
    named = f"Revision {row.revision}"
    entry = _entry(row)
    if entry is None:
        yield f"{named} has no entry in the ledger."
        return
    try:
        said = entries.read(bytes(entry.data))
    except Malformed:
        yield f"{named} has an entry in the ledger that is none."
        return
    claims = row.said_after(before, actor=row.actor_uid, previous=said.prev)
    if (said.type, said.model, said.id, said.rev, said.op, said.actor, said.at) != (
        claims.type, claims.model, claims.object_id, claims.revision, claims.operation,
        claims.actor, entries.stamp(claims.at),
    ):  # fmt: skip
        yield f"{named} is not what its entry in the ledger says."
        return
    if said.prev != (_digest(before) if before is not None else ""):
        yield f"{named} does not follow the entry of the one before."
    salt = Salt.objects.filter(pk=entry.pk).first()
    salts = bytes(salt.salts) if salt else b""
    if said.fields.keys() != claims.values.keys() or len(salts) != SALT_BYTES * len(said.fields):
        yield f"{named} does not have the fields of its entry."
        return
    for at, name in enumerate(sorted(said.fields)):
        own = salts[at * SALT_BYTES : (at + 1) * SALT_BYTES]
        try:
            entries.verify_value(entry=said, name=name, value=claims.values[name], salt=own)
        except (entries.CommitmentMismatch, Malformed):
            yield f"{named}: {name} is not what its entry committed to."


def _digest(row: Erasure) -> str | None:
    entry = _entry(row)
    return entries.digest(bytes(entry.data)) if entry else None
