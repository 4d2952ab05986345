"""Signing: an authority's key, a subject's key, and the certificate that one makes of the other.

No settings, no files, no clock here.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    SSHCertificateBuilder,
    SSHCertificateType,
    load_ssh_private_key,
    load_ssh_public_key,
)

from approvals.connectors.protocol import PermanentError

SHORTEST_RSA_BITS = 2048
_KINDS = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "ssh-rsa",
)
_NOT_A_KEY = (
    "The secret must be the OpenSSH private key of the certificate authority, without a "
    "passphrase: ssh-keygen -t ed25519 -f user_ca."
)

PrivateKey = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
PublicKey = ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey | rsa.RSAPublicKey


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority."""

    _key: PrivateKey = field(repr=False)

    @classmethod
    def read(cls, secret: str | None) -> Authority:
        """Raises: PermanentError, which repeats nothing of the secret."""
        if not secret:
            raise PermanentError(_NOT_A_KEY)
        try:
            key = load_ssh_private_key(secret.strip().encode() + b"\n", password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise PermanentError(_NOT_A_KEY) from None
        if isinstance(key, rsa.RSAPrivateKey) and key.key_size < SHORTEST_RSA_BITS:
            raise PermanentError(f"The authority's RSA key is under {SHORTEST_RSA_BITS} bits.")
        if not isinstance(key, PrivateKey):
            raise PermanentError("The authority's key must be ed25519, ECDSA or RSA.")
        return cls(key)

    @property
    def line(self) -> str:
        """The public key, as `TrustedUserCAKeys` takes it."""
        return _line(self._key.public_key())

    @property
    def blob(self) -> bytes:
        """The public key in SSH's wire form."""
        return base64.b64decode(self.line.split()[1])

    @property
    def fingerprint(self) -> str:
        """As ssh-keygen -l shows it."""
        return fingerprint(self.blob)

    def sign(
        self,
        key: PublicKey,
        *,
        serial: int,
        key_id: str,
        principals: Sequence[str],
        valid_from: datetime,
        valid_until: datetime,
        critical_options: Mapping[str, str],
        extensions: Sequence[str],
    ) -> str:
        """Return a user certificate as one line, good from and until those whole seconds."""
        builder = (
            SSHCertificateBuilder()
            .public_key(key)
            .serial(serial)
            .type(SSHCertificateType.USER)
            .key_id(key_id.encode())
            .valid_principals([principal.encode() for principal in principals])
            .valid_after(int(valid_from.timestamp()))
            .valid_before(int(valid_until.timestamp()))
        )
        for name, value in sorted(critical_options.items()):
            builder = builder.add_critical_option(name.encode(), value.encode())
        for name in sorted(set(extensions)):
            builder = builder.add_extension(name.encode(), b"")
        return builder.sign(self._key).public_bytes().decode()


@dataclass(frozen=True, slots=True)
class SubjectKey:
    """A public key that a certificate can be made for."""

    key: PublicKey
    kind: str
    """As OpenSSH's key file is named: ed25519, ecdsa, rsa."""

    @classmethod
    def read(cls, line: str) -> SubjectKey:
        """Raises: PermanentError."""
        written = line.split()
        kind = written[0] if written else ""
        if kind.startswith("sk-"):
            # The library reads these as plain keys, and would sign what no token can use.
            raise PermanentError(
                "The subject's newest SSH key lives in a security token, which this connector "
                "can't certify: add an ed25519 key under Settings → SSH keys."
            )
        key = None
        if kind in _KINDS:  # and no certificate, which the library would read as its key
            with suppress(ValueError, UnsupportedAlgorithm):
                key = load_ssh_public_key(" ".join(written[:2]).encode())
        if isinstance(key, rsa.RSAPublicKey) and key.key_size < SHORTEST_RSA_BITS:
            raise PermanentError(
                f"The subject's newest SSH key is RSA under {SHORTEST_RSA_BITS} bits: add an "
                "ed25519 key under Settings → SSH keys."
            )
        if isinstance(key, ed25519.Ed25519PublicKey):
            return cls(key, "ed25519")
        if isinstance(key, ec.EllipticCurvePublicKey):
            return cls(key, "ecdsa")
        if isinstance(key, rsa.RSAPublicKey):
            return cls(key, "rsa")
        raise PermanentError(
            "The subject's newest SSH key can't be certified: add an ed25519 key under "
            "Settings → SSH keys."
        )

    @property
    def fingerprint(self) -> str:
        """As ssh-keygen -l shows it."""
        return fingerprint(base64.b64decode(_line(self.key).split()[1]))


def fingerprint(blob: bytes) -> str:
    """Return the SHA-256 fingerprint of a public key, as OpenSSH writes it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def _line(key: PublicKey) -> str:
    return key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
