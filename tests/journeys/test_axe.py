"""Every page, for everybody who sees it, in both themes and at both widths: axe finds nothing."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from tests.journeys.conftest import Demo
from tests.journeys.screenshots import THEMES, VIEWS, WIDTHS, Theme, opened, prepare, seat

#: WCAG 2.2 up to AA, and axe's own best practices but for those that Django's admin breaks.
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
OF_DJANGO = (
    "heading-order",
    "region",
    "landmark-unique",
    "page-has-heading-one",
    "empty-table-header",
)


#: Toasts come and go by fading; they are looked at in between.
HOLD_TOASTS = """document.getAnimations().filter(each => each.animationName === "leave")
    .forEach(each => { each.pause(); each.currentTime = 5000; })"""
RELEASE_TOASTS = """document.getAnimations().filter(each => each.animationName === "leave")
    .forEach(each => each.play())"""


def findings(page: Page, *, name: str) -> list[str]:
    """Return what axe finds on the page: the rule and where."""
    page.evaluate(HOLD_TOASTS)
    response = Axe().run(page, options={**RULES, "resultTypes": ["violations"]}).response
    page.evaluate(RELEASE_TOASTS)
    return [
        f"{name}: {found['id']} {node['target']} {node.get('failureSummary', '')[:300]}"
        for found in response["violations"]
        if not (name.startswith("admin") and found["id"] in OF_DJANGO)
        for node in found["nodes"][:3]
    ]


@pytest.fixture(scope="module", autouse=True)
def held(demo: Demo, browser: Browser) -> None:
    """Alice holds something, so that its pages are there."""
    prepare(browser, demo)


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("who", VIEWS)
def test_axe_finds_nothing(
    demo: Demo, browser: Browser, who: str, width: int, theme: Theme
) -> None:
    wrong: list[str] = []
    with seat(browser, demo, who, width=width, theme=theme) as page:
        for view in VIEWS[who]:
            wrong += opened(page, demo, view)
            wrong += findings(page, name=view.name)
    assert wrong == []
