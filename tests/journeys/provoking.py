"""Pages that nobody wants to see, got from a running demo as somebody would get them.

Two of them no healthy server gives: what broke (500) and a database that is away (503). Those are made
by the portal's own handler in a process of its own, and handed to the browser at the demo's address
with the demo's headers, so that its content security policy and its style sheets hold.
"""

import subprocess
import sys
from functools import cache

from playwright.sync_api import Page, Response, Route

from tests.journeys.running import ROOT, Demo, clean_environment

#: What stays of a page's own headers for another body.
_OF_THE_BODY = ("content-length", "content-encoding", "set-cookie", "date", "connection")
_LOGIN, _RESET = "/accounts/login/", "/accounts/password/reset/"
_HANDLED = """
import sys, django
django.setup()
from django.db import OperationalError
from django.http import HttpRequest
from approvals.portal import errors
try:
    raise {error}("as if")
except Exception:
    answer = errors.server_error(HttpRequest())
assert answer.status_code == {status}, answer.status_code
sys.stdout.write(answer.content.decode())
"""


def too_large(page: Page, demo: Demo) -> Response | None:
    """Send more than the portal reads."""
    page.goto(demo.url + _LOGIN)
    return _sent(
        page,
        """() => {
            const form = document.querySelector("form:has([name=login])");
            form.elements.login.maxLength = 2000000;
            form.elements.login.value = "x".repeat(1100000);
            HTMLFormElement.prototype.submit.call(form);
        }""",
    )


def without_proof(page: Page, demo: Demo) -> Response | None:
    """Send a form whose cookie is gone."""
    page.goto(demo.url + _LOGIN)
    page.context.clear_cookies()
    return _sent(
        page,
        """() => HTMLFormElement.prototype.submit.call(
            document.querySelector("form:has([name=login])"))""",
    )


def too_often(page: Page, demo: Demo) -> Response | None:
    """Ask for a new password again and again, for somebody who is not there.

    The same page as too many sign-ins give, which would keep the other journeys out.
    """
    answer: Response | None = None
    for _ in range(8):
        page.goto(demo.url + _RESET)
        page.locator("[name=email]").fill("nobody@example.com")
        answer = _sent(
            page,
            """() => HTMLFormElement.prototype.submit.call(
                document.querySelector("form:has([name=email])"))""",
        )
        if answer is None or answer.status == 429:
            break
    return answer


def broken(page: Page, demo: Demo) -> Response | None:
    """See what a view that breaks is answered with."""
    return _handed(page, demo, status=500, error="ValueError")


def without_database(page: Page, demo: Demo) -> Response | None:
    """See what is answered while the database is away."""
    return _handed(page, demo, status=503, error="OperationalError")


def _sent(page: Page, script: str) -> Response | None:
    """Return what a script's sending of a form is answered with, after redirects."""
    with page.expect_navigation() as navigation:
        page.evaluate(script)
    return navigation.value


def _handed(page: Page, demo: Demo, *, status: int, error: str) -> Response | None:
    address = f"{demo.url}/answered-{status}/"
    real = page.request.get(demo.url + _LOGIN)
    headers = {name: value for name, value in real.headers.items() if name not in _OF_THE_BODY}
    assert "content-security-policy" in headers

    def answer(route: Route) -> None:
        route.fulfill(status=status, headers=headers, body=_page(status, error))

    page.route(address, answer)
    return page.goto(address)


@cache
def _page(status: int, error: str) -> str:
    """Return what the portal's handler of errors answers; it asks no database."""
    made = subprocess.run(
        [sys.executable, "-c", _HANDLED.format(status=status, error=error)],
        cwd=ROOT,
        env=clean_environment()
        | {
            "DJANGO_SETTINGS_MODULE": "jitportal.settings",
            "SECRET_KEY": "of a process that keeps nothing " * 2,
            "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
        },
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return made.stdout
