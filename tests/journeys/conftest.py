"""The demo as a newcomer starts it, and a real browser to use it with."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

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
            cwd=ROOT, env=_clean() | {"DEMO_DIR": str(self.folder)},
            capture_output=True, text=True, check=False, timeout=30,
        )  # fmt: skip
        return dict(re.findall(r"^export (\w+)=['\"]?(.*?)['\"]?$", found.stdout, re.MULTILINE))


def _clean() -> dict[str, str]:
    ours = ("DATABASE_URL", "BROKER_URL", "SECRET_KEY", "DATABASE_POOL", "LOG_FORMAT")
    return {name: value for name, value in os.environ.items() if name not in ours}


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """Start `manage.py demo` in a folder of its own, and stop it with Ctrl-C's signal."""
    folder = tmp_path_factory.mktemp("demo")
    with (folder / "output.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "demo"],
            cwd=ROOT,
            env=_clean() | {"DEMO_DIR": str(folder / "state"), "PORT": str(_free_port())},
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
    deadline = time.monotonic() + 150
    while time.monotonic() < deadline and process.poll() is None:
        if "Sign in as" in (folder / "output.log").read_text(errors="replace"):
            return demo.told()
        time.sleep(0.5)
    pytest.fail("the demo did not start:\n" + (folder / "output.log").read_text()[-4000:])


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Start Debian's chromium; without it the journeys are skipped, but never in CI."""
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        message = "no chromium here: install Debian's package `chromium`, or set CHROMIUM to one"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield found
        found.close()


SignIn = Callable[[str], Page]


@pytest.fixture
def sign_in(demo: Demo, browser: Browser) -> Iterator[SignIn]:
    """Return a function that signs a person in, in a browser of their own.

    The test fails when a page logs an error or breaks its content security policy.
    """
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def listen(kind: str, text: str) -> None:
        if kind == "error" and not text.startswith("htmx:"):  # polls that leaving a page cut off
            complaints.append(text)

    def sign(login: str) -> Page:
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("console", lambda line: listen(line.type, line.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(f"{demo.url}/accounts/login/")
        page.locator("[name=login]").fill(login)
        page.locator("[name=password]").fill("demo")
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url(f"{demo.url}/")
        return page

    yield sign
    for context in contexts:
        context.close()
    assert complaints == []
