"""Entries: what a leaf of the log says, as canonical bytes without any personal content.

An entry is canonical JSON with exactly these members:
`{"actor", "at", "fields", "id", "model", "op", "prev", "rev", "type", "v": 1}`. Its bytes are
authoritative. `prev` is the SHA-256 (hex) of the previous entry's bytes of the same object (model
and id), "" for the object's first; `rev` counts from 1 without gaps. `fields` maps a name to the
commitment of its value. Values and salts are kept elsewhere, and in exports as payload lines.

Types: `rev`, a revision of an object; `erase`, by which the values of the named fields of an
object's revisions up to `rev` were erased (its `rev` is that of the object's newest revision, and
its commitments are ""); `heartbeat`; `succession`, the first leaf of a log with a new key, whose
field `checkpoint` is the SHA-256 of the old log's last checkpoint text.

Source: RFC 8785, RFC 2104.
"""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from json.encoder import encode_basestring as _quoted
from os import urandom
from typing import Any
from uuid import UUID

from audit.domain import canonical
from audit.domain.lines import Malformed
from audit.domain.tiles import ENTRY_BYTES_MOST

VERSION = 1
REVISION = "rev"
ERASURE = "erase"
HEARTBEAT = "heartbeat"
SUCCESSION = "succession"
#: The actor of what the portal does by itself.
SYSTEM = "system"
SALT_BYTES = 32

_MEMBERS = {"actor", "at", "fields", "id", "model", "op", "prev", "rev", "type", "v"}
_WORD = re.compile(r"[a-z][a-z0-9_.]{0,99}")
_FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]{0,99}")
_IDENTITY = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,200}")
_HASH = re.compile(r"[0-9a-f]{64}")
_AT = "%Y-%m-%dT%H:%M:%S.%fZ"
_END = re.compile(rb'"rev":([1-9][0-9]{0,17}),"type":"[a-z]+","v":1\}\Z')


class CommitmentMismatch(ValueError):
    """A value and its salt aren't what an entry committed to."""


def stamp(at: datetime) -> str:
    """Return a moment as entries spell it: UTC, six digits of a second, Z.

    Raises: Malformed for a moment without a time zone.
    """
    if at.tzinfo is None:
        raise Malformed("an entry's moment has a time zone")
    return at.astimezone(UTC).strftime(_AT).rjust(27, "0")


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry. `actor` is a person's random UUID, or "system"; `at` comes from `stamp`."""

    model: str
    id: str
    rev: int
    prev: str
    op: str
    actor: str
    at: str
    type: str = REVISION
    fields: Mapping[str, str] = field(default_factory=dict)

    def encode(self) -> bytes:
        """Return the entry's bytes.

        Raises: Malformed for what an entry can't say, or more than 65,535 bytes.
        """
        self._check()
        data = canonical.dumps(
            {
                "v": VERSION,
                "type": self.type,
                "model": self.model,
                "id": self.id,
                "rev": self.rev,
                "prev": self.prev,
                "op": self.op,
                "actor": self.actor,
                "at": self.at,
                "fields": dict(self.fields),
            }
        )
        if len(data) > ENTRY_BYTES_MOST:
            raise Malformed(f"an entry has at most {ENTRY_BYTES_MOST} bytes, not {len(data)}")
        return data

    def _check(self) -> None:
        for name in ("model", "op", "type"):
            if not _WORD.fullmatch(getattr(self, name)):
                raise Malformed(f"{getattr(self, name)[:80]!r} can't be an entry's {name}")
        if not _IDENTITY.fullmatch(self.id):
            raise Malformed(f"{self.id[:80]!r} can't be an object's id")
        if not 1 <= self.rev < 2**53:
            raise Malformed(f"{self.rev} can't be a revision's number")
        if self.prev and not _HASH.fullmatch(self.prev):
            raise Malformed("prev is a SHA-256 in hex, or empty")
        if bool(self.prev) is (self.rev == 1 and self.type != ERASURE):
            raise Malformed("an object's first entry has no prev, every other has one")
        _check_actor(self.actor)
        _check_at(self.at)
        self._check_fields()

    def _check_fields(self) -> None:
        erases = self.type == ERASURE
        if erases and not self.fields:
            raise Malformed("an erasure names the fields that it erases")
        for name, commitment in self.fields.items():
            if not _FIELD.fullmatch(name):
                raise Malformed(f"{name[:80]!r} can't be a field's name")
            if not (commitment == "" if erases else _HASH.fullmatch(commitment)):
                raise Malformed(f"the commitment of {name} is not one")


def _check_actor(actor: str) -> None:
    if actor == SYSTEM:
        return
    try:
        same = str(UUID(actor)) == actor
    except ValueError:
        same = False
    if not same:
        raise Malformed(f'an actor is a UUID or "{SYSTEM}", not {actor[:80]!r}')


def _check_at(at: str) -> None:
    try:
        same = stamp(datetime.strptime(at, _AT).replace(tzinfo=UTC)) == at
    except ValueError:
        same = False
    if not same:
        raise Malformed(f"{at[:80]!r} is not how entries spell a moment")


def read(data: bytes) -> Entry:
    """Return what an entry's bytes say, if they are exactly what `encode` makes of it.

    Raises: Malformed.
    """
    try:
        found: Any = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Malformed("the entry is not JSON") from error
    if not isinstance(found, dict) or set(found) != _MEMBERS or found["v"] != VERSION:
        raise Malformed("the entry does not have an entry's members")
    texts = {name: found[name] for name in _MEMBERS - {"v", "rev", "fields"}}
    fields = found["fields"]
    if (
        not isinstance(fields, dict)
        or type(found["rev"]) is not int
        or not all(isinstance(each, str) for each in [*texts.values(), *fields.values()])
    ):
        raise Malformed("a member of the entry is of the wrong kind")
    entry = Entry(rev=found["rev"], fields=fields, **texts)
    if entry.encode() != data:
        raise Malformed("the entry is not canonical")
    return entry


