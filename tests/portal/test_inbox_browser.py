"""The inbox in a real browser: its keys, its phone layout, and texts that try to be code."""

import os
import re
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from playwright.sync_api import Browser, Page, sync_playwright

from approvals.models import (
    Decision,
    Group,
    Membership,
    RequestHandover,
    RequestMessage,
    User,
)
from approvals.selectors import clock
from tests.portal.test_inbox import XSS
from tests.programs import lacking
from tests.world import World, build

pytestmark = pytest.mark.django_db(transaction=True)
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        lacking("no chromium here: install Debian's package `chromium`, or set CHROMIUM to one")
    # Playwright runs a loop in this thread, which Django would take for an async caller.
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


class Desk:
    """Somebody at a browser; `complaints` are what the pages logged or tried to open."""

    def __init__(self, browser: Browser, url: str) -> None:
        self.browser, self.url = browser, url
        self.complaints: list[str] = []

    def sit(self, who: User, **options: Any) -> Page:
        """Return a page in a browser where this person is signed in."""
        client = Client()
        client.force_login(who)
        context = self.browser.new_context(base_url=self.url, **options)
        cookie = client.cookies[settings.SESSION_COOKIE_NAME].value
        context.add_cookies(
            [{"name": settings.SESSION_COOKIE_NAME, "value": cookie, "url": self.url}]
        )
        page = context.new_page()
        page.on("dialog", lambda dialog: self.complaints.append(f"dialog {dialog.message}"))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on(
            "console",
            lambda line: self.complaints.append(line.text) if line.type == "error" else None,
        )
        return page


@pytest.fixture
def desk(chromium: Browser, live_server: Any) -> Iterator[Desk]:
    found = Desk(chromium, live_server.url)
    yield found
    for context in chromium.contexts:
        context.close()


def two_requests() -> World:
    world = build(now=clock.now())
    Membership.objects.create(person=world.mallory, group=Group.objects.get(name="eng"))
    world.ask()
    world.ask(by=world.mallory)
    return world


def test_keys_move_deny_and_approve(noop: Any, desk: Desk) -> None:
    page = desk.sit(two_requests().bob)
    page.goto("/inbox/")
    current = "[data-item][aria-current=true]"
    first = page.locator(current).get_attribute("id")
    page.keyboard.press("j")
    page.wait_for_url("**request=*")
    page.wait_for_function(f"document.querySelector('{current}').id !== '{first}'")
    page.keyboard.press("d")
    assert page.evaluate("document.activeElement.id") == "comment"
    page.keyboard.press("Enter")
    assert page.get_attribute("#comment", "placeholder") == "Say why you deny it"
    assert not Decision.objects.exists()
    page.keyboard.type("No need.")
    page.keyboard.press("Enter")
    page.locator("main").get_by_text("Denied. Mallory is told").wait_for()
    assert "1" in page.inner_text(".nav .count")
    page.keyboard.press("a")
    page.keyboard.press("Enter")
    page.locator("main").get_by_text(
        "Approved. Level 2, Data owners, asks Carol, Dan now."
    ).wait_for()
    page.get_by_text("Nothing waits for you.").wait_for()
    verdicts = Decision.objects.order_by("id").values_list("verdict", "comment")
    assert list(verdicts) == [("deny", "No need."), ("approve", "")]
    assert desk.complaints == []


def test_a_key_hands_over(noop: Any, desk: Desk) -> None:
    page = desk.sit(two_requests().bob)
    page.goto("/inbox/")
    assert not page.locator("#to").is_visible()
    page.keyboard.press("o")
    assert page.evaluate("document.activeElement.id") == "to"
    page.keyboard.type("caro")
    page.locator("#takers option[value=carol]").wait_for(state="attached")
    page.keyboard.type("l")
    page.keyboard.press("Tab")
    page.keyboard.type("Away this afternoon.")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.locator("main").get_by_text("Handed over. Carol is asked now").wait_for()
    handed = RequestHandover.objects.get()
    assert (handed.giver_name, handed.taker_name) == ("Bob", "Carol")
    assert handed.comment == "Away this afternoon."
    assert "1" in page.inner_text(".nav .count")
    assert desk.complaints == []


