"""The manager's morning by keyboard: read, select, approve together, at both widths."""

import pytest
from playwright.sync_api import Browser, expect

from tests.journeys.conftest import Demo
from tests.journeys.screenshots import seat
from tests.journeys.test_axe import findings


def ask(demo: Demo, browser: Browser, who: str, reason: str) -> None:
    with seat(browser, demo, who, width=1280, theme="light") as page:
        page.goto(f"{demo.url}/requests/new/?entitlement=orders-db/owner&duration=1h&ticket=PAY-1")
        page.get_by_label("Why").fill(reason)
        page.get_by_role("button", name="Send request").click()
        page.wait_for_url("**/requests/*/")


@pytest.mark.parametrize("width", [1280, 390])
def test_a_manager_decides_on_several_at_once(demo: Demo, browser: Browser, width: int) -> None:
    reason = f"Add a column, at {width}."
    ask(demo, browser, "alice", reason)
    with seat(browser, demo, "bob", width=width, theme="dark") as page:
        page.goto(f"{demo.url}/inbox/?who=alice")
        expect(page.locator("[data-item]")).to_have_count(1)
        page.keyboard.press("?")
        expect(page.get_by_role("dialog")).to_be_visible()
        assert findings(page, name="keys") == []
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_be_hidden()
        page.keyboard.press("x")
        expect(page.locator("[data-pick]")).to_be_checked()
        assert findings(page, name="selected") == []
        page.keyboard.press("d")
        page.wait_for_url("**/inbox/bulk/**")
        expect(page.get_by_role("heading", level=1)).to_have_text("Deny 1 request")
        expect(page.get_by_text(reason)).to_be_visible()
        assert findings(page, name="bulk") == []
        page.get_by_label("One comment for all of them").fill("Ask in the change window.")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text("1 of 1 decided")
        assert findings(page, name="bulk-done") == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
