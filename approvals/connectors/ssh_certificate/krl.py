"""OpenSSH's key revocation list: read, changed and written, byte by byte.

Only lists of serial numbers are ours. Whatever else a list holds (revoked keys, ranges, key ids,
other authorities) is kept as it is: operators revoke with `ssh-keygen -k -u` in the same file.

Source: PROTOCOL.krl of OpenSSH (format version 1).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

MAGIC = b"SSHKRL\n\0"
FORMAT_VERSION = 1

_CERTIFICATES = 1
_SIGNATURE = 4
_SERIAL_LIST = 0x20
_SERIAL_RANGE = 0x21
_SERIAL_BITMAP = 0x22
_LARGEST = 2**64 - 1


class NotAKrl(ValueError):
    """The file is no revocation list that may be changed; says why."""


@dataclass(slots=True)
class _Authority:
    """What is revoked of one authority's certificates."""

    serials: set[int] = field(default_factory=set)
    others: list[tuple[int, bytes]] = field(default_factory=list)


@dataclass(slots=True)
class Krl:
    """A revocation list. An authority is its public key in SSH's wire form."""

    version: int = 0
    comment: bytes = b""
    _authorities: dict[bytes, _Authority] = field(default_factory=dict)
    _others: list[tuple[int, bytes]] = field(default_factory=list)

    @classmethod
    def parse(cls, data: bytes) -> Krl:
        """Read a list. Raises: NotAKrl."""
        reader = _Reader(data)
        if reader.take(len(MAGIC)) != MAGIC or reader.uint32() != FORMAT_VERSION:
            raise NotAKrl("it does not begin as a revocation list of format 1 does")
        krl = cls(version=reader.uint64())
        reader.take(16)  # when it was made, and flags of which there are none yet
        reader.string()  # reserved
        krl.comment = reader.string()
        for kind, content in reader.sections():
            if kind == _CERTIFICATES:
                krl._read_certificates(_Reader(content))
            else:
                krl._others.append((kind, content))
        return krl

    def _read_certificates(self, reader: _Reader) -> None:
        authority = self._authorities.setdefault(reader.string(), _Authority())
        reader.string()  # reserved
        for kind, content in reader.sections():
            if kind == _SERIAL_LIST:
                if len(content) % 8:
                    raise NotAKrl("a list of serial numbers is cut off")
                authority.serials.update(number for (number,) in struct.iter_unpack(">Q", content))
            else:
                authority.others.append((kind, content))

    def revoke(self, *, authority: bytes, serial: int) -> None:
        """The certificates of this serial number are revoked."""
        if not 0 < serial <= _LARGEST:
            raise ValueError("OpenSSH revokes serial numbers from 1 to 2**64 - 1.")
        self._authorities.setdefault(authority, _Authority()).serials.add(serial)

    def drop(self, *, authority: bytes, serial: int) -> None:
        """The serial number is in no list any more, as its certificates have expired."""
        if authority in self._authorities:
            self._authorities[authority].serials.discard(serial)

    def revokes(self, *, authority: bytes, serial: int) -> bool:
        """Whether certificates of this serial number are revoked, by a list, range or bitmap."""
        for key in (authority, b""):  # an empty key stands for every authority
            found = self._authorities.get(key)
            if found is not None and (
                serial in found.serials
                or any(_covers(kind, content, serial) for kind, content in found.others)
            ):
                return True
        return False

    def write(self, *, generated_at: int) -> bytes:
        """Return the file. `generated_at` is in seconds since 1970."""
        parts = [
            MAGIC,
            struct.pack(">IQQQ", FORMAT_VERSION, self.version, generated_at, 0),
            _string(b""),
            _string(self.comment),
        ]
        for key, authority in sorted(self._authorities.items()):
            sections = list(authority.others)
            if authority.serials:
                numbers = sorted(authority.serials)
                sections.insert(0, (_SERIAL_LIST, struct.pack(f">{len(numbers)}Q", *numbers)))
            if sections:
                content = _string(key) + _string(b"") + b"".join(map(_section, sections))
                parts.append(_section((_CERTIFICATES, content)))
        parts.extend(map(_section, self._others))
        return b"".join(parts)


def _covers(kind: int, content: bytes, serial: int) -> bool:
    reader = _Reader(content)
    if kind == _SERIAL_RANGE:
        return reader.uint64() <= serial <= reader.uint64()
    if kind == _SERIAL_BITMAP:
        offset = reader.uint64()
        bitmap = int.from_bytes(reader.string())
        return offset <= serial and bool(bitmap >> (serial - offset) & 1) if bitmap else False
    return False


def _string(content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + content


def _section(section: tuple[int, bytes]) -> bytes:
    kind, content = section
    return bytes([kind]) + _string(content)


class _Reader:
    """SSH's wire types, one after the other."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, count: int) -> bytes:
        taken = self._data[self._at : self._at + count]
        if len(taken) < count:
            raise NotAKrl("it is cut off")
        self._at += count
        return taken

    def uint32(self) -> int:
        return int.from_bytes(self.take(4))

    def uint64(self) -> int:
        return int.from_bytes(self.take(8))

    def string(self) -> bytes:
        return self.take(self.uint32())

    def sections(self) -> Iterator[tuple[int, bytes]]:
        """Yield what is left, section by section."""
        while self._at < len(self._data):
            kind = self.take(1)[0]
            if kind == _SIGNATURE:
                raise NotAKrl("it is signed, and a change would break the signature")
            yield kind, self.string()
