"""Nothing inline: the content security policy allows none, and no template has any."""

from copy import deepcopy
from typing import Any

import pytest

from approvals import checks


def ids(found: list[Any]) -> list[str]:
    return [message.id for message in found]


def test_the_portals_own_policy_and_templates_pass() -> None:
    assert checks.nothing_inline_may_run() == []
    assert checks.nothing_inline_is_written() == []


@pytest.mark.parametrize(
    ("name", "sources", "said"),
    [
        ("script-src", ["'self'", "'unsafe-inline'"], "script-src allows 'unsafe-inline'"),
        ("script-src", ["'self'", "'unsafe-eval'"], "script-src allows 'unsafe-eval'"),
        ("script-src", ["'self'", "data:"], "script-src allows data:"),
        ("script-src-elem", ["*"], "script-src-elem allows *"),
        ("style-src", ["'self'", "'unsafe-inline'"], "style-src allows 'unsafe-inline'"),
        ("style-src-attr", ["'unsafe-hashes'"], "style-src-attr allows 'unsafe-hashes'"),
        ("default-src", ["https:"], "default-src allows https:"),
        ("script-src", [], "script-src is missing"),
        ("base-uri", [], "base-uri is missing"),
    ],
)
def test_a_weaker_policy_is_refused(
    settings: Any, name: str, sources: list[str], said: str
) -> None:
    policy = deepcopy(settings.CONTENT_SECURITY_POLICY)
    policy["DIRECTIVES"][name] = sources
    settings.CONTENT_SECURITY_POLICY = policy
    [error] = checks.nothing_inline_may_run()
    assert error.id == "approvals.E002"
    assert said in error.msg


def test_no_policy_and_exceptions_are_refused(settings: Any) -> None:
    policy = deepcopy(settings.CONTENT_SECURITY_POLICY)
    settings.CONTENT_SECURITY_POLICY = policy | {"EXCLUDE_URL_PREFIXES": ("/admin/",)}
    assert ids(checks.nothing_inline_may_run()) == ["approvals.E002"]
    settings.CONTENT_SECURITY_POLICY = None
    assert ids(checks.nothing_inline_may_run()) == ["approvals.E002"]


@pytest.mark.parametrize(
    "html",
    [
        "<style>p {}</style>", "<p class='x' style='color: red'>", "<a href='#' onclick='x()'>",
        "<script>x()</script>", "<script type='module'>x()</script>", "<a href='javascript:x()'>",
        "<p {% if x %}style='color: red'{% endif %}>", "<body\n  onload=x()>",
    ],
)  # fmt: skip
def test_what_is_inline_is_found(html: str) -> None:
    assert len(checks.inline(html)) == 1


@pytest.mark.parametrize(
    "html",
    [
        "<script src='x.js' defer></script>", "{% comment %}<style>{% endcomment %}<p>",
        "<p class='style=' data-on='1'>", "<link rel='stylesheet' href='x.css'>",
        "{% include 'x' with only=1 %}", "<p>Set style=x, onload=y.</p>",
    ],
)  # fmt: skip
def test_what_is_a_file_is_none(html: str) -> None:
    assert checks.inline(html) == []
