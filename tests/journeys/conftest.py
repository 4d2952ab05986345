"""The demo as a newcomer starts it, and a real browser to use it with."""

from collections.abc import Callable, Generator, Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.journeys.running import FLAGS, Demo, chromium, started
from tests.programs import lacking

__all__ = ["Demo", "SignIn"]

#: How long a page may take to show what is expected. Speed is shown by `make bench`, not here.
PATIENCE_MILLISECONDS = 30_000
#: Lines of the demo's output that a failed journey shows.
LINES = 150

expect.set_options(timeout=PATIENCE_MILLISECONDS)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Function,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show with a failed journey what the demo said meanwhile."""
    report = yield
    running = item.funcargs.get("demo")
    if report.failed and isinstance(running, Demo):
        said = (running.folder.parent / "output.log").read_text(errors="replace").splitlines()
        report.sections.append(("the demo's output", "\n".join(said[-LINES:])))
    return report


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """Start the demo once for all journeys."""
    with started(tmp_path_factory.mktemp("demo")) as running:
        yield running


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Start Debian's chromium; without it the journeys are skipped, but never in CI.

    Closed with the journeys: its event loop would forbid later tests the database.
    """
    path = chromium()
    if path is None:
        lacking("no chromium here: install Debian's package `chromium`, or set CHROMIUM to one")
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
        page.set_default_timeout(PATIENCE_MILLISECONDS)
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
