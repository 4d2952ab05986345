"""One HTTPS request and its answer, to an address that was judged before, within a bound.

No redirect is followed, no proxy of the environment is used (it would resolve the name again, past
our guard), nothing is retried. The certificate is verified for the host's name, although the
connection is made to the address.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import urllib3
from urllib3.connection import HTTPSConnection

from approvals.connectors.protocol import PermanentError, TransientError
from approvals.connectors.webhook.address import Address

CONNECT_TIMEOUT_SECONDS = 2.0  # for each address that the host's name stands for
LONGEST_ANSWER_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where requests go: a host's name, its judged addresses, and whom we trust to vouch for it."""

    host: str
    port: int
    addresses: Sequence[Address]
    context: ssl.SSLContext

    @property
    def origin(self) -> str:
        """For messages."""
        return f"https://{self.authority}"

    @property
    def authority(self) -> str:
        """What the Host header says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == 443 else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back."""

    status: int
    body: bytes


class Refused(PermanentError):
    """Of this very request nothing was carried out: it was not sent, or the answer says so."""


def exchange(
    *,
    place: Place,
    method: str,
    path: str,
    headers: Mapping[str, str],
    body: bytes,
    deadline: float,
) -> Answer:
    """Send one request and read its answer. `deadline` is a moment of the monotonic clock.

    Raises: PermanentError for a certificate that does not hold, or an answer that is too long;
    TransientError for all else that prevents an answer.
    """
    connection = _connected(place, deadline)
    try:
        with _ended_at(deadline, connection) as ran_out:
            try:
                connection.request(
                    method,
                    path,
                    body=body,
                    headers={**headers, "Host": place.authority},
                    preload_content=False,
                    decode_content=False,
                )
                response = connection.getresponse()
                content = _read(response)
            except (OSError, http.client.HTTPException, urllib3.exceptions.HTTPError) as error:
                if ran_out() or isinstance(error, TimeoutError):
                    raise _too_slow(place) from None
                raise TransientError(
                    f"{place.origin} broke off ({type(error).__name__}). It is tried again."
                ) from None
            if ran_out():
                raise _too_slow(place)
    finally:
        connection.close()
    if len(content) > LONGEST_ANSWER_BYTES:
        raise PermanentError(
            f"{place.origin} answered with more than {LONGEST_ANSWER_BYTES} bytes: shorten it."
        )
    return Answer(status=response.status, body=content)


def _read(response: urllib3.BaseHTTPResponse) -> bytes:
    """Read the body until it is whole, or too long; a body that breaks off raises."""
    content = b""
    while len(content) <= LONGEST_ANSWER_BYTES:
        part = response.read(LONGEST_ANSWER_BYTES + 1 - len(content))
        if not part:
            break
        content += part
    return content


def _connected(place: Place, deadline: float) -> HTTPSConnection:
    """Connect to the first address that takes it. Nothing is sent yet, so trying on is safe."""
    problem = "no address"
    for address in place.addresses:
        left = deadline - time.monotonic()
        if left <= 0:
            raise _too_slow(place)
        connection = HTTPSConnection(
            str(address),
            place.port,
            timeout=min(CONNECT_TIMEOUT_SECONDS, left),
            ssl_context=place.context,
            server_hostname=place.host,
        )
        try:
            connection.connect()
        except ssl.SSLCertVerificationError as error:
            connection.close()
            raise Refused(
                f"The certificate of {place.origin} does not hold ({error.verify_message}): renew "
                'it, or put its authority into the resource\'s "ca".'
            ) from None
        except (OSError, urllib3.exceptions.HTTPError) as error:
            connection.close()
            problem = _in_words(error)
            continue
        if connection.sock is not None:
            connection.sock.settimeout(max(0.01, deadline - time.monotonic()))
        return connection
    raise TransientError(f"{place.origin} can't be reached ({problem}). It is tried again.")


@contextmanager
def _ended_at(deadline: float, connection: HTTPSConnection) -> Iterator[Callable[[], bool]]:
    """At the deadline the connection is cut, even if bytes keep dripping in.

    A socket's own timeout begins anew with each byte.
    """
    fired = threading.Event()
    sock = connection.sock

    def cut() -> None:
        fired.set()
        if sock is not None:
            with suppress(OSError):
                # Not SSLSocket's own, which takes the TLS object away from the reading thread.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)

    timer = threading.Timer(max(0.0, deadline - time.monotonic()), cut)
    timer.daemon = True
    timer.start()
    try:
        yield fired.is_set
    finally:
        timer.cancel()


def _too_slow(place: Place) -> TransientError:
    return TransientError(f"{place.origin} did not answer in time. It is tried again.")


def _in_words(error: Exception) -> str:
    cause = error.__cause__ or error
    if isinstance(cause, TimeoutError | urllib3.exceptions.TimeoutError):
        return "timed out"
    return (
        getattr(cause, "strerror", None) or getattr(cause, "reason", None) or type(cause).__name__
    )
