"""The portal's background processes, started as the demo starts them, with the bench's target."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from jitportal import broker
from jitportal.embedded import children, roles
from jitportal.embedded.demo import CELERY_WORKERS, SCHEDULER
from tests.bench.ground import CHECKOUT, Ground

STOP_SECONDS = 15
RESTARTS_MOST = 5


class Background:
    """Beat and a worker for each queue, which are started again when they end, as the demo does."""

    def __init__(self, ground: Ground, environment: dict[str, str]) -> None:
        self._log = ground.log("processes")
        self._environment = environment
        self._restarts_left = RESTARTS_MOST
        self._commands = _commands()
        self.processes = [self._start(command) for command in self._commands]

    def look_after(self) -> None:
        """Start again what ended. Raises: RuntimeError when that happens again and again."""
        for number, process in enumerate(self.processes):
            if process.poll() is None:
                continue
            self._restarts_left -= 1
            if self._restarts_left < 0:
                raise RuntimeError(f"Processes of the portal end; {self._log} says why.")
            self.processes[number] = self._start(self._commands[number])

    def _start(self, command: tuple[str, ...]) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            return subprocess.Popen(
                command,
                cwd=CHECKOUT,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=children.dies_with_us(signal.SIGKILL),
            )


def _commands() -> list[tuple[str, ...]]:
    celery = (sys.executable, "-m", "celery", "-A", "tests.bench.worker")
    quiet = ("--without-mingle", "--without-gossip", "--without-heartbeat")
    workers = [
        (
            *(("nice", "-n", "10") if queue == "notices" else ()),
            *(*celery, "worker", "-Q", queue, "-n", f"{queue}@%h"),
            *("-P", "threads", "-c", str(threads), *quiet),
        )
        for queue, threads in CELERY_WORKERS.items()
    ]
    return [(*celery, "beat", "--pidfile=", "--scheduler", SCHEDULER), *workers]


@contextmanager
def background(ground: Ground, database: str, **more: str) -> Iterator[Background]:
    """The portal's background processes run on `database`, with the broker in the same cluster.

    `more` is for their environment.
    """
    broker_url = roles.broker_url(cluster=ground.cluster)
    broker.install(broker_url)
    running = Background(ground, ground.environment(database, BROKER_URL=broker_url, **more))
    try:
        yield running
    finally:
        _stop(running.processes)


def _stop(processes: list[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.terminate()
    ends = time.monotonic() + STOP_SECONDS
    for process in processes:
        try:
            process.wait(max(0.1, ends - time.monotonic()))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
