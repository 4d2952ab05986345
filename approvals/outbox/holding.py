"""Holds claimed items while they are worked on, however long a target or a mail server takes.

A thread of its own renews their leases, so that what is worked on one after the other in one claim
is held from the first to the last. It dies with its process, and then the leases run out.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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


@contextmanager
def held(items: Sequence[OutboxItem], *, tell: Callable[[], datetime]) -> Iterator[None]:
    """Keep other workers from these items meanwhile. What is given back or done is left alone."""
    over = threading.Event()
    threading.Thread(
        target=_renew, args=(list(items), tell, over), name="holding", daemon=True
    ).start()
    try:
        yield
    finally:
        over.set()


def _renew(
    items: Sequence[OutboxItem], tell: Callable[[], datetime], over: threading.Event
) -> None:
    pause = settings.OUTBOX_LEASE.total_seconds() / PER_LEASE
    for _ in range(LEASES_MOST * PER_LEASE):
        if over.wait(pause):
            return
        try:
            queue.renew(items, now=tell())
        except Exception as error:  # the next time comes; a lease that is lost loses nothing
            log.warning("outbox.not_held", items=len(items), error=type(error).__name__)
        finally:
            connection.close()
    log.error("outbox.held_too_long", items=[item.pk for item in items])
