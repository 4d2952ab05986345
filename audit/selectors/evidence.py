"""What an outside holder's row is worth: its evidence is verified again whenever the row counts.

Rows can be inserted by whoever has the application's database role; a witness's cosignature and an
authority's token can't be made up. That a mail server took a mail nobody signs: such a row is
believed, up to the size of the log, and its time is the database's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path

from cryptography import x509
from django.conf import settings
from rfc3161_client import VerificationError, VerifierBuilder, decode_timestamp_response

from audit.domain import cosignature, note
from audit.domain.lines import Malformed
from audit.models import Checkpoint, Holding

_SHA256 = x509.ObjectIdentifier("2.16.840.1.101.3.4.2.1")


class CertificatesUnreadable(Exception):
    """The file of LEDGER_TSA_CERTIFICATES can't be used; the message says why."""


def roots() -> list[x509.Certificate]:
    """Return the timestamp authorities' roots; none where none are set.

    Raises: CertificatesUnreadable.
    """
    path = settings.LEDGER_TSA_CERTIFICATES
    if not path:
        return []
    try:
        return x509.load_pem_x509_certificates(Path(path).read_bytes())
    except (OSError, ValueError) as error:
        raise CertificatesUnreadable(f"LEDGER_TSA_CERTIFICATES can't be used: {error}") from error


def cosignatures(
    line: bytes, text: bytes, keys: Sequence[cosignature.CosignerKey]
) -> Iterator[note.Signature]:
    """Yield what a line holds of these keys' cosignatures of a checkpoint's text."""
    try:
        signature = note.read_signature(line.decode().removesuffix("\n"))
        signed = note.verified(note=note.Note(text, (signature,)), keys=keys)
    except (Malformed, UnicodeDecodeError, note.BadSignature):
        return
    yield from (each for _, each in signed)


def timestamped(token: bytes, message: bytes, authorities: Sequence[x509.Certificate]) -> bool:
    """Return whether a token is of a message, and by an authority of these roots if there are any.

    Without roots it is only compared: what such a token says is shown as unverified.
    """
    try:
        response = decode_timestamp_response(_response(token))
        imprint = response.tst_info.message_imprint
        if imprint.hash_algorithm != _SHA256 or imprint.message != sha256(message).digest():
            return False
        if authorities:
            verifier = VerifierBuilder(roots=list(authorities)).build()
            verifier.verify(response, sha256(message).digest())
    except (VerificationError, ValueError, TypeError):
        return False
    return True


def _response(token: bytes) -> bytes:
    """Return a token as the answer that it came in: granted, and the token (RFC 3161, 2.4.2)."""
    content = b"\x30\x03\x02\x01\x00" + token
    if len(content) < 0x80:
        return b"\x30" + bytes([len(content)]) + content
    length = len(content).to_bytes((len(content).bit_length() + 7) // 8, "big")
    return b"\x30" + bytes([0x80 | len(length)]) + length + content


class Judge:
    """Says which rows of a log count. It looks at each size's checkpoint once.

    `keys` are the witnesses' of today's policy, by name.
    """

    def __init__(self, newest: Checkpoint | None, keys: dict[str, cosignature.CosignerKey]) -> None:
        self._newest = newest
        self._keys = keys
        self._notes: dict[int, bytes | None] = {}
        try:
            self._roots = roots()
        except CertificatesUnreadable:
            self._roots = []

    def counts(self, row: Holding) -> bool:
        """Return whether a row says what its holder can be held to."""
        if self._newest is None or row.size > self._newest.size:
            return False
        if row.state not in Holding.TOOK:
            return True  # a failure has no evidence; one that is made up is noise, not silence
        if row.kind == Holding.Kind.MAIL:
            return True
        message = self._note(row.size)
        return message is not None and self.shows(row, message)

    def shows(self, row: Holding, message: bytes) -> bool:
        """Return whether a row's evidence is of this note, and by whom the row names."""
        if row.kind == Holding.Kind.TIMESTAMP:
            verified = timestamped(bytes(row.evidence), message, self._roots)
            return verified and (bool(self._roots) or row.state == Holding.State.UNVERIFIED)
        key = self._keys.get(row.holder)
        try:
            text = note.read(message).text
        except Malformed:
            return False
        return key is not None and any(cosignatures(bytes(row.evidence), text, [key]))

    def _note(self, size: int) -> bytes | None:
        if size not in self._notes:
            log = self._newest.log_id if self._newest else 0
            found = Checkpoint.objects.filter(log=log, size=size).first()
            self._notes[size] = bytes(found.note) if found else None
        return self._notes[size]
