"""Sealing inside a test's process, as the sealer's role. For tests whose transactions are real."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager

from audit.domain.note import LogSigner
from audit.models import Log
from audit.selectors import clock
from audit.services import sealing
from jitportal.embedded import roles
from tests.conftest import connect_as


@contextmanager
def sealer() -> Iterator[None]:
    """Inside it this process is the sealer."""
    connect_as(roles.SEALER)
    try:
        yield
    finally:
        connect_as(roles.APP)


def new_signer(name: str = "jit.example.com/ledger") -> LogSigner:
    return LogSigner(name=name, seed=secrets.token_bytes(32))


def lead() -> None:
    """Lead as soon as the server has let go of the lock of the connection before."""
    ends = time.monotonic() + 30
    while not sealing.lead():
        assert time.monotonic() < ends, "another sealer leads"
        time.sleep(0.02)


def seal(signer: LogSigner, *, batch: int = 50_000) -> Log:
    with sealer():
        lead()
        made = sealing.open_log(signer, vkey=signer.key.vkey, now=clock.now())
        while sealing.seal(made, signer, now=clock.now(), batch=batch).more:
            pass
    return made
