"""Pictures of every page: `python -m tests.journeys.screenshots [FOLDER] [--only WORD]`.

Starts the demo, signs in as each person, and writes each page at two widths and in both themes to
FOLDER (`.screenshots`). What is wider than its window, not answered as it should be, refused by the
content security policy or broken in its scripts is named, and the command ends with 1. The axe tests walk the same pages.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import urljoin

from playwright.sync_api import Browser, ConsoleMessage, Error, Page, Response, sync_playwright

from tests.journeys import provoking, reaching
from tests.journeys.running import FLAGS, Demo, chromium, started

WIDTHS = {1280: 800, 390: 844}
Theme = Literal["light", "dark"]
THEMES: tuple[Theme, ...] = ("light", "dark")


class View(NamedTuple):
    """A page as somebody sees it; `follow` is a link on it that leads to the one that is meant.

    `how` is what somebody does who gets it from elsewhere than from a link. `route` is the name of
    what is opened where that is another than what is at `path`.
    """

    name: str
    path: str
    status: int = 200
    follow: str = ""
    how: Callable[[Page, Demo], Response | None] | None = None
    route: str = ""


#: A request that nobody sent.
NOBODY = "00000000-0000-4000-8000-000000000000"

#: The three who use the portal daily, and the page that each begins the day with.
FACES = {"alice": "my-access", "bob": "inbox", "dora": "reports"}
#: The link on one's own page to what one holds now.
HELD = "article a[href^='/requests/']"

#: Every report there is, by its id.
REPORTS = (
    "access-reviews",
    "active-as-of",
    "approval-decisions",
    "approver-patterns",
    "configuration-changes",
    "dormant-rights",
    "failed-removals",
    "handovers",
    "leavers-movers",
    "ledger-integrity",
    "orphaned-access",
    "privileged-access",
    "refused-attempts",
    "removal-timeliness",
    "report-downloads",
    "request-population",
    "who-had-access",
)

#: By who sees them; "" is nobody.
VIEWS: dict[str, tuple[View, ...]] = {
    "": (
        View("sign-in", "/accounts/login/"),
        View("password-reset", "/accounts/password/reset/"),
        View("password-reset-done", "/accounts/password/reset/done/"),
        View("password-reset-key", "/accounts/password/reset/key/1-nothing/"),
        View("signup-closed", "/accounts/signup/"),
        View("inactive", "/accounts/inactive/"),
        View("error-404", "/nothing/here/", 404),
        View("error-400", "/accounts/login/", 400, how=provoking.too_large),
        View("error-403-csrf", "/accounts/login/", 403, how=provoking.without_proof),
        View("error-429", "/accounts/password/reset/", 429, how=provoking.too_often),
        View("error-500", "/", 500, how=provoking.broken),
        View("error-503", "/", 503, how=provoking.without_database),
    ),
    "alice": (
        View("my-access", "/"),
        View("request", "/", follow="table a[href^='/requests/']", route="request"),
        View("held", "/", follow=HELD),
        View("catalogue", "/catalogue/"),
        View("catalogue-none", "/catalogue/?q=qqqq"),
        View("favourites-none", "/catalogue/?kind=favourites"),
        View("asking", "/catalogue/", follow="a[href^='/requests/new/']", route="request_new"),
        View("asking-refused", "/catalogue/", 400, how=reaching.refused, route="request_new"),
        View("extending", "/", follow="a[href*='?extends=']"),
        View("inbox-empty", "/inbox/"),
        View("decided-empty", "/inbox/decided/"),
        View("notices", "/notices/"),
        View("settings", "/settings/"),
        View("settings-refused", "/settings/", 400, how=reaching.key_refused, route="key_add"),
        View("password", "/accounts/password/change/"),
        View("sign-out", "/accounts/logout/"),
        View("not-found", "/requests/00000000-0000-4000-8000-000000000000/", 404),
        View("not-allowed", "/reports/", 403),
        View("error-403", "/admin/", 403),
        View("mails", "/demo/mail/"),
        View("mail", "/demo/mail/", follow="td a[href^='/demo/mail/']", route="demo_message"),
    ),
    "bob": (
        View("inbox", "/inbox/"),
        View("inbox-reading", "/inbox/", follow="a.item"),
        View("inbox-filtered", "/inbox/?risk=high"),
        View("inbox-question", "/inbox/", follow="a.item:has-text('Tariq')"),
        View("inbox-refused", "/inbox/", 400, how=reaching.view_refused, route="view_save"),
        View("handing-over", "/inbox/", how=reaching.hand_over),
        View("bulk", "/inbox/", how=reaching.bulk, route="inbox_bulk"),
        View("bulk-none", f"/inbox/bulk/?verdict=deny&pick={NOBODY}~1"),
        View("decided", "/inbox/decided/"),
        View("notices-approver", "/notices/"),
    ),
    "carol": (View("reviews-mine", "/reviews/"),),
    "tariq": (View("question", "/", follow="a[href$='#questions']"),),
    "dora": (
        View("reviews", "/reviews/"),
        View("review", "/reviews/", follow="td a[href^='/reviews/']", route="review"),
        View("reports", "/reports/"),
        *(View(f"report-{name}", f"/reports/{name}/") for name in REPORTS),
        View("report-none", "/reports/who-had-access/?from=2020-01-01&to=2020-01-02"),
        View(
            "saved-report",
            "/reports/",
            follow="td a[href^='/reports/saved/']",
            route="saved_report",
        ),
        View(
            "saved-report-refused",
            "/reports/",
            400,
            how=reaching.renaming_refused,
            route="saved_rename",
        ),
        View("report-refused", "/reports/", 400, how=reaching.saving_refused, route="report_save"),
        View("end-all", "/access/end/"),
        View("evidence", "/reports/evidence/"),
        View("targets", "/access/drift/"),
        View("operations", "/operations/"),
        View("audit", "/audit/"),
        View("audit-none", "/audit/?q=qqqqqq"),
        View("audit-log", "/audit/log/"),
        View("audit-verify", "/audit/verify/"),
        View("erasures", "/audit/erasures/"),
        View("erasure", "/audit/erasures/", how=reaching.erasure, route="erasure"),
    ),
    "admin": (
        View("admin", "/admin/"),
        View("admin-resources", "/admin/approvals/resource/"),
        View("admin-resource", "/admin/approvals/resource/", follow="#result_list tbody th a"),
        View(
            "admin-entitlement", "/admin/approvals/entitlement/", follow="#result_list tbody th a"
        ),
        View("admin-policies", "/admin/approvals/policy/"),
        View("admin-policy", "/admin/approvals/policy/", follow="#result_list tbody th a"),
        View("admin-people", "/admin/approvals/user/"),
        View("admin-group", "/admin/approvals/group/", follow="#result_list tbody th a"),
        View("admin-memberships", "/admin/approvals/membership/"),
        View("admin-add", "/admin/approvals/resource/add/"),
        View("admin-refused", "/admin/approvals/resource/add/", how=reaching.refused_by_the_admin),
        View("admin-history", "/admin/approvals/policy/", how=reaching.history),
    ),
}


@contextmanager
def seat(
    browser: Browser, demo: Demo, who: str, *, width: int, theme: Theme, scale: float = 1
) -> Iterator[Page]:
    """Give a page in a browser of that width and theme where `who` is signed in."""
    context = browser.new_context(
        viewport={"width": width, "height": WIDTHS[width]}, device_scale_factor=scale,
        color_scheme=theme, has_touch=width < 500, reduced_motion="reduce",
    )  # fmt: skip
    try:
        page = context.new_page()
        page.set_default_timeout(20_000)
        if who:
            page.goto(f"{demo.url}/accounts/login/")
            page.locator("[name=login]").fill(who)
            page.locator("[name=password]").fill("demo")
            page.get_by_role("button", name="Sign in").click()
            page.wait_for_url(f"{demo.url}/")
            page.goto(f"{demo.url}/settings/")  # the message of the sign-in was shown
        yield page
    finally:
        context.close()


#: What a browser says of anything that the content security policy kept from running or loading.
_POLICY = "Content Security Policy"


@contextmanager
def overheard(page: Page, name: str) -> Iterator[list[str]]:
    """Collect what the policy refused and what scripts threw on the page meanwhile."""
    said: list[str] = []

    def console(line: ConsoleMessage) -> None:
        if _POLICY in line.text:
            said.append(f"{name}: {line.text[:300]}")

    def threw(error: Error) -> None:
        said.append(f"{name}: a script broke: {str(error)[:300]}")

    page.on("console", console)
    page.on("pageerror", threw)
    try:
        yield said
    finally:
        page.remove_listener("console", console)
        page.remove_listener("pageerror", threw)


def opened(page: Page, demo: Demo, view: View) -> list[str]:
    """Open a view in that page, and return what is wrong with it.

    Its status, its width, what the content security policy refused, what its scripts threw.
    """
    with overheard(page, view.name) as said:
        wrong = _opened(page, demo, view)
    return wrong + said


def _opened(page: Page, demo: Demo, view: View) -> list[str]:
    answer = view.how(page, demo) if view.how else page.goto(demo.url + view.path)
    if view.follow:
        link = page.locator(view.follow).first
        if link.count() == 0:
            return [f"{view.name}: there is no {view.follow}"]
        answer = page.goto(urljoin(page.url, link.get_attribute("href")))
    page.evaluate("document.fonts.ready")
    wrong = []
    if answer is None or answer.status != view.status:
        wrong.append(f"{view.name}: answered {answer and answer.status}, not {view.status}")
    wide = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    if wide > 0:
        wrong.append(f"{view.name}: {wide} px wider than its window")
    return wrong


def prepare(browser: Browser, demo: Demo) -> None:
    """See to it that alice holds something: ask for what its rule approves at once."""
    with seat(browser, demo, "alice", width=1280, theme="light") as page:
        page.goto(f"{demo.url}/")
        if page.locator(HELD).count():
            return
        page.goto(f"{demo.url}/catalogue/?q=orders-db")
        page.get_by_role("link", name="Request orders-db read", exact=True).first.click()
        page.get_by_label("Why", exact=False).first.fill(
            "Look at a refund that a customer asks about."
        )
        page.get_by_role("button", name="Send request").click()
        page.get_by_text("Active", exact=True).first.wait_for()


def take(browser: Browser, demo: Demo, folder: Path, only: str) -> list[str]:
    """Write every picture whose file name contains `only`; return what is wrong."""
    folder.mkdir(parents=True, exist_ok=True)
    prepare(browser, demo)
    wrong: list[str] = []
    for width in WIDTHS:
        for theme in THEMES:
            for who, views in VIEWS.items():
                named = {view: f"{view.name}-{width}-{theme}.png" for view in views}
                wanted = [view for view in views if only in named[view]]
                if not wanted:
                    continue
                with seat(browser, demo, who, width=width, theme=theme) as page:
                    for view in wanted:
                        wrong += [f"{width} {theme} {what}" for what in opened(page, demo, view)]
                        page.screenshot(path=folder / named[view])
    return wrong


def faces(browser: Browser, demo: Demo, folder: Path) -> list[str]:
    """Write the small pictures of the README, one for each of the three; return what is wrong."""
    folder.mkdir(parents=True, exist_ok=True)
    wrong: list[str] = []
    for who, name in FACES.items():
        view = next(view for view in VIEWS[who] if view.name == name)
        with seat(browser, demo, who, width=1280, theme="light", scale=0.75) as page:
            wrong += opened(page, demo, view)
            page.wait_for_timeout(1_000)  # what the page loads by itself
            page.screenshot(path=folder / f"{name}.jpg", type="jpeg", quality=80)
    return wrong


def main(arguments: Sequence[str] | None = None) -> int:
    """Take the pictures, and return the exit status."""
    parser = argparse.ArgumentParser(description="Write a picture of every page.")
    parser.add_argument("folder", nargs="?", type=Path, default=Path(".screenshots"))
    parser.add_argument("--only", default="", help="a word in the picture's name")
    parser.add_argument("--faces", type=Path, help="where the README's small pictures go")
    parser.add_argument("--url", default="", help="a demo that runs already")
    options = parser.parse_args(arguments)
    path = chromium()
    if path is None:
        sys.stderr.write("Install Debian's package `chromium`, or set CHROMIUM to one.\n")
        return 1
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        if options.url:
            demo = Demo(Path(scratch), {"WEB_URL": options.url})
            wrong = take(browser, demo, options.folder, options.only)
            wrong += faces(browser, demo, options.faces) if options.faces else []
        else:
            with started(Path(scratch)) as demo:
                wrong = take(browser, demo, options.folder, options.only)
                wrong += faces(browser, demo, options.faces) if options.faces else []
        browser.close()
    for line in wrong:
        sys.stderr.write(f"{line}\n")
    sys.stdout.write(f"The pictures are in {options.folder}/.\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
