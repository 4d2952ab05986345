"""What htmx fetches, in a real browser: failures are told, the focus stays, news is shown and said."""

import re
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from approvals.models import Decision
from approvals.selectors import clock
from approvals.services import requests
from tests.portal.test_inbox_browser import Desk, chromium, desk, two_requests
from tests.world import World, build

__all__ = ["chromium", "desk"]

pytestmark = pytest.mark.django_db(transaction=True)


def abort(route: Route) -> None:
    route.abort()


def away(route: Route) -> None:
    route.fulfill(status=503, body="<!doctype html><main>Back in a moment</main>")


def focus(page: Page) -> str:
    return str(page.evaluate("document.activeElement.id"))


@pytest.mark.parametrize("failure", [abort, away])
def test_a_decision_that_did_not_arrive_is_told_until_one_does(
    noop: Any, desk: Desk, failure: Any
) -> None:
    page = desk.sit(two_requests().bob)
    page.goto("/inbox/")
    page.route("**/decide/", failure)
    page.focus("#approve")
    page.keyboard.press("Enter")
    told = page.locator("#trouble [role=alert]")
    expect(told).to_contain_text("Not sent, or not known: look again")
    expect(told.get_by_role("link", name="Look again")).to_have_attribute(
        "href", re.compile("/inbox/$")
    )
    page.wait_for_function("document.activeElement.id === 'approve'")
    expect(page.locator("main")).to_have_count(1)
    assert not Decision.objects.exists()
    page.unroute("**/decide/")
    page.keyboard.press("Enter")
    page.locator("main").get_by_text("Approved. Level 2").wait_for()
    expect(told).to_have_count(0)
    assert Decision.objects.count() == 1


def test_a_refusal_is_a_message_and_no_page_within_the_page(noop: Any, desk: Desk) -> None:
    page = desk.sit(two_requests().bob)
    page.goto("/inbox/")
    item = page.locator("[data-item]").last
    item.evaluate(
        "element => { element.setAttribute('hx-get',"
        " '/inbox/?request=00000000-0000-7000-8000-000000000000'); htmx.process(element); }"
    )
    item.click()
    expect(page.locator("#messages [role=alert]")).to_contain_text(
        "It may not exist, or you may not have access"
    )
    for name in ("main", "nav.nav", "#board", "h1#reading"):
        expect(page.locator(name)).to_have_count(1)


def test_a_whole_page_is_never_put_into_a_part(noop: Any, desk: Desk) -> None:
    page = desk.sit(two_requests().bob)
    page.goto("/inbox/")
    page.context.clear_cookies(name="csrftoken")
    page.click("#approve")  # answered by Django itself, with a page of its own
    expect(page.locator("#trouble")).to_contain_text("Refused: nothing was changed.")
    expect(page.locator("main")).to_have_count(1)
    assert not Decision.objects.exists()


def test_a_page_that_can_not_be_kept_up_to_date_says_since_when(noop: Any, desk: Desk) -> None:
    world = build(now=clock.now())
    request = world.ask()
    page = desk.sit(world.alice)
    page.goto(f"/requests/{request.request_id}/")
    page.route("**/status/*", abort)
    told = page.locator("#trouble [role=alert]")
    expect(told).to_contain_text(re.compile(r"Not up to date since \d\d:\d\d\."), timeout=15_000)
    page.unroute("**/status/*")
    expect(told).to_have_count(0, timeout=15_000)


def test_a_poll_keeps_the_focus_and_what_is_open_and_says_the_new_state(
    noop: Any, desk: Desk
) -> None:
    world = build(now=clock.now())
    request = world.approved()
    page = desk.sit(world.alice)
    page.goto(f"/requests/{request.request_id}/")
    page.locator("summary", has_text="What it proves").or_(page.locator("#up")).first.wait_for()
    page.focus("#up")
    requests.cancel(actor=world.alice, request_id=request.request_id, now=clock.now())
    expect(page.locator("#request-state")).to_have_text("Cancelled", timeout=15_000)
    assert focus(page) == "up"
    expect(page.locator("#voice")).to_have_text("orders-db · read-write: cancelled")


def test_hidden_or_paused_pages_do_not_ask(noop: Any, desk: Desk) -> None:
    world = build(now=clock.now())
    request = world.ask()
    page = desk.sit(world.alice)
    asked: list[str] = []
    page.on("request", lambda sent: asked.append(sent.url) if "/status/" in sent.url else None)
    page.context.add_cookies([{"name": "live", "value": "off", "url": desk.url}])
    page.goto(f"/requests/{request.request_id}/")
    page.wait_for_timeout(4_000)
    assert asked == []


def test_news_of_the_inbox_is_told_and_fetched_on_demand(noop: Any, desk: Desk) -> None:
    world = two_requests()
    page = desk.sit(world.bob)
    page.goto("/inbox/")
    page.locator("[data-pick]").nth(1).check()
    page.fill("#comment", "Half a thought")
    gone = page.locator("[data-pick]").nth(1).get_attribute("value")
    assert gone is not None
    requests.cancel(actor=world.mallory, request_id=gone.split("~")[0], now=clock.now())  # type: ignore[arg-type]
    expect(page.locator("#news")).to_contain_text("1 gone", timeout=15_000)
    expect(page.locator("#voice")).to_contain_text("1 gone")
    expect(page.locator("[data-pick]")).to_have_count(2)
    assert page.input_value("#comment") == "Half a thought"
    page.click("#refresh")
    expect(page.locator("[data-pick]")).to_have_count(1)
    expect(page.locator("#news")).to_have_text("")
    expect(page.locator(".nav #inbox-count")).to_contain_text("1")
    assert page.input_value("#comment") == "Half a thought"
    assert desk.complaints == []


def test_all_are_selected_by_a_box_and_by_a_key(noop: Any, desk: Desk) -> None:
    page = desk.sit(two_requests().bob)
    page.goto("/inbox/")
    page.check("#pick-all")
    expect(page.get_by_role("button", name="Approve 2 selected…")).to_be_visible()
    page.locator("[data-pick]").first.uncheck()
    assert page.evaluate("document.getElementById('pick-all').indeterminate")
    page.keyboard.press("*")
    expect(page.locator("[data-pick]:checked")).to_have_count(2)
    page.keyboard.press("*")
    expect(page.locator("[data-pick]:checked")).to_have_count(0)
    assert desk.complaints == []


def test_without_scripts_nothing_is_offered_that_needs_them(noop: Any, desk: Desk) -> None:
    page = desk.sit(two_requests().bob, java_script_enabled=False)
    page.goto("/inbox/")
    expect(page.locator("#pick-all")).to_be_hidden()


def test_an_evidence_pack_can_be_made_again(noop: Any, desk: Desk) -> None:
    world: World = build(now=clock.now())
    page = desk.sit(world.dora)
    page.goto("/reports/evidence/")
    for _ in range(2):
        with page.expect_download() as download:
            page.locator("main form button[type=submit]").click()
        assert download.value.suggested_filename.endswith(".zip")
