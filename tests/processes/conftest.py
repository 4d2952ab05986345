"""Real Celery processes on the test's database, with the broker that the quick start uses."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.db import connection

from jitportal import broker
from jitportal.embedded import roles
from tests.conftest import cluster

LEASE_SECONDS = 3
LANES = ("due", "provisioning", "notices")


class Processes:
    """Starts and kills workers and beat; everything is dead when the test ends."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.broker_url = roles.broker_url(cluster=cluster())
        broker.install(self.broker_url)
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, *names: str) -> None:
        """Start `beat` or the worker of a lane."""
        environment = os.environ | {
            "DATABASE_URL": cluster().url(roles.APP),
            "DATABASE_POOL": "12",
            "BROKER_URL": self.broker_url,
            "NOOP_FOLDER": str(self.folder),
            "OUTBOX_LEASE_SECONDS": str(LEASE_SECONDS),
            "DEMO_MAIL_DIR": str(self.folder / "mail"),
        }
        for name in names:
            options = (
                ["beat", "--pidfile=", "--scheduler", "jitportal.schedule:LeadingScheduler"]
                if name == "beat"
                else ["worker", "-Q", name, "-n", f"{name}@%h", "-P", "threads", "-c", "4",
                      "--without-mingle", "--without-gossip", "--without-heartbeat"]
            )  # fmt: skip
            log = (self.folder / f"{name}.log").open("ab")
            self._running[name] = subprocess.Popen(
                [sys.executable, "-m", "tests.processes.worker", *options],
                env=environment, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def kill(self, *names: str) -> None:
        """Kill -9 at once, the whole process group."""
        for name in names:
            process = self._running.pop(name)
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def kill_all(self) -> None:
        """Kill whatever runs."""
        self.kill(*list(self._running))

    def purge_broker(self) -> None:
        """Lose every message that the broker holds."""
        import psycopg

        with psycopg.connect(self.broker_url.replace("pgmq://", "postgresql://")) as raw:
            for (name,) in raw.execute("SELECT queue_name FROM pgmq.list_queues()").fetchall():
                raw.execute("SELECT pgmq.purge_queue(%s)", [name])

    def logs(self) -> str:
        """Return the end of every log, for a failing test's message."""
        return "\n".join(
            f"--- {path.name}\n{path.read_text()[-2000:]}" for path in self.folder.glob("*.log")
        )


@pytest.fixture
def processes(transactional_db: None, tmp_path: Path) -> Iterator[Processes]:
    """Return the starter of processes."""
    found = Processes(tmp_path)
    yield found
    found.kill_all()
    connection.close()


@pytest.fixture
def until(processes: Processes) -> Callable[[Callable[[], bool], float], float]:
    """Return a function that waits for something to become true and says how long it took."""

    def wait(condition: Callable[[], bool], seconds: float = 90) -> float:
        began = time.monotonic()
        while not condition():
            if time.monotonic() - began > seconds:
                pytest.fail(f"not within {seconds} s\n{processes.logs()}")
            time.sleep(0.05)
        return time.monotonic() - began

    return wait
