"""One POST to a holder outside: bounded in time and size, no redirect followed, nothing retried.

No transaction is open meanwhile. Proxies of the environment are used, as elsewhere.
"""

import threading
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

import requests
from django.db import transaction

CONNECT_SECONDS = 5.0
SILENT_SECONDS = 10.0
#: Seconds that the whole exchange may take, however the other side spreads its bytes.
WHOLE_SECONDS = 20.0
BYTES_MOST = 256 * 1024


class Unreachable(Exception):
    """No whole answer came; the message says why, without the address."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    content_type: str
    body: bytes


def no_transaction() -> bool:
    """Return whether no transaction is open but the one that a test case wraps around itself."""
    blocks = transaction.get_connection().atomic_blocks
    return all(block._from_testcase for block in blocks)


def post(
    *, url: str, body: bytes, content_type: str, whole_seconds: float = WHOLE_SECONDS
) -> Answer:
    """Return the answer to one POST. Raises: Unreachable."""
    assert no_transaction(), "a transaction is open, and the network must not hold one"
    if urlsplit(url).scheme not in ("http", "https"):
        raise Unreachable("its address must begin with https:// or http://")
    found: list[Answer | Unreachable] = []
    # A thread, because a peer that drips its headers byte by byte never meets a socket's timeout.
    thread = threading.Thread(
        target=lambda: found.append(_exchange(url, body, content_type, whole_seconds)), daemon=True
    )
    thread.start()
    thread.join(whole_seconds)
    if not found:
        raise Unreachable(f"it gave no whole answer within {whole_seconds:g} s")
    if isinstance(found[0], Unreachable):
        raise found[0]
    return found[0]


def _exchange(
    url: str, body: bytes, content_type: str, whole_seconds: float
) -> Answer | Unreachable:
    ends_at = time.monotonic() + whole_seconds
    try:
        with (
            requests.Session() as session,
            session.post(
                url,
                data=body,
                headers={
                    "Content-Type": content_type,
                    "Accept-Encoding": "identity",
                    "User-Agent": "jitportal",
                },
                timeout=(CONNECT_SECONDS, SILENT_SECONDS),
                allow_redirects=False,
                stream=True,
            ) as response,
        ):
            content = bytearray()
            while part := response.raw.read1(BYTES_MOST + 1 - len(content)):
                content += part
                if len(content) > BYTES_MOST:
                    return Unreachable(f"it answered with more than {BYTES_MOST} bytes")
                if time.monotonic() > ends_at:
                    return Unreachable(f"it gave no whole answer within {whole_seconds:g} s")
            kind = response.headers.get("Content-Type", "")
            return Answer(response.status_code, kind, bytes(content))
    except requests.exceptions.SSLError:
        return Unreachable("its certificate does not hold, or it speaks no TLS")
    except requests.Timeout:
        return Unreachable("it did not answer in time")
    except Exception as error:
        # Whatever the peer's bytes provoke is its failure, not ours. Not the error's own words:
        # they repeat the address, with what may be secret in it.
        return Unreachable(f"it can't be reached, or broke off ({type(error).__name__})")
