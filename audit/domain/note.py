"""Signed notes: text, an empty line, one signature line for each key.

Lives here: the format, verifier keys (vkeys), plain Ed25519 signatures (type 01), and what a
verifier must do with several signatures. Doesn't live here: what a checkpoint's text says
(`checkpoint`), cosignatures (`cosignature`), where a private key is kept: a `Signer` may ask a KMS.

Source: C2SP signed-note 1.0.0; RFC 8032.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from audit.domain import lines
from audit.domain.lines import Malformed

ED25519 = 0x01
ED25519_BYTES = 32
NOTE_BYTES_MOST = 1_000_000
SIGNATURES_MOST = 100
_DASH = "— "
_HEX_ID = re.compile(r"[0-9a-f]{8}")


class BadSignature(ValueError):
    """A signature line bears a known key's name and id but isn't that key's signature."""


class Untrusted(ValueError):
    """No signature of a note is by a key that the reader knows."""


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature line: whose, and the bytes after the four of the key id."""

    name: str
    key_id: bytes
    value: bytes

    def line(self) -> str:
        """Return the line, with its newline."""
        return f"{_DASH}{self.name} {lines.encode(self.key_id + self.value)}\n"


@dataclass(frozen=True, slots=True)
class Note:
    """A note as it was read; nothing about it is verified yet."""

    text: bytes
    signatures: tuple[Signature, ...]

    def encode(self) -> bytes:
        """Return the note's bytes."""
        return self.text + b"\n" + "".join(each.line() for each in self.signatures).encode()


class Key(Protocol):
    """A public key that verifies notes."""

    @property
    def name(self) -> str:
        """The key's name; a log's is its origin."""
        ...

    @property
    def key_id(self) -> bytes:
        """The four bytes that stand before its signatures."""
        ...

    @property
    def public(self) -> bytes:
        """The public key proper."""
        ...

    def verifies(self, *, text: bytes, value: bytes) -> bool:
        """Return whether value is this key's signature on the note's text."""
        ...


class Signer(Protocol):
    """Whatever signs: a key in memory, a command, a KMS."""

    @property
    def name(self) -> str:
        """The key's name; a log's is its origin."""
        ...

    @property
    def key_id(self) -> bytes:
        """The four bytes that stand before its signatures."""
        ...

    def sign(self, text: bytes) -> bytes:
        """Return the signature on the note's text."""
        ...


# -- keys


def key_id(*, name: str, kind: int, public: bytes) -> bytes:
    """Return the four bytes that name a key beside its name."""
    return sha256(name.encode() + b"\n" + bytes([kind]) + public).digest()[:4]


def check_name(name: str) -> None:
    """Return if this may be a key's name: no spaces of any script, no plus, no control characters.

    Raises: Malformed.
    """
    if not name or "+" in name or any(c.isspace() or c < " " for c in name):
        raise Malformed(f"{name[:80]!r} can't be a key's name")
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise Malformed(f"{name[:80]!r} can't be a key's name") from error


def write_vkey(*, name: str, kind: int, public: bytes) -> str:
    """Return a public key as `name+id+base64`."""
    check_name(name)
    identity = key_id(name=name, kind=kind, public=public).hex()
    return f"{name}+{identity}+{lines.encode(bytes([kind]) + public)}"


def read_vkey(vkey: str) -> tuple[str, int, bytes]:
    """Return a vkey's name, signature type and public key.

    Raises: Malformed, also where the id isn't the one that the key has.
    """
    parts = vkey.split("+", 2)
    if len(parts) != 3:
        raise Malformed("a verifier key is name+id+base64")
    name, identity, encoded = parts
    check_name(name)
    data = lines.decode(encoded)
    if not data:
        raise Malformed(f"the verifier key of {name} is empty")
    if not _HEX_ID.fullmatch(identity):
        raise Malformed(f"the id of the verifier key of {name} is not 8 lower-case hex digits")
    if bytes.fromhex(identity) != key_id(name=name, kind=data[0], public=data[1:]):
        raise Malformed(f"the id of the verifier key of {name} is not that key's")
    return name, data[0], data[1:]


