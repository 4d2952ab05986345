"""Holds claimed items while they are worked on, however long a target or a mail server takes.

One thread of each process renews the leases of all that its workers have claimed, so that what is
worked on one after the other in one claim is held from the first to the last. It dies with its
process, and then the leases run out.
"""

import itertools
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

import structlog
from django.conf import settings
from django.db import connection

from approvals.outbox import queue
from approvals.outbox.models import OutboxItem

log = structlog.get_logger(__name__)

#: A lease is renewed this often while it lasts, and at most for so many leases' time: work that
#: hangs for ever must come to another worker some day, and to the alarm of what nobody has tried.
PER_LEASE = 3
LEASES_MOST = 30


@dataclass
class _Batch:
    """Items that are held, how to tell the time, and when (monotonic) they are renewed next."""

    items: Sequence[OutboxItem]
    tell: Callable[[], datetime]
    next_at: float
    renewals_left: int


class _Keeper:
    """The thread that renews, begun with the first batch; it wakes when the earliest is due."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._numbers = itertools.count()
        self._batches: dict[int, _Batch] = {}
        self._wakes_at = math.inf
        self._thread: threading.Thread | None = None

    def take(self, items: Sequence[OutboxItem], tell: Callable[[], datetime]) -> int:
        """Begin to hold items; return the number by which they are let go."""
        next_at = time.monotonic() + _pause()
        batch = _Batch(list(items), tell, next_at, LEASES_MOST * PER_LEASE)
        with self._changed:
            number = next(self._numbers)
            self._batches[number] = batch
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="holding", daemon=True)
                self._thread.start()
            elif batch.next_at < self._wakes_at:
                self._changed.notify()
        return number

    def let_go(self, number: int) -> None:
        """Renew these no more."""
        with self._changed:
            self._batches.pop(number, None)

    def _run(self) -> None:
        while True:
            for number, batch in self._due():
                self._renew(number, batch)
            try:
                connection.close()
            except Exception as error:  # all that this process holds depends on this thread
                log.warning("outbox.not_held", items=0, error=type(error).__name__)

    def _due(self) -> list[tuple[int, _Batch]]:
        """Wait until some are to be renewed, and return them."""
        with self._changed:
            while True:
                now = time.monotonic()
                if due := [row for row in self._batches.items() if row[1].next_at <= now]:
                    return due
                self._wakes_at = min(
                    (row.next_at for row in self._batches.values()), default=math.inf
                )
                self._changed.wait(None if self._wakes_at == math.inf else self._wakes_at - now)

    def _renew(self, number: int, batch: _Batch) -> None:
        if not batch.renewals_left:
            self.let_go(number)
            log.error("outbox.held_too_long", items=[item.pk for item in batch.items])
            return
        batch.renewals_left -= 1
        batch.next_at = time.monotonic() + _pause()
        try:
            queue.renew(batch.items, now=batch.tell())
        except Exception as error:  # the next time comes; a lease that is lost loses nothing
            log.warning("outbox.not_held", items=len(batch.items), error=type(error).__name__)


def _pause() -> float:
    return settings.OUTBOX_LEASE.total_seconds() / PER_LEASE


_keeper = _Keeper()


@contextmanager
def held(items: Sequence[OutboxItem], *, tell: Callable[[], datetime]) -> Iterator[None]:
    """Keep other workers from these items meanwhile. What is given back or done is left alone."""
    number = _keeper.take(items, tell)
    try:
        yield
    finally:
        _keeper.let_go(number)
