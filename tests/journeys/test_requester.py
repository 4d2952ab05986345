"""The requester's errand by keyboard: find, ask, look, withdraw, ask again; at both widths."""

import re

import pytest
from playwright.sync_api import Browser, expect

from tests.journeys.conftest import Demo
from tests.journeys.screenshots import Theme, seat
from tests.journeys.test_axe import findings


@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (390, "dark")])
def test_somebody_asks_withdraws_and_asks_again(
    demo: Demo, browser: Browser, width: int, theme: Theme
) -> None:
    reason = f"Look up a customer's invoice, at {width}."
    with seat(browser, demo, "tariq", width=width, theme=theme) as page:
        page.goto(f"{demo.url}/catalogue/")
        page.keyboard.press("/")
        expect(page.get_by_role("searchbox")).to_be_focused()
        page.keyboard.type("read-write")
        page.wait_for_url("**q=read-write**")  # as one types
        page.get_by_role("link", name=re.compile("^Request orders-db read-write")).focus()
        page.keyboard.press("Enter")
        page.wait_for_url("**/requests/new/**")
        page.get_by_label("Why", exact=False).first.fill(reason)
        expect(page.locator("#preview")).to_contain_text("Bob Lindqvist")
        assert findings(page, name="asking") == []
        page.keyboard.press("Control+Enter")
        page.wait_for_url(re.compile(r"/requests/[0-9a-f-]{36}/"))
        expect(page.get_by_text("Pending", exact=True).first).to_be_visible()
        expect(page.get_by_text(reason).first).to_be_visible()
        assert findings(page, name="sent") == []
        page.locator("#cancel").focus()
        page.keyboard.press("Enter")
        expect(page.get_by_text("Cancelled", exact=True).first).to_be_visible()
        page.locator("#repeat").focus()
        page.keyboard.press("Enter")
        page.wait_for_url("**again=**")
        expect(page.get_by_label("Why", exact=False).first).to_have_value(reason)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
