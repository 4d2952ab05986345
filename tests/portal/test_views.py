"""Every page is walked: what the resolver has and no walk opens is excused here, with the reason."""

from fnmatch import fnmatchcase

from django.urls import resolve

from approvals.reports import registry
from tests.journeys.screenshots import REPORTS, VIEWS
from tests.portal.test_access_control import TABLE, URLS

#: Addresses without a page of their own, or whose page another walk opens.
EXCUSED = {
    # parts and files
    "request_status": "a part of the request's page",
    "request_seal": "a part of the request's page",
    "request_takers": "suggestions of a field",
    "request_proof": "a file",
    "request_entry": "a file",
    "request_payload": "a file",
    "request_preview": "a part of the form",
    "inbox_news": "a part of the inbox",
    "notice_count": "a part of the navigation",
    "report_csv": "a file",
    "report_xlsx": "a file",
    "report_pdf": "a file",
    "ledger_*": "files for verifiers",
    "metrics": "for machines",
    "healthz": "for machines",
    "readyz": "for machines",
    "favicon": "a picture",
    # ways to a page
    "notice": "leads to a request",
    "inbox_bulk_done": "tests/journeys/test_inbox.py opens it after a decision",
    "request_credentials": "shown once: tests/journeys/test_requester.py opens it",
    "audit_leaf": "a file or a page that leads to its request",
    # what the library brings
    "account_confirm_*": "not offered: the directory confirms addresses",
    "account_email*": "not offered: the directory has the addresses",
    "no_email_form": "answered with the page of 404",
    "account_set_password": "the same form as changing it",
    "account_reset_password_from_key_done": "the same card as the mail that was sent",
    "account_reauthenticate": "the same form as signing in",
    "admin:*": "Django's own: a list, a form, a refused one and a history are walked",
}


def walked() -> set[str]:
    return {
        view.route or resolve(view.path.partition("?")[0]).view_name
        for views in VIEWS.values()
        for view in views
        if view.status != 404
    }


def test_every_page_is_walked_or_excused() -> None:
    pages = {url.name for url in URLS if url.name.startswith("admin:") or "GET" in TABLE[url.name]}
    left = {
        name
        for name in pages - walked()
        if not any(fnmatchcase(name, pattern) for pattern in EXCUSED)
    }
    assert left == set()


def test_nothing_is_excused_for_nothing() -> None:
    names = {url.name for url in URLS}
    seen = walked()
    for pattern in EXCUSED:
        found = {name for name in names if fnmatchcase(name, pattern)}
        assert found - seen, pattern


def test_names_of_pictures_are_unique() -> None:
    names = [view.name for views in VIEWS.values() for view in views]
    assert len(names) == len(set(names))


def test_every_report_is_walked() -> None:
    assert set(REPORTS) == {report.id for report in registry.REPORTS}
