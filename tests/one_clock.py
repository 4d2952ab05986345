"""One clock for all that a test does in its own process.

A database's backends run on several processors, whose clocks may differ by milliseconds. What a test
does next is later for it all the same: what it put is due, what it granted has been granted.
`make test CLOCKS=30` has every other look at the clock come out that many milliseconds behind, to
show that no test goes by more than this.
"""

import os
import random
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from approvals.selectors import clock
from audit.selectors import clock as clock_of_the_ledger

_BEHIND = timedelta(milliseconds=float(os.environ.get("CLOCKS_DIFFER") or 0))
_TICK = timedelta(microseconds=1)
#: Seconds by which the processors' clocks differ at most on the machines that tests run on.
_MOST = max(0.05, _BEHIND.total_seconds() * 1.5)


def install() -> None:
    """Have the database's clock never go back for this process."""
    clock.now = clock_of_the_ledger.now = never_back(_on_some_processor(clock_of_the_ledger.now))


def settle() -> None:
    """Wait until all that the database has stamped by itself is past by every clock."""
    time.sleep(_MOST)


def never_back(read: Callable[[], datetime]) -> Callable[[], datetime]:
    """Return a clock that is later each time that it is read, for all threads."""
    one_at_a_time = threading.Lock()
    latest = datetime.min.replace(tzinfo=UTC)

    def now() -> datetime:
        nonlocal latest
        moment = read()
        with one_at_a_time:
            latest = max(moment, latest + _TICK)
            return latest

    return now


def _on_some_processor(read: Callable[[], datetime]) -> Callable[[], datetime]:
    def now() -> datetime:
        return read() - random.choice((timedelta(0), _BEHIND))

    return now