def revision(data: bytes) -> int | None:
    """Return the revision that bytes end in as entries do, whatever else is wrong with them."""
    found = _END.search(data)
    return int(found[1]) if found else None


def digest(data: bytes) -> str:
    """Return what the object's next entry must have as its `prev`."""
    return sha256(data).hexdigest()


def succession(*, origin: str, old_checkpoint: bytes, at: datetime) -> Entry:
    """Return the first entry of a log with a new key: it commits to the old log's end.

    `old_checkpoint` is the text of the old log's last checkpoint, without its signatures.
    """
    return Entry(
        type=SUCCESSION,
        model="log",
        id=origin,
        rev=1,
        prev="",
        op="succeed",
        actor=SYSTEM,
        at=stamp(at),
        fields={"checkpoint": sha256(old_checkpoint).hexdigest()},
    )


_INNER = bytes(each ^ 0x36 for each in range(256))
_OUTER = bytes(each ^ 0x5C for each in range(256))
_INNER_REST = b"\x36" * 32
_OUTER_REST = b"\x5c" * 32
_PLAIN_IDENTITY = re.compile(r"[A-Za-z0-9_.:@/+-]{1,200}")


def assemble(
    *,
    model: str,
    id: str,
    rev: int,
    prev: str,
    op: str,
    actor: str,
    at: datetime,
    values: Mapping[str, Any],
) -> tuple[bytes, bytes]:
    """Return a revision's entry with fresh commitments to these values, and the salts.

    The salts stand in the order of the fields' names. The bytes are those that `Entry.encode` makes
    (a test compares them); this is the short way to them, since every record that is ever written
    goes through here. `model`, `op` and the names are the code's own words.
    Raises: Malformed for an id that is no plain word, a value without canonical form, or an entry
    of more than 65,535 bytes.
    """
    if not _PLAIN_IDENTITY.fullmatch(id):
        raise Malformed(f"{id[:80]!r} can't be an object's id")
    names = sorted(values)
    salts = urandom(SALT_BYTES * len(names))
    inner, outer = salts.translate(_INNER), salts.translate(_OUTER)
    fields = []
    at_salt = 0
    for name in names:
        value = values[name]
        kind = type(value)
        if kind is str:
            text = _quoted(value)
        elif kind is int and -(2**53) < value < 2**53:
            text = str(value)
        else:
            text = _canonical(value).decode()
        end = at_salt + SALT_BYTES
        # HMAC by its definition (RFC 2104): three times as fast here as the library's call.
        within = sha256(inner[at_salt:end] + _INNER_REST + f"{name}\0{text}".encode()).digest()
        digest = sha256(outer[at_salt:end] + _OUTER_REST + within).hexdigest()
        fields.append(f'"{name}":"{digest}"')
        at_salt = end
    data = (
        f'{{"actor":"{actor}","at":"{at.astimezone(UTC).isoformat(timespec="microseconds")[:26]}Z",'
        f'"fields":{{{",".join(fields)}}},"id":"{id}","model":"{model}","op":"{op}",'
        f'"prev":"{prev}","rev":{rev},"type":"{REVISION}","v":{VERSION}}}'
    ).encode()
    if len(data) > ENTRY_BYTES_MOST:
        raise Malformed(f"an entry has at most {ENTRY_BYTES_MOST} bytes, not {len(data)}")
    return data, salts


# -- commitments and payloads


def commitment(*, name: str, value: Any, salt: bytes) -> str:
    """Return the commitment to a field's value: HMAC-SHA256, in hex.

    The value is made of texts, whole numbers below 2^53, booleans, None, lists and dicts.
    Raises: Malformed for floats, larger numbers, lone surrogates, or a salt that isn't 32 bytes.
    """
    if len(salt) != SALT_BYTES:
        raise Malformed(f"a salt has {SALT_BYTES} bytes, not {len(salt)}")
    if not _FIELD.fullmatch(name):
        raise Malformed(f"{name[:80]!r} can't be a field's name")
    return hmac.new(salt, name.encode() + b"\x00" + _canonical(value), sha256).hexdigest()


def _canonical(value: Any) -> bytes:
    if _has_float(value):
        raise Malformed("a committed value has no floats")
    try:
        return canonical.dumps(value)
    except ValueError as error:
        raise Malformed(f"the value has no canonical form: {error}") from error


def _has_float(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_has_float, value.values()))
    if isinstance(value, list | tuple):
        return any(map(_has_float, value))
    return isinstance(value, float)


def verify_value(*, entry: Entry, name: str, value: Any, salt: bytes) -> None:
    """Return if the entry committed to this value of the field.

    Raises: CommitmentMismatch, Malformed.
    """
    if entry.type == ERASURE or name not in entry.fields:
        raise CommitmentMismatch(f"the entry has no commitment to {name}")
    if not hmac.compare_digest(commitment(name=name, value=value, salt=salt), entry.fields[name]):
        raise CommitmentMismatch(f"{name} is not what the entry committed to")


def payload_line(*, leaf: int, fields: Mapping[str, tuple[Any, bytes]]) -> bytes:
    """Return one line of an export's `payloads.jsonl`: a leaf's values with their salts.

    Lines are ordered by leaf; erased fields are left out, and a leaf without any has no line.
    Raises: Malformed.
    """
    held = {name: {"salt": salt.hex(), "value": value} for name, (value, salt) in fields.items()}
    return _canonical({"fields": held, "leaf": leaf}) + b"\n"