def test_enter_without_a_choice_sends_nothing(noop: Any, desk: Desk) -> None:
    page = desk.sit(two_requests().bob)
    page.goto("/inbox/")
    page.keyboard.press("c")
    page.keyboard.type("hm")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "approve"
    page.wait_for_load_state("networkidle")
    assert not Decision.objects.exists()


def test_ctrl_enter_sends_a_question_and_decides_nothing(noop: Any, desk: Desk) -> None:
    page = desk.sit(two_requests().bob)
    page.goto("/inbox/")
    page.keyboard.press("a")
    page.keyboard.press("Control+Enter")
    page.keyboard.press("Escape")
    page.keyboard.press("q")
    page.keyboard.type("For which customer?")
    page.keyboard.press("Control+Enter")
    page.locator("main").get_by_text("For which customer?").first.wait_for()
    page.wait_for_function("document.getElementById('question')?.value !== 'For which customer?'")
    assert RequestMessage.objects.get().text == "For which customer?"
    assert not Decision.objects.exists()
    assert desk.complaints == []


def test_everything_works_without_javascript(noop: Any, desk: Desk) -> None:
    page = desk.sit(two_requests().bob, java_script_enabled=False)
    page.goto("/inbox/")
    page.locator("[data-item]").nth(1).click()
    page.fill("#comment", "typed")
    page.press("#comment", "Enter")
    assert "Choose approve or deny." in page.inner_text("[role=alert]")
    assert page.input_value("#comment") == "typed"
    page.click("#approve")
    assert "Approved. Level 2" in page.inner_text("#messages")
    assert Decision.objects.count() == 1


def test_on_a_phone_list_and_pane_are_two_pages(noop: Any, desk: Desk) -> None:
    page = desk.sit(two_requests().bob, viewport={"width": 390, "height": 844})
    page.goto("/inbox/")
    assert page.locator(".items").is_visible()
    assert not page.locator(".pane").is_visible()
    page.locator("[data-item]").first.click()
    page.locator(".pane").wait_for()
    assert not page.locator(".items").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.click("a.back")
    page.locator(".items").wait_for()
    assert desk.complaints == []


def test_no_text_runs_as_code_on_any_of_the_pages(noop: Any, desk: Desk) -> None:
    world = build(now=clock.now())
    evil = " ".join(XSS)
    world.alice.title = evil[:200]
    world.alice.name = evil[:200]
    world.alice.save()
    world.write.description = evil[:500]
    world.write.save()
    world.ended(minutes=1, reason=evil, ticket=evil[:100])
    world.decide(world.bob, world.ask(reason=evil), comment=evil)
    for who, address in (
        (world.carol, "/inbox/"), (world.bob, "/inbox/decided/"), (world.dora, "/audit/"),
        (world.dora, "/audit/?q=" + "%3Cscript%3Ealert(1)%3C/script%3E"), (world.dora, "/reports/"),
        (world.dora, "/reports/who-had-access/"), (world.dora, "/reports/approval-decisions/"),
    ):  # fmt: skip
        page = desk.sit(who)
        page.goto(address, wait_until="networkidle")
        assert page.locator("main img, main script, main svg[onload]").count() == 0, address
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), address
    assert desk.complaints == []


