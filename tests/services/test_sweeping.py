"""A worker looks by itself while no message comes: not before, and whatever breaks meanwhile."""

import threading
import time
from collections.abc import Callable, Iterator
from itertools import count

import pytest
from celery import signals
from django.db import OperationalError, connection

from approvals import tasks
from jitportal import sweeping
from jitportal.embedded.demo import CELERY_WORKERS
from jitportal.sweeping import Sweep, Sweeper

EVERY = 0.02
Start = Callable[[Sweep], Sweeper]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Start a sweeper that counts a fifth of a second without a message as silence."""
    monkeypatch.setattr(sweeping, "QUIET_SECONDS", 0.2)
    started: list[Sweeper] = []

    def run(sweep: Sweep) -> Sweeper:
        sweeper = Sweeper([(sweep, EVERY)])
        started.append(sweeper)
        sweeper.start()
        return sweeper

    yield run
    for sweeper in started:
        sweeper.stop()


def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.01)


def test_it_looks_once_no_message_has_come_for_a_while(start: Start) -> None:
    looks: list[float] = []

    def sweep() -> bool:
        looks.append(time.monotonic())
        return False

    start(sweep)
    for _ in range(20):
        signals.task_received.send(sender=None, request=None)
        time.sleep(0.03)
    heard = time.monotonic()
    until(lambda: len(looks) > 2)
    assert looks[0] - heard > 0.1, "not while messages came"


def test_it_goes_on_whatever_breaks(start: Start) -> None:
    turns = count()

    def sweep() -> bool:
        turn = next(turns)
        if turn == 0:
            raise OperationalError("The database is away.")
        if turn == 1:
            raise RuntimeError("A bug.")
        return False

    start(sweep)
    until(lambda: next(turns) > 5)


@pytest.mark.django_db(transaction=True)
def test_it_goes_on_with_a_new_connection_when_its_own_is_cut(start: Start) -> None:
    seen: list[int] = []
    cut = threading.Event()

    def sweep() -> bool:
        with connection.cursor() as cursor:
            if not cut.is_set():
                cut.set()
                cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
            cursor.execute("SELECT 1")
            seen.append(cursor.fetchone()[0])
        return False

    start(sweep)
    until(lambda: len(seen) > 2)


def test_it_is_called_again_at_once_while_more_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeping, "QUIET_SECONDS", 0.0)
    turns = count()
    sweeper = Sweeper([(lambda: next(turns) < 50, 0.5)])
    sweeper.start()
    time.sleep(0.9)
    sweeper.stop()
    assert next(turns) > 50


def test_a_worker_that_is_asked_to_stop_ends_what_it_has_begun(start: Start) -> None:
    began, ended = threading.Event(), threading.Event()

    def sweep() -> bool:
        began.set()
        time.sleep(0.3)
        ended.set()
        return True

    sweeper = start(sweep)
    assert began.wait(10)
    sweeper.stop()
    assert ended.is_set()
    ended.clear()
    time.sleep(0.4)
    assert not ended.is_set(), "nothing new is begun"


def test_every_queue_is_looked_after() -> None:
    assert set(tasks.SWEEPS) == set(CELERY_WORKERS)
