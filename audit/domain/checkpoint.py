"""Checkpoints: the signed statement that a log of some size has some root.

Source: C2SP tlog-checkpoint 1.0.0.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from audit.domain import lines, merkle, note
from audit.domain.lines import Malformed


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a checkpoint says: whose log, how many leaves, which root."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def text(self) -> bytes:
        """Return the note text.

        Raises: Malformed for values that a checkpoint can't say.
        """
        head = [self.origin, str(self.size), lines.encode(self.root), *self.extensions]
        text = "".join(f"{line}\n" for line in head).encode()
        if read_text(text) != self:
            raise Malformed("these values are no checkpoint")
        return text


def read_text(text: bytes) -> Checkpoint:
    """Return what a note text says as a checkpoint.

    Raises: Malformed.
    """
    found = lines.utf8(text).split("\n")
    if found.pop() != "":
        raise Malformed("a checkpoint's text ends in a newline")
    if len(found) < 3 or not all(found):
        raise Malformed("a checkpoint has at least three lines, none of them empty")
    origin, size, root, *extensions = found
    checkpoint = Checkpoint(origin, lines.decimal(size), lines.decode_hash(root), tuple(extensions))
    if checkpoint.size == 0 and checkpoint.root != merkle.EMPTY_ROOT:
        raise Malformed("a checkpoint of size 0 has the root of the empty tree")
    return checkpoint


def sign(*, checkpoint: Checkpoint, signers: Iterable[note.Signer]) -> bytes:
    """Return the checkpoint as a note; the log's own signer comes first.

    Raises: Malformed.
    """
    return note.sign(text=checkpoint.text(), signers=signers)


def read(message: bytes) -> tuple[Checkpoint, note.Note]:
    """Return what a checkpoint says and its note; nothing is verified.

    Raises: Malformed.
    """
    read_note = note.read(message)
    return read_text(read_note.text), read_note


def open_verified(*, message: bytes, log: note.Key, also: Sequence[note.Key] = ()) -> Checkpoint:
    """Return a checkpoint of this log's origin that its key signed.

    `also` are keys whose signatures must be right where they are present.
    Raises: Malformed, note.BadSignature, note.Untrusted.
    """
    checkpoint, read_note = read(message)
    if checkpoint.origin != log.name:
        raise note.Untrusted(f"the checkpoint is of {checkpoint.origin!r}, not of {log.name!r}")
    if log not in [key for key, _ in note.verified(note=read_note, keys=[log, *also])]:
        raise note.Untrusted(f"the checkpoint has no signature by {log.name}")
    return checkpoint


def cosigned(*, message: bytes, signatures: Iterable[note.Signature]) -> bytes:
    """Return a checkpoint with these signatures added, each name and key id once, newest winning.

    They are added as given: verify them first.
    """
    read_note = note.read(message)
    kept = {(each.name, each.key_id): each for each in read_note.signatures}
    for each in signatures:
        kept[each.name, each.key_id] = each
    return note.Note(read_note.text, tuple(kept.values())).encode()
