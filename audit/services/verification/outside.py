"""Checkpoints that are held outside the database, and what it should be measured by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from audit.domain import checkpoint, note
from audit.domain.lines import Malformed
from audit.domain.note import LogKey


class Unusable(Exception):
    """Nothing can be said: there is no log, no such file, no such key."""


@dataclass(frozen=True, slots=True)
class Anchor:
    """What some log was at some time, and who says so."""

    origin: str
    size: int
    root: bytes
    source: str


@dataclass(frozen=True, slots=True)
class Given:
    """A checkpoint's file as it was read; nothing about it is verified yet."""

    source: str
    message: bytes
    checkpoint: checkpoint.Checkpoint


def read(path: Path) -> Given:
    """Return a checkpoint from a file. Raises: Unusable."""
    try:
        return parsed(f"the checkpoint in {path.name}", path.read_bytes())
    except OSError as error:
        raise Unusable(f"{path} can't be read: {error.strerror}.") from error
    except Malformed as error:
        raise Unusable(f"{path} is not a checkpoint: {error}.") from error


def parsed(source: str, message: bytes) -> Given:
    """Return a checkpoint's note, of which nothing is verified yet. Raises: Malformed."""
    return Given(source, message, checkpoint.read(message)[0])


def keys(vkeys: Sequence[str]) -> dict[str, LogKey]:
    """Return the keys of logs by their names. Raises: Unusable."""
    found: dict[str, LogKey] = {}
    for vkey in vkeys:
        try:
            name, kind, public = note.read_vkey(vkey.strip())
            if kind != note.ED25519:
                raise Malformed(f"its type is {kind}, and a log's is {note.ED25519}")
            found[name] = LogKey(name, public)
        except Malformed as error:
            raise Unusable(f"{vkey[:200]!r} is not a log's public key: {error}.") from error
    return found


def opened(given: Given, key: LogKey) -> Anchor | str:
    """Return a checkpoint as an anchor, or what is wrong with it."""
    try:
        said = checkpoint.open_verified(message=given.message, log=key)
    except (Malformed, note.BadSignature, note.Untrusted) as error:
        return f"{given.source} is not signed by the key of {key.name}: {error}"
    return Anchor(said.origin, said.size, said.root, given.source)
