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
_QUIET = ("--without-mingle", "--without-gossip", "--without-heartbeat")


@contextmanager
def background(ground: Ground, database: str) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Beat and a worker for each queue run on `database`, with the broker in the same cluster."""
    broker_url = roles.broker_url(cluster=ground.cluster)
    broker.install(broker_url)
    environment = ground.environment(database, BROKER_URL=broker_url)
    celery = (sys.executable, "-m", "celery", "-A", "tests.bench.worker")
    beat = (*celery, "beat", "--pidfile=", "--scheduler", SCHEDULER)
    workers = [
        (
            *(("nice", "-n", "10") if queue == "notices" else ()),
            *(*celery, "worker", "-Q", queue, "-n", f"{queue}@%h"),
            *("-P", "threads", "-c", str(threads), *_QUIET),
        )
        for queue, threads in CELERY_WORKERS.items()
    ]
    started: list[subprocess.Popen[bytes]] = []
    try:
        with ground.log("processes").open("ab") as log:
            started = [
                subprocess.Popen(
                    command,
                    cwd=CHECKOUT,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    preexec_fn=children.dies_with_us(signal.SIGKILL),
                )
                for command in (beat, *workers)
            ]
        yield started
    finally:
        _stop(started)


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
