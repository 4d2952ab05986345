"""Access reviews in a real browser: by the keyboard alone, and on a phone."""

from datetime import timedelta
from pathlib import Path

import pytest

from approvals import handlers
from approvals.models import ReviewCampaign, ReviewDecision
from approvals.selectors import clock
from approvals.services import review_opening
from tests.connectors.noop import Noop
from tests.portal.test_inbox_browser import Desk, chromium, desk
from tests.world import World, build

__all__ = ["chromium", "desk"]

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def opened(noop: Noop) -> World:
    """A campaign about two accesses of alice's."""
    world = build(now=clock.now())
    world.active(minutes=400)
    world.ask(what=world.read, minutes=400)
    handlers.work("due")
    handlers.work("provisioning")
    now = clock.now()
    review_opening.open_campaign(
        actor=world.dora, name="Q4", due_at=now + timedelta(days=1), now=now
    )
    return world


def test_a_review_is_done_by_the_keyboard_alone(opened: World, desk: Desk) -> None:
    page = desk.sit(opened.bob)
    page.goto("/reviews/")
    page.locator("input[name=item]").first.focus()
    page.keyboard.press("Space")
    for _ in range(10):  # boxes, links to requests, then the reason
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "reason":
            break
    page.keyboard.type("On call this week.")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.value") == "keep"
    with page.expect_navigation():
        page.keyboard.press("Enter")
    assert page.locator(".toast").inner_text().startswith("1 access is kept.")
    made = ReviewDecision.objects.get()
    assert (made.verdict, made.reason, made.actor) == ("keep", "On call this week.", opened.bob)
    assert desk.complaints == []


def test_ctrl_enter_chooses_between_no_answers(opened: World, desk: Desk) -> None:
    page = desk.sit(opened.bob)
    page.goto("/reviews/")
    page.locator("input[name=item]").first.check()
    page.locator("#reason").fill("On call this week.")
    page.keyboard.press("Control+Enter")
    page.locator("input[name=item]").first.press("Control+Enter")
    page.wait_for_load_state("networkidle")
    assert page.url.endswith("/reviews/")
    assert page.input_value("#reason") == "On call this week."
    assert not ReviewDecision.objects.exists()
    assert desk.complaints == []


def test_ctrl_enter_does_what_the_field_is_about(opened: World, desk: Desk) -> None:
    page = desk.sit(opened.dora)
    page.goto("/reviews/")
    page.get_by_role("link", name="Q4").click()
    page.get_by_label("Remark, if there is one").fill("Looked at it.")
    with page.expect_response("**/sign-off/"):
        page.keyboard.press("Control+Enter")
    page.get_by_text("2 of 2 items are not decided yet").wait_for()
    assert page.input_value("#remark") == "Looked at it."
    page.get_by_label("Why it is cancelled").press("Control+Enter")  # nothing: it is needed
    page.get_by_label("Why it is cancelled").fill("Wrong scope.")
    with page.expect_response("**/cancel/"):
        page.keyboard.press("Control+Enter")
    page.get_by_text("Cancelled by Dora").wait_for()
    closed = ReviewCampaign.objects.get(revision=2)
    assert (closed.event, closed.comment) == ("cancelled", "Wrong scope.")


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nothing_is_wider_than_its_window(
    opened: World, desk: Desk, width: int, theme: str, tmp_path: Path
) -> None:
    for who in (opened.bob, opened.dora):
        page = desk.sit(who, viewport={"width": width, "height": 900}, color_scheme=theme)
        page.goto("/reviews/")
        shown = [page]
        if who == opened.dora:
            page.screenshot(path=tmp_path / f"start-{width}-{theme}.png", full_page=True)
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            page.get_by_role("link", name="Q4").click()
            page.wait_for_selector("#reviewers")
        for each in shown:
            each.screenshot(path=tmp_path / f"{who.username}-{width}-{theme}.png", full_page=True)
            assert each.evaluate("document.documentElement.scrollWidth") <= width
    assert desk.complaints == []
