"""From outside, at the target itself: until when a minted login lets in, and its session lives.

The target and whoever asks it are on one host, so that their clocks are one.
"""

from __future__ import annotations

import selectors
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import psycopg

#: Seconds around the due moment in which a login is tried again and again.
BEFORE_SECONDS, AFTER_SECONDS = 0.15, 0.5
PATIENCE_SECONDS = 60.0


@dataclass
class Seen:
    """One login, in seconds from its due moment. None: it was never seen."""

    ends_at: float
    let_in: list[float] = field(default_factory=list)
    """When each sign-in that succeeded was begun."""
    refused: list[float] = field(default_factory=list)
    """When each refusal came."""
    session_closed: float | None = None

    @property
    def login_lag(self) -> float:
        """How long after its end it still let in; 0 where no later sign-in succeeded.

        Raises: RuntimeError where it was not tried on both sides of its end.
        """
        if not self.refused or not any(at < 0 for at in self.let_in):
            raise RuntimeError("A login was not seen to let in before its end and to refuse after.")
        return max(0.0, *self.let_in)


def watch(logins: Sequence[dict[str, Any]], *, port: int) -> list[Seen]:
    """Open a session of each login, and sign in with each around its due moment; until all ended.

    Each of `logins` has `user`, `password` and `ends_at` (Unix seconds). They should end apart from
    each other, so that a sign-in takes no longer than by itself.
    """
    seen = [Seen(one["ends_at"]) for one in logins]
    sessions = [_connect(one, port) for one in logins]
    try:
        with ThreadPoolExecutor(len(logins) + 1) as pool:
            watching = pool.submit(_sessions, sessions, seen)
            tries = [
                pool.submit(_try, one, each, port) for one, each in zip(logins, seen, strict=True)
            ]
            for done in (*tries, watching):
                done.result()
    finally:
        for session in sessions:
            session.close()
    return seen


def _connect(login: dict[str, Any], port: int) -> psycopg.Connection[Any]:
    return psycopg.connect(
        host="127.0.0.1",
        port=port,
        user=login["user"],
        password=login["password"],
        dbname="postgres",
        connect_timeout=5,
        autocommit=True,
    )


def _try(login: dict[str, Any], seen: Seen, port: int) -> None:
    threading.Event().wait(max(0.0, seen.ends_at - BEFORE_SECONDS - time.time()))
    while (begun := time.time()) < seen.ends_at + AFTER_SECONDS:
        try:
            _connect(login, port).close()
        except psycopg.OperationalError:
            seen.refused.append(time.time() - seen.ends_at)
        else:
            seen.let_in.append(begun - seen.ends_at)


def _sessions(sessions: Sequence[psycopg.Connection[Any]], seen: Sequence[Seen]) -> None:
    """An idle session's socket says something only when the server closes it."""
    last = max(each.ends_at for each in seen) + PATIENCE_SECONDS
    with selectors.DefaultSelector() as selector:
        for session, each in zip(sessions, seen, strict=True):
            selector.register(session.fileno(), selectors.EVENT_READ, each)
        while selector.get_map() and time.time() < last:
            for key, _ in selector.select(timeout=1):
                key.data.session_closed = time.time() - key.data.ends_at
                selector.unregister(key.fileobj)
