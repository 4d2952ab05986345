"""Each worker's own look into the database, while no message comes to it: the broker may be dead.

A few small threads beside the worker's pool, which do what messages for its queues would have it
do. Whoever else is at it, by a message or in another process, holds a lock or leases, so that
nothing is done twice. They know no broker, and work while a worker waits for one at its start.
"""

import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import structlog
from celery import bootsteps, signals
from django.db import DatabaseError, connections

log = structlog.get_logger(__name__)

#: Seconds without any message after which a worker looks by itself.
QUIET_SECONDS = 2.0
#: Seconds that are left to what has begun when the worker is asked to stop; systemd gives it 60.
STOP_SECONDS = 50.0

#: Does what is due; returns whether more is, so that it is to be called again at once.
Sweep = Callable[[], bool]


class Sweeper:
    """Runs sweeps while no message has come for `QUIET_SECONDS`; one per worker process.

    Each comes with the seconds between two looks.
    """

    def __init__(self, sweeps: Iterable[tuple[Sweep, float]]) -> None:
        self._stopping = threading.Event()
        self._heard = time.monotonic()
        self._threads = [
            threading.Thread(
                target=self._run, args=(sweep, every_seconds), name=sweep.__name__, daemon=True
            )
            for sweep, every_seconds in sweeps
        ]

    def start(self) -> None:
        """Begin to listen for messages, and to look when none comes. Once."""
        signals.task_received.connect(self.heard)
        self._heard = time.monotonic()
        for thread in self._threads:
            thread.start()

    def heard(self, **_: object) -> None:
        """Take down that a message has come."""
        self._heard = time.monotonic()

    def stop(self) -> None:
        """Begin nothing new, and wait until what has begun is done, for a while."""
        self._stopping.set()
        ends = time.monotonic() + STOP_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, ends - time.monotonic()))
        signals.task_received.disconnect(self.heard)

    def _run(self, sweep: Sweep, every_seconds: float) -> None:
        pause = every_seconds
        while not self._stopping.wait(pause):
            pause = every_seconds
            if time.monotonic() - self._heard < QUIET_SECONDS:
                continue
            try:
                pause = 0.0 if sweep() else every_seconds
            except DatabaseError as error:
                log.warning("sweep.database_away", error=type(error).__name__)
            except Exception:  # it must outlive anything: nobody else may be there to do it
                log.exception("sweep.failed", sweep=sweep.__name__)
            finally:
                self._give_back()

    def _give_back(self) -> None:
        """Return the thread's connections to the pool, which renews those that have broken."""
        try:
            connections.close_all()
        except Exception as error:
            log.warning("sweep.database_away", error=type(error).__name__)


class Step(bootsteps.StartStopStep):
    """Starts a worker's sweeper and watch after its pool and before it has reached the broker.

    Stops the sweeper after the last message was taken and before the pool ends.
    """

    requires = ("celery.worker.components:Pool",)

    def create(self, worker: Any) -> Sweeper:  # type: ignore[override]
        """Return the sweeper for the queues that the worker serves."""
        from approvals import tasks

        return Sweeper(sweep for queue in _served(worker) for sweep in tasks.SWEEPS.get(queue, ()))

    def start(self, parent: Any) -> None:
        """Begin to sweep, to show that this worker lives, and to look after the others."""
        from jitportal import watch

        super().start(parent)
        watch.start(_served(parent))


def _served(worker: Any) -> list[str]:
    return sorted(worker.app.amqp.queues.consume_from)
