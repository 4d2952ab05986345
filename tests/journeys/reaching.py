"""Pages that no single link leads to: a form that is opened, several requests that are chosen."""

from urllib.parse import urlencode, urljoin

from playwright.sync_api import Page, Response

from tests.journeys.running import Demo


def hand_over(page: Page, demo: Demo) -> Response | None:
    """Read a request that waits, and open the form that hands it over."""
    page.goto(f"{demo.url}/inbox/")
    answer = page.goto(urljoin(page.url, page.locator("a.item").first.get_attribute("href")))
    page.locator("#hand-over summary").click()
    page.locator("#hand-over input[name=to]").wait_for()
    return answer


def bulk(page: Page, demo: Demo) -> Response | None:
    """See what will happen before several are denied."""
    page.goto(f"{demo.url}/inbox/")
    picks = page.locator("input[name=pick]").evaluate_all("boxes => boxes.map((box) => box.value)")
    query = urlencode({"verdict": "deny", "pick": picks[:2]}, doseq=True)
    return page.goto(f"{demo.url}/inbox/bulk/?{query}")


def erasure(page: Page, demo: Demo) -> Response | None:
    """Ask for an erasure that nobody agrees to, unless one was asked for already."""
    page.goto(f"{demo.url}/audit/erasures/")
    asked = page.locator("td a[href^='/audit/erasures/']")
    if asked.count() == 0:
        page.get_by_label("Person", exact=False).fill("liam")
        page.get_by_label("Reference", exact=False).fill("GDPR-17-4")
        page.get_by_role("button", name="Ask", exact=True).click()
        page.goto(f"{demo.url}/audit/erasures/")
    return page.goto(demo.url + str(asked.first.get_attribute("href")))


def refused(page: Page, demo: Demo) -> Response | None:
    """Send the form for access without a reason, which it needs."""
    page.goto(f"{demo.url}/requests/new/?entitlement=orders-db/owner&duration=99d&for=nobody")
    return _sent_as_it_is(page, "#ask")


def key_refused(page: Page, demo: Demo) -> Response | None:
    """Give something for an SSH key that is none."""
    page.goto(f"{demo.url}/settings/")
    page.locator("#ssh-text").fill("my key")
    return _sent_as_it_is(page, "form:has(#ssh-text)")


def saving_refused(page: Page, demo: Demo) -> Response | None:
    """Save a report without a name."""
    page.goto(f"{demo.url}/reports/who-had-access/")
    return _sent_as_it_is(page, "form:has(#save-name)")


def renaming_refused(page: Page, demo: Demo) -> Response | None:
    """Take a saved report's name away."""
    page.goto(f"{demo.url}/reports/")
    saved = page.locator("td a[href^='/reports/saved/']").first
    page.goto(demo.url + str(saved.get_attribute("href")))
    page.locator("#name").fill("")
    return _sent_as_it_is(page, "form:has(#name)")


def view_refused(page: Page, demo: Demo) -> Response | None:
    """Save a filter of the inbox without a name."""
    page.goto(f"{demo.url}/inbox/?risk=high")
    return _sent_as_it_is(page, "#filter form:has([name=name])")


def refused_by_the_admin(page: Page, demo: Demo) -> Response | None:
    """Send an empty form of the configuration."""
    page.goto(f"{demo.url}/admin/approvals/resource/add/")
    return _sent_as_it_is(page, "#content-main form")


def history(page: Page, demo: Demo) -> Response | None:
    """See what became of a policy."""
    page.goto(f"{demo.url}/admin/approvals/policy/")
    page.locator("#result_list tbody th a").first.click()
    return page.goto(
        urljoin(page.url, page.locator("a.historylink").first.get_attribute("href") or "")
    )


def _sent_as_it_is(page: Page, form: str) -> Response | None:
    """Send a form past what the browser itself would ask for."""
    with page.expect_navigation() as answer:
        page.evaluate(
            "form => HTMLFormElement.prototype.submit.call(document.querySelector(form))", form
        )
    return answer.value
