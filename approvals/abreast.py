"""Work side by side: at several targets, each at its own pace, and at a backlog of ends.

One worker process has one set of targets that it works at; several processes share the items by
their leases.
"""

import threading
import time
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
#: Batches of one target: one that is called, and the one before it, which is being recorded.
BATCHES = 2
#: Seconds between two claims at one target while there is work: what comes meanwhile shares one.
PACE_SECONDS = 0.02
#: Seconds between two looks for other targets, while some take long.
LOOK_SECONDS = 0.2
#: Times that a target is looked at in vain.
ENOUGH = 2

_calling: set[str] = set()
_batches: Counter[str] = Counter()
_claimed: dict[str, float] = {}
_guard = threading.Lock()


def provision() -> None:
    """Make and remove access until nothing is due at any target that another call isn't at.

    The next batch of a target is called as soon as the one before it has been.
    """
    turns: dict[Future[int], str] = {}  # what is being called
    works: dict[Future[int], str] = {}  # what is being called or recorded
    idle: Counter[str] = Counter()  # how often there was nothing that could be done
    ahead: set[str] = set()  # where more may be due by now
    look_at = 0.0
    with ThreadPoolExecutor(TARGETS) as pool:
        while True:
            if not works or time.monotonic() >= look_at:
                ahead.update(circuits.due_targets(lane="provisioning", now=clock.now()))
                look_at = time.monotonic() + LOOK_SECONDS
            for target in sorted(ahead):
                if idle[target] < ENOUGH and len(works) < TARGETS and _take(target):
                    turn: Future[int] = Future()
                    turns[turn] = target
                    works[pool.submit(_work, target, turn)] = target
            ahead.clear()
            if not works:
                return
            done, _ = wait([*turns, *works], timeout=LOOK_SECONDS, return_when=FIRST_COMPLETED)
            if not done:
                connection.close()  # to the pool: others have more use for it meanwhile
                idle.clear()
            for ended in done & turns.keys():
                target = turns.pop(ended)
                # What is due there waits for something else, unless it came at this very moment.
                idle[target] += not ended.result()
                ahead.add(target)
            for ended in done & works.keys():
                target = works.pop(ended)
                ahead.add(target)
                if ended.result():  # what waited for it, of the same key, can be done by now
                    del idle[target]


def _take(target: str) -> bool:
    with _guard:
        if target in _calling or _batches[target] >= BATCHES:
            return False
        _calling.add(target)
        _batches[target] += 1
        return True


def _work(target: str, turn: Future[int]) -> int:
    """Work at one batch, and return how much that was; 0 also when it broke.

    `turn` tells once its calls are made, and whether there was any work.
    """
    worked = 0

    def called(some: int = 1) -> None:
        if not turn.done():
            with _guard:
                _calling.discard(target)
            turn.set_result(some)

    try:
        time.sleep(max(0.0, _claimed.get(target, 0.0) + PACE_SECONDS - time.monotonic()))
        _claimed[target] = time.monotonic()
        worked = handlers.work_batch(target, called=called)
    except Exception:
        log.exception("target.broken", target=target)
    finally:
        with _guard:
            _batches[target] -= 1
        called(worked)
        connection.close()
    return worked


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
