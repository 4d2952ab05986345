"""Cosignatures: a witness says at which time a checkpoint was the newest that it had seen.

Lives here: cosignature/v1 (Ed25519, type 04) and ML-DSA-44 (type 06), and reading any vkey that
this product accepts. ML-DSA-44 needs a `cryptography` that has it (47 and newer, with a backend
that does): `HAS_ML_DSA` says so, and `read_key` refuses such a key with that reason.

Source: C2SP tlog-cosignature 1.1.0-rc.1; FIPS 204.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.domain import checkpoint as checkpoints
from audit.domain import note
from audit.domain.lines import Malformed

ED25519 = 0x04
ML_DSA_44 = 0x06
SIGNATURE_BYTES = {ED25519: 64, ML_DSA_44: 2420}
KEY_BYTES = {ED25519: 32, ML_DSA_44: 1312}
_TIME_BYTES = 8
_TIME_MOST = 2**63 - 1
_NAME_BYTES_MOST = 255

_mldsa: Any = None
try:
    from cryptography.hazmat.primitives.asymmetric import mldsa as _found

    _found.MLDSA44PrivateKey.from_seed_bytes(bytes(32))
    _mldsa = _found
except (ImportError, AttributeError, UnsupportedAlgorithm):  # pragma: no cover
    pass

HAS_ML_DSA = _mldsa is not None


class Unsupported(ValueError):
    """A key of a kind that the installed `cryptography` can't verify."""


def message(*, kind: int, name: str, time_seconds: int, text: bytes) -> bytes:
    """Return what a cosigner of this kind and name signs for a checkpoint's text at a time.

    Raises: Malformed.
    """
    if not 0 <= time_seconds <= _TIME_MOST:
        raise Malformed(f"{time_seconds} is no time of a cosignature")
    if kind == ED25519:
        return b"cosignature/v1\ntime %d\n" % time_seconds + text
    said = checkpoints.read_text(text)
    cosigner, origin = name.encode(), said.origin.encode()
    if not 0 < len(cosigner) <= _NAME_BYTES_MOST or len(origin) > _NAME_BYTES_MOST:
        raise Malformed("a name in an ML-DSA-44 cosignature has at most 255 bytes")
    return b"".join(
        (
            b"subtree/v1\n\x00",
            bytes([len(cosigner)]) + cosigner,
            time_seconds.to_bytes(8, "big"),
            bytes([len(origin)]) + origin,
            (0).to_bytes(8, "big"),
            said.size.to_bytes(8, "big"),
            said.root,
        )
    )


def split(value: bytes) -> tuple[int, bytes]:
    """Return a cosignature's time, in seconds since 1970, and the signature proper.

    Raises: Malformed.
    """
    if len(value) - _TIME_BYTES not in SIGNATURE_BYTES.values():
        raise Malformed(f"a cosignature can't have {len(value)} bytes")
    time_seconds = int.from_bytes(value[:_TIME_BYTES], "big")
    if time_seconds > _TIME_MOST:
        raise Malformed("the cosignature's time is beyond 2^63 - 1")
    return time_seconds, value[_TIME_BYTES:]


@dataclass(frozen=True, slots=True)
class CosignerKey:
    """A witness's public key of either kind.

    Raises: Malformed, Unsupported.
    """

    name: str
    public: bytes
    kind: int = ED25519

    def __post_init__(self) -> None:
        note.check_name(self.name)
        if self.kind not in KEY_BYTES:
            raise Malformed(f"the key of {self.name} has type {self.kind:02x}: not a cosigner's")
        if len(self.public) != KEY_BYTES[self.kind]:
            raise Malformed(f"the key of {self.name} has {len(self.public)} bytes")
        if self.kind == ML_DSA_44 and not HAS_ML_DSA:
            raise Unsupported(
                f"the key of {self.name} is ML-DSA-44, which the installed cryptography lacks: "
                "install cryptography 47 or newer"
            )

    @property
    def key_id(self) -> bytes:
        """Return the key's id."""
        return note.key_id(name=self.name, kind=self.kind, public=self.public)

    @property
    def vkey(self) -> str:
        """Return the key's text form."""
        return note.write_vkey(name=self.name, kind=self.kind, public=self.public)

    def verifies(self, *, text: bytes, value: bytes) -> bool:
        """Return whether value is this key's cosignature of a checkpoint's text."""
        try:
            time_seconds, signature = split(value)
            signed = message(kind=self.kind, name=self.name, time_seconds=time_seconds, text=text)
        except Malformed:
            return False
        if len(signature) != SIGNATURE_BYTES[self.kind]:
            return False
        if self.kind == ED25519:
            return note.verifies_ed25519(public=self.public, message=signed, value=signature)
        try:
            _mldsa.MLDSA44PublicKey.from_public_bytes(self.public).verify(signature, signed)
        except (InvalidSignature, ValueError):
            return False
        return True


class Cosigner:
    """A private key that cosigns at a given time, made of its 32-byte seed."""

    def __init__(self, *, name: str, seed: bytes, time_seconds: int, kind: int = ED25519) -> None:
        self._private: Any
        if kind == ML_DSA_44:
            if not HAS_ML_DSA:
                raise Unsupported("the installed cryptography has no ML-DSA-44")
            self._private = _mldsa.MLDSA44PrivateKey.from_seed_bytes(seed)
        else:
            self._private = Ed25519PrivateKey.from_private_bytes(seed)
        self.key = CosignerKey(name, self._private.public_key().public_bytes_raw(), kind)
        self.name = name
        self.key_id = self.key.key_id
        self.time_seconds = time_seconds

    def sign(self, text: bytes) -> bytes:
        """Return the cosignature of a checkpoint's text."""
        signed = message(
            kind=self.key.kind, name=self.name, time_seconds=self.time_seconds, text=text
        )
        signature: bytes = self._private.sign(signed)
        return self.time_seconds.to_bytes(_TIME_BYTES, "big") + signature


def read_key(vkey: str) -> note.LogKey | CosignerKey:
    """Return the key that a vkey of any accepted kind holds.

    Raises: Malformed, Unsupported.
    """
    name, kind, public = note.read_vkey(vkey)
    if kind == note.ED25519:
        return note.LogKey(name, public)
    return CosignerKey(name, public, kind)
