"""The portal's processes, twice each, started again a while after they were killed or ended."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from jitportal.embedded import children
from jitportal.embedded.demo import CELERY_WORKERS, SCHEDULER
from tests.bench.ground import CHECKOUT

#: Seconds until a process that ended by itself is started again, as systemd does.
RESTART_SECONDS = 1.0


class Processes:
    """Names, commands and lives of a run's processes. Used by the main thread alone."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._folder = folder
        self._environment = environment
        self._commands: dict[str, tuple[list[str], dict[str, str]]] = {}
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._due: dict[str, float] = {}
        self.killed: list[tuple[float, str]] = []
        self.gone: list[tuple[float, str]] = []
        self.started: list[tuple[float, str]] = []
        self.ended: Counter[str] = Counter()

    def add(self, name: str, command: list[str], **more: str) -> None:
        """Start a process that is kept running."""
        self._commands[name] = (command, more)
        self._start(name)

    def names(self) -> list[str]:
        """Return what runs now."""
        return sorted(self._running)

    def of(self, whom: str) -> list[str]:
        """Return the processes of a kind, or the one of that name."""
        return [name for name in self._commands if whom in (name, name.partition("-")[0])]

    def are_settled(self, whom: str, *, for_seconds: float) -> bool:
        """Return whether all of that one's kind have been running for so long."""
        young = {name for at, name in self.started if at > time.time() - for_seconds}
        kind = self.of(whom.partition("-")[0])
        return all(name in self._running and name not in young for name in kind)

    def kill(self, name: str, *, away_seconds: float) -> None:
        """Kill -9 its whole group; it is started again later."""
        process = self._running.pop(name, None)
        if process is None:
            return
        _kill(process)
        self.killed.append((time.time(), name))
        self.gone.append(self.killed[-1])
        self._due[name] = time.monotonic() + away_seconds

    def look_after(self) -> None:
        """Start what is due, and notice what ended by itself."""
        for name, process in list(self._running.items()):
            if process.poll() is not None:
                del self._running[name]
                self.ended[name] += 1
                self.gone.append((time.time(), name))
                self._due[name] = time.monotonic() + RESTART_SECONDS
        for name, due in list(self._due.items()):
            if due <= time.monotonic():
                del self._due[name]
                self._start(name)

    def start_all(self) -> None:
        """Everything that is down starts now."""
        self._due = dict.fromkeys(self._due, 0.0)
        self.look_after()

    def stop(self) -> None:
        """Nothing runs any more."""
        self._due.clear()
        for process in self._running.values():
            process.terminate()
        ends = time.monotonic() + 10
        for process in self._running.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.1, ends - time.monotonic()))
            _kill(process)
        self._running.clear()

    def _start(self, name: str) -> None:
        command, more = self._commands[name]
        self.started.append((time.time(), name))
        with (self._folder / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                command,
                cwd=CHECKOUT,
                env=self._environment | more,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=children.dies_with_us(signal.SIGKILL),
            )


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def beat() -> list[str]:
    """Return beat's command."""
    return [*_celery(), "beat", "--pidfile=", "--scheduler", SCHEDULER]


def workers(number: int) -> dict[str, list[str]]:
    """Return the command of each queue's worker."""
    return {
        queue: [
            *_celery(), "worker", "-Q", queue, "-n", f"{queue}-{number}@%h",
            "-P", "threads", "-c", str(threads),
            "--without-mingle", "--without-gossip", "--without-heartbeat",
        ]
        for queue, threads in CELERY_WORKERS.items()
    }  # fmt: skip


def web(port: int) -> list[str]:
    """Return a web server's command."""
    return [
        sys.executable, "-m", "gunicorn", "tests.chaos.application:application",
        "--bind", f"127.0.0.1:{port}", "--worker-class", "gthread", "--workers", "1",
        "--threads", "6", "--graceful-timeout", "3", "--no-control-socket",
        "--log-level", "warning",
    ]  # fmt: skip


def sealer() -> list[str]:
    """Return the sealer's command."""
    return [sys.executable, "manage.py", "ledger_seal"]


def redis(port: int, folder: Path) -> list[str]:
    """Return a broker's command that keeps nothing on the disk."""
    return [
        "redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "",
        "--appendonly", "no", "--dir", str(folder),
    ]  # fmt: skip


def _celery() -> list[str]:
    return [sys.executable, "-m", "celery", "-A", "tests.chaos.application"]
