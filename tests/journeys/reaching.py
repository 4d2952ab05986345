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
