"""Wakes workers without keeping anybody waiting: a thread of this process sends the messages.

Wishes for the same lane that come while a message is on its way become one message after it. What a
process that ends had still to send is lost, and costs the half second until beat looks.
"""

import os
import threading
import time
from collections.abc import Callable, Mapping

import structlog

log = structlog.get_logger(__name__)


class Waker:
    """Calls `send` with each lane that was asked for, soon, and never twice at the same time.

    `pauses` are the seconds between two messages to a lane, for those that are not in a hurry.
    """

    def __init__(self, send: Callable[[str], None], *, pauses: Mapping[str, float]) -> None:
        self._send = send
        self._pauses = pauses
        self._wanted: dict[str, float] = {}
        self._earliest: dict[str, float] = {}
        self._changed = threading.Condition()
        self._process = 0

    def wake(self, lane: str) -> None:
        """Have the lane's workers woken. Returns at once and raises nothing."""
        with self._changed:
            at = max(time.monotonic(), self._earliest.get(lane, 0.0))
            self._wanted.setdefault(lane, at)
            if self._process != os.getpid():  # the first time, or after a fork
                self._process = os.getpid()
                threading.Thread(target=self._run, name="waker", daemon=True).start()
            self._changed.notify()

    def _run(self) -> None:
        while True:
            lane = self._next()
            try:
                self._send(lane)
            except Exception as error:  # the broker's own errors are many
                log.warning("outbox.wake_failed", lane=lane, error=type(error).__name__)

    def _next(self) -> str:
        """Wait for the lane that is to be woken next, and take it."""
        with self._changed:
            while True:
                lane = min(self._wanted, key=self._wanted.__getitem__, default=None)
                wait = self._wanted[lane] - time.monotonic() if lane else None
                if lane and wait is not None and wait <= 0:
                    del self._wanted[lane]
                    self._earliest[lane] = time.monotonic() + self._pauses.get(lane, 0.0)
                    return lane
                self._changed.wait(wait)
