"""Has timestamp authorities sign that the newest checkpoint existed (RFC 3161).

What is timestamped is the checkpoint's note as the log alone signed it, by its SHA-256: what
cosigns it later is no part of it. Without LEDGER_TSA_CERTIFICATES an answer is compared with the
question, but nobody checks who signed it, and it is written down as unverified.
"""

from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from cryptography import x509
from rfc3161_client import (
    HashAlgorithm,
    PKIStatus,
    TimeStampRequest,
    TimestampRequestBuilder,
    TimeStampResponse,
    VerificationError,
    VerifierBuilder,
    decode_timestamp_response,
)

from audit.models import Checkpoint, Holding
from audit.selectors import evidence, holders
from audit.selectors import log as reads
from audit.services import holding, posting

_SHA256 = x509.ObjectIdentifier("2.16.840.1.101.3.4.2.1")


class _Failed(Exception):
    """No token that can be kept; `state` says how far it came."""

    def __init__(self, message: str, state: Holding.State) -> None:
        super().__init__(message)
        self.state = state


def hold(*, now: datetime) -> list[Holding]:
    """Ask every authority for a token on the newest checkpoint, unless it gave one; return those.

    A failing authority stops no other.
    """
    assert posting.no_transaction(), "a transaction is open, and the network must not hold one"
    made = reads.current()
    checkpoint = reads.newest_checkpoint(made) if made else None
    if made is None or checkpoint is None:
        return []
    kept = []
    for name, url in holders.authorities().items():
        said = holders.newest(made, kind=Holding.Kind.TIMESTAMP, holder=name)
        if said is not None and said.size == checkpoint.size and said.state in Holding.TOOK:
            continue
        try:
            roots = _roots()
            token, detail = _token(checkpoint, url, roots)
        except (_Failed, posting.Unreachable) as error:
            holding.failed(
                checkpoint=checkpoint,
                kind=Holding.Kind.TIMESTAMP,
                holder=name,
                state=error.state if isinstance(error, _Failed) else Holding.State.UNREACHABLE,
                error=str(error),
                detail={},
                now=now,
            )
            continue
        kept.append(
            holding.took(
                checkpoint=checkpoint,
                kind=Holding.Kind.TIMESTAMP,
                holder=name,
                evidence=token,
                detail=detail,
                now=now,
                state=Holding.State.HELD if roots else Holding.State.UNVERIFIED,
            )
        )
    return kept


def _roots() -> list[x509.Certificate]:
    try:
        return evidence.roots()
    except evidence.CertificatesUnreadable as error:
        raise _Failed(str(error), Holding.State.INVALID) from error


def _token(
    checkpoint: Checkpoint, url: str, roots: list[x509.Certificate]
) -> tuple[bytes, dict[str, Any]]:
    """Return a token (DER) and what it says. Raises: _Failed, posting.Unreachable."""
    message = bytes(checkpoint.note)
    request = (
        TimestampRequestBuilder()
        .data(message)
        .hash_algorithm(HashAlgorithm.SHA256)
        .nonce(nonce=True)
        .cert_request(cert_request=True)
        .build()
    )
    answer = posting.post(
        url=url, body=request.as_bytes(), content_type="application/timestamp-query"
    )
    if answer.status != 200:
        busy = answer.status == 429 or answer.status >= 500
        state = Holding.State.UNREACHABLE if busy else Holding.State.REFUSED
        raise _Failed(f"it answered {answer.status}", state)
    try:
        response = decode_timestamp_response(answer.body)
        if response.status != PKIStatus.GRANTED:
            words = (
                f" ({', '.join(response.status_string)[:200]})" if response.status_string else ""
            )
            raise _Failed(
                f"it granted no timestamp: status {response.status}{words}", Holding.State.REFUSED
            )
        _compare(request, response, message)
        if roots:
            verifier = VerifierBuilder(roots=roots, nonce=request.nonce).build()
            verifier.verify(response, sha256(message).digest())
        info = response.tst_info
        return response.time_stamp_token(), {
            "timestamped_at": info.gen_time.astimezone(UTC).isoformat(),
            "serial": str(info.serial_number),
            "policy": info.policy.dotted_string,
            "hash": "sha256",
        }
    except VerificationError as error:
        raise _Failed(f"its timestamp does not verify: {error}", Holding.State.INVALID) from error
    except (ValueError, TypeError) as error:
        raise _Failed(f"its answer is no timestamp: {error}", Holding.State.INVALID) from error


def _compare(request: TimeStampRequest, response: TimeStampResponse, message: bytes) -> None:
    """Refuse an answer to another question. Raises: _Failed."""
    info = response.tst_info
    imprint = info.message_imprint
    if imprint.hash_algorithm != _SHA256 or imprint.message != sha256(message).digest():
        raise _Failed("its timestamp is of something else", Holding.State.INVALID)
    if info.nonce != request.nonce:
        raise _Failed("its answer is to another request", Holding.State.INVALID)
