"""The requester's errand by keyboard: find, ask, look, withdraw, ask again; at both widths and in both themes."""

import re

import pytest
from playwright.sync_api import Browser, expect

from tests.journeys.conftest import Demo
from tests.journeys.screenshots import THEMES, WIDTHS, Theme, overheard, prepare, seat
from tests.journeys.test_axe import findings


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_somebody_asks_withdraws_and_asks_again(
    demo: Demo, browser: Browser, width: int, theme: Theme
) -> None:
    reason = f"Look up a customer's invoice, at {width}, {theme}."
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


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_somebody_connects_extends_and_gives_back(
    demo: Demo, browser: Browser, width: int, theme: Theme
) -> None:
    prepare(browser, demo)
    with seat(browser, demo, "alice", width=width, theme=theme) as page:
        page.goto(f"{demo.url}/")
        extend = page.locator("a[id^='extend-']")
        card = page.locator("article.card", has=extend).first
        with overheard(page, "holding") as said:
            card.get_by_role("link", name="Connect").click()
            page.wait_for_url("**#connect")
            held = page.url
            expect(page.locator("#connect")).to_be_visible()
            assert findings(page, name="connecting") == []
            page.locator("#extend").focus()
            page.keyboard.press("Enter")
            page.wait_for_url("**extends=**")
            page.get_by_label("Why", exact=False).first.fill("Not done yet.")
            assert findings(page, name="extending") == []
            page.keyboard.press("Control+Enter")
            page.wait_for_url(re.compile(r"/requests/[0-9a-f-]{36}/$"))
            assert findings(page, name="extended") == []
            page.goto(held)
            page.locator("#give-back").focus()
            page.keyboard.press("Enter")
            expect(page.get_by_text("is being removed; it is gone once").first).to_be_visible()
            assert findings(page, name="given-back") == []
            page.goto(f"{demo.url}/")  # what it was extended by goes with it
            expect(page.locator("article.card")).to_have_count(0)
        assert said == []


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_somebody_answers_what_they_are_asked(
    demo: Demo, browser: Browser, width: int, theme: Theme
) -> None:
    text = f"Which invoice, at {width}, {theme}?"
    with seat(browser, demo, "bob", width=width, theme=theme) as page:
        page.goto(f"{demo.url}/inbox/?who=tariq")
        page.goto(f"{demo.url}{page.locator('[data-item]').first.get_attribute('hx-get')}")
        page.locator("#question").fill(text)
        page.get_by_role("button", name=re.compile("^Ask ")).click()
        expect(page.get_by_text(text)).to_be_visible()
    with seat(browser, demo, "tariq", width=width, theme=theme) as page:
        page.goto(f"{demo.url}/")
        page.locator("a[href$='#questions']").first.click()
        mine = page.locator(".talk li", has_text=text)
        mine.get_by_label("Your answer").fill("The one of May.")
        assert findings(page, name="answering") == []
        mine.get_by_role("button", name="Answer").click()
        expect(page.locator(".talk li", has_text=text)).to_contain_text("The one of May.")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
