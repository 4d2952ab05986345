"""How long `make demo` takes, after its set-up, to a page that can be used.

The first start makes two clusters, the tables and the demo's people with their history; the second
finds them. A page counts when the sign-in form of the portal comes with status 200.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from jitportal.embedded import children, files, server
from tests.bench.ground import CHECKOUT, FOREIGN, Ground
from tests.bench.rows import Row, median, row

GOAL_SECONDS = 15
GIVE_UP_SECONDS = 180
STOP_SECONDS = 30


class NotStarted(Exception):
    """The demo ended, or showed no page in time."""


def run(ground: Ground, *, quick: bool) -> list[Row]:
    """Start the demo from nothing and again, several times; return the medians."""
    first: list[float] = []
    again: list[float] = []
    for number in range(1 if quick else 3):
        ground.say(f"startup: round {number + 1}")
        folder = ground.folder / f"demo-{number}"
        shutil.rmtree(folder, ignore_errors=True)
        try:
            first.append(_start(ground, folder))
            again.append(_start(ground, folder))
        finally:
            _remove(folder)
    return [
        row("startup.first", median(first), "s", at_most=GOAL_SECONDS),
        row("startup.again", median(again), "s", at_most=GOAL_SECONDS),
    ]


def _start(ground: Ground, folder: Path) -> float:
    """Start the demo, wait for its page, stop it; return the seconds until the page."""
    port = server.free_port()
    inherited = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    with ground.log("demo").open("ab") as log:
        begun = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "manage.py", "demo"],
            cwd=CHECKOUT,
            env={**inherited, "DEMO_DIR": str(folder), "PORT": str(port)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=children.dies_with_us(signal.SIGTERM),
        )
    try:
        _wait(f"http://127.0.0.1:{port}/accounts/login/", process)
        return time.monotonic() - begun
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait(address: str, process: subprocess.Popen[bytes]) -> None:
    """Return once the page comes. Raises: NotStarted."""
    ends = time.monotonic() + GIVE_UP_SECONDS
    while time.monotonic() < ends:
        if process.poll() is not None:
            raise NotStarted("The demo ended; demo.log says why.")
        try:
            with urllib.request.urlopen(address, timeout=5) as response:
                if b'name="password"' in response.read():
                    return
        except (urllib.error.URLError, OSError):
            pass
        time.sleep(0.05)
    raise NotStarted(f"No page at {address} after {GIVE_UP_SECONDS} s; demo.log says more.")


def _remove(folder: Path) -> None:
    """Remove the demo's state, also what lies outside where its servers run as another account."""
    for name in ("database", "orders-db"):
        state = folder / name / "state.json"
        if state.exists():
            data = Path(str(files.read_json(state)["data"]))
            shutil.rmtree(data.parent, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)
