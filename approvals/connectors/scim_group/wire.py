"""How a provider is reached: verified TLS, no redirects, no proxies, and cut off at a deadline.

requests' timeouts are for each packet, it takes credentials from a netrc file instead of ours, and
adds its own bundle of authorities to a private one. None of that happens here.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from contextlib import suppress
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from approvals.connectors.protocol import PermanentError

CONNECT_SECONDS = 3.0  # for each address that the host name stands for, within the call's bound


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

    def connect(self, host: str, port: int) -> socket.socket:
        """A connected socket that ends at the deadline, whatever becomes of its object.

        Raises: OSError.
        """
        failure: OSError = TimeoutError("no time was left to connect")
        for family, kind, protocol, _, address in socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM
        ):
            seconds = min(CONNECT_SECONDS, self.remaining_seconds())
            if seconds <= 0:
                break
            one = socket.socket(family, kind, protocol)
            try:
                one.settimeout(seconds)
                one.connect(address)
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            except OSError as error:
                one.close()
                failure = error
                continue
            with self._lock:
                # A duplicate: TLS takes the descriptor out of the socket's object.
                self._cut.append(one.dup())
            return one
        raise failure

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


def trust(ca: str | None) -> ssl.SSLContext:
    """What certificates are verified against: `ca` alone (PEM), else the system's authorities.

    Raises: PermanentError.
    """
    try:
        return ssl.create_default_context(cadata=ca or None)
    except (ssl.SSLError, ValueError):
        raise PermanentError('Set "ca" to PEM certificates, or leave it out.') from None


class _Adapter(HTTPAdapter):
    """Connections of one call: the deadline opens them, and the one context verifies them."""

    def __init__(self, *, context: ssl.SSLContext, deadline: Deadline) -> None:
        self._context = context
        self._deadline = deadline
        super().__init__(pool_connections=1, pool_maxsize=1)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Pools whose connections are the deadline's."""
        super().init_poolmanager(*args, **kwargs, ssl_context=self._context)
        deadline = self._deadline

        class Plain(HTTPConnection):
            def _new_conn(self) -> socket.socket:
                return deadline.connect(self._dns_host.strip("[]"), self.port)

        class Encrypted(HTTPSConnection):
            def _new_conn(self) -> socket.socket:
                return deadline.connect(self._dns_host.strip("[]"), self.port)

        class PlainPool(HTTPConnectionPool):
            ConnectionCls = Plain

        class EncryptedPool(HTTPSConnectionPool):
            ConnectionCls = Encrypted

        self.poolmanager.pool_classes_by_scheme = {"http": PlainPool, "https": EncryptedPool}

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """The context verifies; requests would add its own bundle of authorities to it."""
        conn.cert_reqs = "CERT_REQUIRED"


def browser(*, token: str, ca: str | None, deadline: Deadline) -> requests.Session:
    """A session that sends the token to where it is pointed, and nothing of the environment.

    Raises: PermanentError.
    """
    session = requests.Session()
    session.trust_env = False
    session.headers.update(
        {
            "Authorization": f"Bearer {token}",
            "Accept": "application/scim+json, application/json",
            "User-Agent": "jitportal",
        }
    )
    adapter = _Adapter(context=trust(ca), deadline=deadline)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session