@dataclass(frozen=True, slots=True)
class LogKey:
    """An Ed25519 key (type 01), as logs have."""

    name: str
    public: bytes

    def __post_init__(self) -> None:
        check_name(self.name)
        if len(self.public) != ED25519_BYTES:
            raise Malformed(f"an Ed25519 key has {ED25519_BYTES} bytes, not {len(self.public)}")

    @property
    def key_id(self) -> bytes:
        """Return the key's id."""
        return key_id(name=self.name, kind=ED25519, public=self.public)

    @property
    def vkey(self) -> str:
        """Return the key's text form."""
        return write_vkey(name=self.name, kind=ED25519, public=self.public)

    def verifies(self, *, text: bytes, value: bytes) -> bool:
        """Return whether value is this key's signature on the text."""
        return verifies_ed25519(public=self.public, message=text, value=value)


def verifies_ed25519(*, public: bytes, message: bytes, value: bytes) -> bool:
    """Return whether value is the Ed25519 signature of message."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(value, message)
    except (InvalidSignature, ValueError):
        return False
    return True


class LogSigner:
    """An Ed25519 private key (type 01) in memory, made of its 32-byte seed."""

    def __init__(self, *, name: str, seed: bytes) -> None:
        self._private = Ed25519PrivateKey.from_private_bytes(seed)
        self.key = LogKey(name, self._private.public_key().public_bytes_raw())
        self.name = name
        self.key_id = self.key.key_id

    def sign(self, text: bytes) -> bytes:
        """Return the signature on the text."""
        return self._private.sign(text)


# -- notes


def sign(*, text: bytes, signers: Iterable[Signer]) -> bytes:
    """Return the note of a text that ends in a newline, signed by each signer in turn.

    Raises: Malformed for a text that a note can't hold.
    """
    made = tuple(Signature(each.name, each.key_id, each.sign(text)) for each in signers)
    message = Note(text, made).encode()
    read(message)
    return message


def read(message: bytes) -> Note:
    """Return a note's parts; nothing is verified.

    Raises: Malformed for anything but the one spelling that the format has.
    """
    if len(message) > NOTE_BYTES_MOST:
        raise Malformed(f"a note of {len(message)} bytes is too long")
    whole = lines.utf8(message)
    if any(c < " " and c != "\n" for c in whole):
        raise Malformed("a note has no control characters but newlines")
    text, blank, rest = whole.rpartition("\n\n")
    if not blank or not rest:
        raise Malformed("a note is a text, an empty line and signature lines")
    if not rest.endswith("\n"):
        raise Malformed("a note ends in one newline")
    found = rest[:-1].split("\n")
    if len(found) > SIGNATURES_MOST:
        raise Malformed(f"a note of {len(found)} signatures has too many")
    return Note((text + "\n").encode(), tuple(map(read_signature, found)))


def read_signature(line: str) -> Signature:
    """Return the parts of one signature line, which is given without its newline.

    Raises: Malformed.
    """
    parts = line.removeprefix(_DASH).split(" ")
    if not line.startswith(_DASH) or len(parts) != 2:
        raise Malformed(f"{line[:80]!r} is no signature line")
    name, encoded = parts
    check_name(name)
    data = lines.decode(encoded)
    if len(data) < 5:
        raise Malformed(f"the signature of {name} is too short")
    return Signature(name, data[:4], data[4:])


def verified(*, note: Note, keys: Sequence[Key]) -> list[tuple[Key, Signature]]:
    """Return the known keys that signed, with their signatures; unknown keys are ignored.

    Raises: BadSignature for a known key's line that isn't its signature.
    """
    known = {(key.name, key.key_id): key for key in keys}
    if len(known) != len({(key.name, key.public, key.key_id) for key in keys}):
        raise Malformed("two of the given keys have one name and one id")
    found = []
    for signature in note.signatures:
        key = known.get((signature.name, signature.key_id))
        if key is None:
            continue
        if not key.verifies(text=note.text, value=signature.value):
            raise BadSignature(f"the signature of {key.name} is not by the key of that name")
        found.append((key, signature))
    return found


def open_verified(
    *, message: bytes, keys: Sequence[Key]
) -> tuple[Note, list[tuple[Key, Signature]]]:
    """Return a note that at least one of the keys signed, and the known keys' signatures.

    Raises: Malformed, BadSignature, Untrusted.
    """
    note = read(message)
    found = verified(note=note, keys=keys)
    if not found:
        raise Untrusted("no signature is by a known key")
    return note, found
