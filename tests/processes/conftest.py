"""Real processes of the portal on the test's database: web, workers, beat, sealer.

The broker is the quick start's, unless a test gives another one.
"""

import contextlib
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
from tests.processes.brokers import HOST, free_ports

LEASE_SECONDS = 3
QUEUES = ("due", "provisioning", "notices")
THREADS = 4


class Processes:
    """Starts and kills web, workers and beat; everything is dead when the test ends.

    A process is named after its kind (`web`, `beat`, `sealer`, a lane); of several of a kind each has a
    number behind a dot: `web.1`, `web.2`.
    """

    def __init__(self, folder: Path, *, broker_url: str = "") -> None:
        self.folder = folder
        self.broker_url = broker_url or roles.broker_url(cluster=cluster())
        if not broker_url:
            broker.install(self.broker_url)
        self.ports: dict[str, int] = {}
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, *names: str) -> None:
        """Start these; it does not wait until they are ready."""
        environment = os.environ | {
            "DATABASE_URL": cluster().socket_url(roles.APP),
            "DATABASE_POOL": "12",
            "BROKER_URL": self.broker_url,
            "NOOP_FOLDER": str(self.folder),
            "OUTBOX_LEASE_SECONDS": str(LEASE_SECONDS),
            "DEMO_MAIL_DIR": str(self.folder / "mail"),
        }
        for name in names:
            role = {"DATABASE_URL": cluster().socket_url(roles.SEALER)} if name == "sealer" else {}
            with (self.folder / f"{name}.log").open("ab") as log:
                self._running[name] = subprocess.Popen(
                    [sys.executable, "-m", *self._command(name)],
                    env=environment | role, stdout=log, stderr=log, start_new_session=True,
                )  # fmt: skip

    def _command(self, name: str) -> list[str]:
        """The module that runs as the process, and its arguments, as production has them."""
        kind = name.partition(".")[0]
        if kind == "web":
            (self.ports[name],) = free_ports(1)
            return [
                *("gunicorn", "tests.processes.wsgi", "--bind", f"{HOST}:{self.ports[name]}"),
                *("--worker-class", "gthread", "--workers", "1", "--threads", "8"),
                *("--no-control-socket", "--log-level", "warning"),
            ]
        if kind == "sealer":
            return ["django", "ledger_seal"]
        celery = "tests.processes.worker"
        if kind == "beat":
            scheduler = "jitportal.schedule:LeadingScheduler"
            return [celery, "beat", "--pidfile=", "--scheduler", scheduler]
        return [
            *(celery, "worker", "-Q", kind, "-n", f"{name}@%h", "-P", "threads"),
            *("-c", str(THREADS)),
            *("--without-mingle", "--without-gossip", "--without-heartbeat"),
        ]

    @property
    def running(self) -> list[str]:
        """The names of those that were started and not killed."""
        return list(self._running)

    def pid(self, name: str) -> int:
        """The id of a running process."""
        return self._running[name].pid

    def leaders(self) -> list[str]:
        """The names of the beats that have ever led, by their logs."""
        return [
            path.stem for path in self.folder.glob("beat*.log") if "beat.leads" in path.read_text()
        ]

    def ask_to_stop(self, *names: str, seconds: float) -> dict[str, int]:
        """TERM to these, as a service manager does; the exit statuses of those that ended."""
        for name in names:
            os.kill(self._running[name].pid, signal.SIGTERM)
        end = time.monotonic() + seconds
        statuses: dict[str, int] = {}
        for name in names:
            with contextlib.suppress(subprocess.TimeoutExpired):
                left = max(end - time.monotonic(), 0.01)
                statuses[name] = self._running[name].wait(left)
                del self._running[name]
        return statuses

    def kill(self, *names: str) -> None:
        """Kill -9 at once, the whole process group."""
        for name in names:
            process = self._running.pop(name)
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def revive(self) -> list[str]:
        """Start again what has ended by itself, as a service manager does; their names."""
        ended = [name for name, process in self._running.items() if process.poll() is not None]
        self.start(*ended)
        return ended

    def kill_all(self) -> None:
        """Kill whatever runs."""
        self.kill(*list(self._running))

    def purge_broker(self) -> None:
        """Lose every message that the quick start's broker holds."""
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