def test_keys_select_and_bulk_shows_once_then_tells_of_each(noop: Any, desk: Desk) -> None:
    page = desk.sit(two_requests().bob)
    page.goto("/inbox/")
    assert not page.get_by_role("button", name="Approve selected").is_visible()
    page.keyboard.press("x")
    page.get_by_role("button", name="Approve 1 selected…").wait_for()
    assert all(
        re.fullmatch(r"(escalates in )?\d+ s", due)
        for due in page.locator(".due").all_text_contents()
    )
    page.keyboard.press("j")  # replaces the board; what is selected stays
    page.wait_for_url("**request=*")
    page.wait_for_function("document.querySelectorAll('[data-pick]:checked').length === 1")
    page.keyboard.press("x")
    page.get_by_role("button", name="Approve 2 selected…").wait_for()
    page.keyboard.press("Escape")
    page.wait_for_function("document.querySelectorAll('[data-pick]:checked').length === 0")
    for box in page.locator("[data-pick]").all():
        box.check()
    page.keyboard.press("d")
    page.wait_for_url("**/inbox/bulk/**")
    assert "Deny 2 requests" in page.inner_text("h1")
    assert not Decision.objects.exists()
    page.get_by_label("One comment for all of them").fill("Use the view.")
    page.keyboard.press("Enter")
    page.get_by_text("2 of 2 decided").wait_for()
    verdicts = Decision.objects.order_by("id").values_list("verdict", "comment")
    assert list(verdicts) == [("deny", "Use the view.")] * 2
    page.get_by_role("link", name="Back to the inbox").click()
    page.get_by_text("Nothing waits for you.").wait_for()
    assert desk.complaints == []


def test_the_list_of_keys_opens_and_lets_no_key_through(noop: Any, desk: Desk) -> None:
    page = desk.sit(two_requests().bob)
    page.goto("/inbox/")
    page.keyboard.press("?")
    page.get_by_role("dialog", name="Keys of the inbox").wait_for()
    page.keyboard.press("x")
    page.keyboard.press("n")
    page.keyboard.press("a")
    assert page.url.endswith("/inbox/")
    assert page.locator("[data-pick]:checked").count() == 0
    page.keyboard.press("?")
    page.get_by_role("dialog").wait_for(state="hidden")
    page.get_by_role("button", name="all keys").click()
    page.get_by_role("button", name="Close").click()
    page.get_by_role("dialog").wait_for(state="hidden")
    assert desk.complaints == []


def test_the_slash_filters(noop: Any, desk: Desk) -> None:
    page = desk.sit(two_requests().bob)
    page.goto("/inbox/")
    page.keyboard.press("/")
    page.keyboard.type("mallo")
    page.keyboard.press("Enter")
    page.wait_for_url("**who=mallo*")
    assert page.locator("[data-item]").count() == 1
    assert "Mallory" in page.inner_text("[data-item]")


def test_single_keys_can_be_off(noop: Any, desk: Desk) -> None:
    page = desk.sit(two_requests().bob)
    page.context.add_cookies([{"name": "keys", "value": "off", "url": desk.url}])
    page.goto("/inbox/")
    for key in "xad?/c":
        page.keyboard.press(key)
    assert page.locator("[data-pick]:checked").count() == 0
    assert page.evaluate("document.activeElement === document.body")
    assert not page.get_by_role("dialog").is_visible()


def test_bulk_works_without_javascript(noop: Any, desk: Desk) -> None:
    page = desk.sit(two_requests().bob, java_script_enabled=False)
    page.goto("/inbox/")
    for box in page.locator("[data-pick]").all():
        box.check()
    page.get_by_role("button", name="Approve selected…").click()
    page.get_by_role("button", name="Approve 2").click()
    assert "2 of 2 decided" in page.inner_text("h1")
    assert Decision.objects.count() == 2


def test_a_star_keeps_the_focus(noop: Any, desk: Desk) -> None:
    world = two_requests()
    page = desk.sit(world.alice)
    page.goto("/catalogue/")
    star = page.get_by_role("button", name="Favourite: orders-db owner").last
    star.click()
    page.locator(f"#star-found-{world.own.pk}[aria-pressed=true]").wait_for()
    assert page.evaluate("document.activeElement.id") == f"star-found-{world.own.pk}"
    page.get_by_role("link", name="Favourites").click()
    page.get_by_role("heading", name="Favourites").wait_for()
    assert page.locator(".ent").count() == 1
    assert desk.complaints == []
