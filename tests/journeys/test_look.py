"""The look's promises: light on a cold start and still while it loads, big enough for a thumb."""

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.journeys.conftest import Demo, SignIn
from tests.journeys.screenshots import VIEWS, opened, seat

FIRST_PAGE_MOST_BYTES = 100_000
THUMB_LEAST_PX = 44

#: What is pressed on a phone. Links within a sentence are as high as their line.
PRESSED = ".btn:not(.note .btn, .command .btn), .chip, .nav > a:not(.brand), .tabs a, .item, input, select"
SHIFTS = """
window.moved = 0;
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.moved += entry.value;
}).observe({ type: "layout-shift", buffered: true });
"""
SMALL = f"""
(elements) => elements
  .filter((each) => each.checkVisibility() && !each.matches(".chip input, [type=checkbox], [type=radio], [type=hidden], .hidden"))
  .filter((each) => each.getBoundingClientRect().height < {THUMB_LEAST_PX - 0.5})
  .map((each) => each.outerHTML.slice(0, 120))
"""


def weigh(browser: Browser, url: str, cookies: list[dict[str, object]]) -> tuple[int, float]:
    """Return the bytes that a cold start transfers, and how much the page moves meanwhile."""
    context = browser.new_context()
    context.add_cookies(cookies)  # type: ignore[arg-type]
    page = context.new_page()
    page.add_init_script(SHIFTS)
    wire = context.new_cdp_session(page)
    wire.send("Network.enable")
    sizes: list[int] = []
    wire.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    page.goto(url, wait_until="networkidle")
    page.evaluate("document.fonts.ready")
    moved: float = page.evaluate("window.moved")
    context.close()
    return int(sum(sizes)), moved


@pytest.mark.parametrize("path", ["/accounts/login/", "/inbox/", "/"])
def test_the_first_page_is_light_and_does_not_move(
    demo: Demo, browser: Browser, sign_in: SignIn, path: str
) -> None:
    cookies = [] if path == "/accounts/login/" else sign_in("bob").context.cookies()
    size, moved = weigh(browser, demo.url + path, [dict(each) for each in cookies])
    assert 10_000 < size < FIRST_PAGE_MOST_BYTES
    assert moved < 0.01


@pytest.mark.parametrize("who", ["", "alice", "bob", "dora"])
def test_what_is_pressed_on_a_phone_is_big_enough(demo: Demo, browser: Browser, who: str) -> None:
    small = {}
    with seat(browser, demo, who, width=390, theme="light") as page:
        for view in VIEWS[who]:
            opened(page, demo, view)
            if found := page.eval_on_selector_all(PRESSED, SMALL):
                small[view.name] = found
    assert small == {}


def background(page: Page) -> str:
    found: str = page.evaluate("getComputedStyle(document.body).backgroundColor")
    return found


def test_the_theme_can_be_switched_and_stays(demo: Demo, sign_in: SignIn) -> None:
    page = sign_in("alice")
    seen = [background(page)]
    for name in ("light", "dark"):
        page.get_by_role("button", name=f"Go to {name}").click()
        expect(page.locator("html")).to_have_attribute("data-theme", name)
        seen.append(background(page))
    assert seen[0] == seen[1] != seen[2]  # the system of this browser is light
    page.goto(f"{demo.url}/catalogue/")
    assert background(page) == seen[2]


def test_single_keys_can_be_switched_off(demo: Demo, sign_in: SignIn) -> None:
    page = sign_in("alice")
    page.keyboard.press("n")
    page.wait_for_url(f"{demo.url}/catalogue/")
    page.goto(f"{demo.url}/settings/")
    page.get_by_label("Off", exact=True).check(force=True)
    page.get_by_role("button", name="Save the look").click()
    expect(page.get_by_text("single keys are off")).to_be_visible()
    page.keyboard.press("n")
    page.wait_for_timeout(500)
    assert page.url == f"{demo.url}/settings/"


def test_a_message_can_be_closed(demo: Demo, sign_in: SignIn) -> None:
    page = sign_in("alice")
    page.goto(f"{demo.url}/settings/")
    page.get_by_role("button", name="Save", exact=True).click()
    toast = page.locator(".toast")
    expect(toast).to_contain_text("Saved.")
    toast.get_by_role("button", name="Close").click()
    expect(toast).to_have_count(0)
