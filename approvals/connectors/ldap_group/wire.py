"""How a server is reached: always TLS, verified by Python, and cut off at a deadline.

ldap3's own check knows no addresses in certificates, and its timeouts are for each packet.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from approvals.connectors.protocol import PermanentError

with warnings.catch_warnings():
    # ldap3 2.9 names pyasn1's tables by their old names while it is imported.
    warnings.simplefilter("ignore", DeprecationWarning)
    import ldap3 as ldap3

CONNECT_SECONDS = 3.0  # for each address that the host name stands for, within the call's bound


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens. `upgrade`: a plain port that StartTLS must turn into TLS."""

    host: str
    port: int
    upgrade: bool

    @classmethod
    def parse(cls, url: str) -> Address:
        """The address that `ldaps://host[:port]` or `ldap://host[:port]` names.

        Raises: ValueError.
        """
        found = urlsplit(url)
        if found.scheme not in ("ldaps", "ldap") or not found.hostname or "@" in found.netloc:
            raise ValueError("not an LDAP address")
        if found.path not in ("", "/") or found.query or found.fragment:
            raise ValueError("more than a host and a port")
        upgrade = found.scheme == "ldap"
        return cls(found.hostname, found.port or (389 if upgrade else 636), upgrade)


def trust(ca: str | None) -> ssl.SSLContext:
    """What certificates are verified against: `ca` alone (PEM), else the system's authorities.

    Raises: PermanentError.
    """
    try:
        return ssl.create_default_context(cadata=ca or None)
    except (ssl.SSLError, ValueError):
        raise PermanentError('Set "ca" to PEM certificates, or leave it out.') from None


class Deadline:
    """Cuts every socket that it was given when the time is over, in whatever call they are."""

    def __init__(self, seconds: float) -> None:
        self._ends = time.monotonic() + seconds
        self._cut: list[socket.socket] = []
        self._lock = threading.Lock()
        self._timer = threading.Timer(seconds, self._expire)
        self._timer.daemon = True

    def remaining_seconds(self) -> float:
        """What is left; negative when it is over."""
        return self._ends - time.monotonic()

    def watch(self, watched: socket.socket) -> None:
        """The socket ends at the deadline, whatever becomes of its object."""
        with self._lock:
            # A duplicate: TLS takes the descriptor out of the socket's object when it wraps it.
            self._cut.append(watched.dup())

    def _expire(self) -> None:
        with self._lock:
            for one in self._cut:
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Deadline:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        with self._lock:
            for one in self._cut:
                one.close()
            self._cut.clear()


class Tls(ldap3.Tls):  # type: ignore[misc]
    """TLS whose certificate is verified against the host's name or address by Python itself."""

    def __init__(self, *, context: ssl.SSLContext, deadline: Deadline) -> None:
        super().__init__(validate=ssl.CERT_REQUIRED)
        self._context = context
        self._deadline = deadline
        self.refused: ssl.SSLError | None = None

    def wrap_socket(self, connection: Any, do_handshake: bool) -> None:
        """Raises: ssl.SSLError, which `refused` keeps, since ldap3 turns it into text."""
        self._deadline.watch(connection.socket)
        # Else each small question waits for the kernel's delayed acknowledgement, 40 ms.
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            connection.socket = self._context.wrap_socket(
                connection.socket,
                server_hostname=connection.server.host,
                do_handshake_on_connect=True,
            )
        except ssl.SSLError as error:
            self.refused = error
            raise


class Server(ldap3.Server):  # type: ignore[misc]
    """A server whose addresses are tried within the deadline."""

    def __init__(self, address: Address, *, tls: Tls, deadline: Deadline) -> None:
        super().__init__(
            address.host,
            port=address.port,
            use_ssl=not address.upgrade,
            tls=tls,
            get_info=ldap3.NONE,
            connect_timeout=CONNECT_SECONDS,
        )
        self._deadline = deadline

    def candidate_addresses(self) -> Iterator[Any]:
        """The addresses, each with the time to connect that is left."""
        for candidate in super().candidate_addresses():
            remaining = self._deadline.remaining_seconds()
            if remaining <= 0:
                return
            self.connect_timeout = min(CONNECT_SECONDS, remaining)
            yield candidate
