"""Work side by side: at several targets, each at its own pace, and at a backlog of ends.

One worker process has one set of targets that it works at; several processes share the items by
their leases.
"""

import threading
from collections import Counter
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

import structlog
from django.db import connection

from approvals import handlers
from approvals.outbox import circuits
from approvals.selectors import clock
from approvals.services import grants

log = structlog.get_logger(__name__)

#: Targets that one process works at at the same time.
TARGETS = 16
#: Seconds between two looks for other targets, while some take long.
LOOK_SECONDS = 0.2
#: Times that a target is looked at in vain.
ENOUGH = 2

_busy: set[str] = set()
_guard = threading.Lock()


def provision() -> None:
    """Make and remove access until nothing is due at any target that another call isn't at."""
    flying: dict[Future[int], str] = {}
    idle: Counter[str] = Counter()  # how often there was nothing that could be done
    with ThreadPoolExecutor(TARGETS) as pool:
        while True:
            due = circuits.due_targets(lane="provisioning", now=clock.now())
            for target in due:
                if idle[target] < ENOUGH and len(flying) < TARGETS and _take(target):
                    flying[pool.submit(_work, target)] = target
            if not flying:
                return
            done, _ = wait(flying, timeout=LOOK_SECONDS, return_when=FIRST_COMPLETED)
            if not done:
                connection.close()  # to the pool: others have more use for it meanwhile
                idle.clear()
            for future in done:
                target = flying.pop(future)
                # What is due there waits for something else, unless it came at this very moment.
                idle[target] += not future.result()


def _take(target: str) -> bool:
    with _guard:
        if target in _busy:
            return False
        _busy.add(target)
        return True


def _work(target: str) -> int:
    """Return how many items were worked on; 0 also when that broke."""
    try:
        return handlers.work_target(target)
    except Exception:
        log.exception("target.broken", target=target)
        return 0
    finally:
        with _guard:
            _busy.discard(target)
        connection.close()


def end_due() -> int:
    """End access whose time is up, until none is due; return how much that was.

    A backlog is shared by two threads: while one reckons, the database works for the other.
    """
    ended = grants.end_due(now=clock.now())
    if ended < grants.BATCH:
        return ended
    with ThreadPoolExecutor(2) as pool:
        return ended + sum(pool.map(_end_share, (0, 1)))


def _end_share(share: int) -> int:
    total = 0
    try:
        while ended := grants.end_due(now=clock.now(), share=share):
            total += ended
            if ended < grants.BATCH:
                break
        return total
    finally:
        connection.close()
