"""A demo as a newcomer starts it, and where chromium is; for the journeys and the pictures."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@dataclass(frozen=True)
class Demo:
    """A running demo: its address, its folder, and what `demo --env` says."""

    folder: Path
    environment: dict[str, str]

    @property
    def url(self) -> str:
        """Return the portal's address without a final slash."""
        return self.environment["WEB_URL"].rstrip("/")

    def told(self) -> dict[str, str]:
        """Return what the demo says about itself now."""
        found = subprocess.run(
            [sys.executable, "manage.py", "demo", "--env"],
            cwd=ROOT, env=clean_environment() | {"DEMO_DIR": str(self.folder)},
            capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        return dict(re.findall(r"^export (\w+)=['\"]?(.*?)['\"]?$", found.stdout, re.MULTILINE))


def clean_environment() -> dict[str, str]:
    """Return this process's environment without what points at another portal."""
    ours = ("DATABASE_URL", "BROKER_URL", "SECRET_KEY", "DATABASE_POOL", "LOG_FORMAT")
    return {name: value for name, value in os.environ.items() if name not in ours}


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


@contextmanager
def started(folder: Path) -> Iterator[Demo]:
    """Start `manage.py demo` in a folder of its own, and stop it with Ctrl-C's signal.

    Raises: RuntimeError with the end of its output when it does not start.
    """
    with (folder / "output.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "demo"],
            cwd=ROOT,
            env=clean_environment() | {"DEMO_DIR": str(folder / "state"), "PORT": str(_free_port())},
            stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
    try:
        yield Demo(folder / "state", _wait(Demo(folder / "state", {}), process, folder))
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(timeout=40)
        except subprocess.TimeoutExpired:
            process.kill()


def _wait(demo: Demo, process: subprocess.Popen[bytes], folder: Path) -> dict[str, str]:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and process.poll() is None:
        if "Sign in as" in (folder / "output.log").read_text(errors="replace"):
            return demo.told()
        time.sleep(0.5)
    end = (folder / "output.log").read_text(errors="replace")[-4000:]
    raise RuntimeError(f"the demo did not start:\n{end}")


def chromium() -> str | None:
    """Return where Debian's chromium is, or another that CHROMIUM names."""
    return os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
