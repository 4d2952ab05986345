"""The report pages and downloads."""

import csv
import html
import io
import json
import threading
import time
import zoneinfo
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, timedelta
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote

import pytest
from django.db import connection, connections
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from approvals import handlers
from approvals.domain.refusals import Invalid
from approvals.models import ReportExport, User
from approvals.reports import frame, registry
from approvals.reports.frame import Filters
from approvals.selectors import clock, reporting
from audit.models import Verification
from tests.portal.test_inbox import XSS
from tests.world import World, build

HOUR = timedelta(hours=1)
Later = Callable[[timedelta], None]
#: Reports that name the request of a grant that is over.
NAMES = ["who-had-access", "request-population", "approval-decisions", "removal-timeliness"]


def get(client: Client, who: Any, url: str, **query: str) -> Any:
    client.force_login(who)
    return client.get(url, query)


def download(client: Client, who: Any, name: str, **query: str) -> tuple[Any, list[list[str]]]:
    response = get(client, who, reverse("report_csv", args=[name]), **query)
    assert response.status_code == 200
    text = b"".join(response).decode()
    return response, list(csv.reader(io.StringIO(text, newline="")))


def test_the_index_shows_figures_and_every_report(
    client: Client, world: World, later: Later
) -> None:
    world.ended(minutes=1)
    later(HOUR)
    text = html.unescape(get(client, world.dora, reverse("reports")).content.decode())
    for report in registry.REPORTS:
        assert report.title in text
        assert report.answers in text
        assert " · ".join(report.controls) in text
    assert "Median time to approve" in text
    assert "100 %" in text
    assert "<svg" in text
    assert "style=" not in text


def test_the_index_counts_rows_when_it_is_asked_to(client: Client, world: World) -> None:
    """The list asks for itself with the counts; without JavaScript a link does."""
    world.ended(minutes=1)
    page = html.unescape(get(client, world.dora, reverse("reports")).content.decode())
    asks = f"{reverse('reports')}?"
    assert f'hx-get="{asks}' in page
    assert "Count rows" in page
    part = client.get(reverse("reports"), {"counts": "1"}, headers={"HX-Request": "true"})
    text = part.content.decode()
    assert text.lstrip().startswith("<section")
    assert "hx-get" not in text
    number = registry.report("approval-decisions")
    assert number.title in text
    assert '<td class="right num">2</td>' in text  # two decisions
    whole = get(client, world.dora, reverse("reports"), counts="1").content.decode()
    assert "<svg" in whole
    assert "Count rows" not in whole


def test_a_period_and_a_timezone_can_be_chosen(client: Client, world: World) -> None:
    page = get(client, world.dora, reverse("reports"), timezone="Asia/Tokyo").content.decode()
    assert "Asia/Tokyo" in page
    assert "timezone=Asia%2FTokyo" in page
    for period in ("This month", "This quarter", "Last quarter", "This year"):
        assert period in page
    wrong = get(client, world.dora, reverse("reports"), timezone="Mars/Base")
    assert wrong.status_code == 400
    assert "Name a timezone" in wrong.content.decode()


def test_a_report_of_one_moment_asks_for_it(client: Client, world: World) -> None:
    request = world.active()
    url = reverse("report", args=["active-as-of"])
    page = get(client, world.dora, url).content.decode()
    assert 'type="datetime-local"' in page
    assert 'name="from"' not in page
    assert request.reference in page
    before = get(client, world.dora, url, at="2026-01-01T00:00").content.decode()
    assert request.reference not in before
    assert get(client, world.dora, url, at="soon").status_code == 400
    response, lines = download(client, world.dora, "active-as-of", at="2026-01-01T12:30")
    assert len(lines) == 1
    assert response["X-Report-As-Of"].startswith("2026-01-01T12:30:00")
    assert "active-as-of_2026-01-01T123000_" in response["Content-Disposition"]


@pytest.mark.parametrize("name", NAMES)
def test_a_report_is_a_table(client: Client, world: World, name: str, later: Later) -> None:
    request = world.ended(minutes=1, reason="Refunds.")
    later(HOUR)
    response = get(client, world.admin, reverse("report", args=[name]))
    text = response.content.decode()
    assert response.status_code == 200
    assert request.reference in text
    for column in registry.report(name).columns:
        assert (f">{html.escape(column.title)}</th>" in text) is not column.wide


@pytest.mark.parametrize("name", NAMES)
def test_the_file_is_pure_and_says_what_it_is_in_its_headers(
    client: Client, world: World, name: str, later: Later
) -> None:
    world.dora.timezone = "Europe/Berlin"
    world.dora.save()
    world.ended(minutes=1)
    later(HOUR)
    response, lines = download(client, world.dora, name, resource="orders-db", person="alice")
    report = registry.report(name)
    assert lines[0] == [column.key for column in report.columns]
    today = timezone.localdate(timezone=timezone.get_default_timezone())
    assert response["X-Report-Id"] == name
    assert response["X-Report-Timezone"] == "Europe/Berlin"
    assert response["X-Report-Resource"] == "orders-db"
    assert response["X-Report-Person"] == "alice"
    assert response["X-Report-Generated-By"] == "dora"
    assert int(response["X-Report-Rows"]) == len(lines) - 1 > 0
    assert "SOC 2" in unquote(response["X-Report-Controls"])
    assert response["Content-Type"].startswith("text/csv; charset=utf-8")
    assert f"{len(lines) - 1}-rows_" in response["Content-Disposition"]
    assert name in response["Content-Disposition"]
    assert str(today.year) in response["X-Report-From"] + response["X-Report-To"]
    offsets = [cell for cell in lines[1] if cell.endswith(("+01:00", "+02:00"))]
    assert offsets


@pytest.mark.parametrize("name", NAMES)
def test_metadata_is_json(client: Client, world: World, name: str, later: Later) -> None:
    world.ended(minutes=1)
    later(HOUR)
    url = reverse("report_csv", args=[name])
    facts = json.loads(get(client, world.dora, url, metadata="1").content)
    assert facts["id"] == name
    assert facts["rows"] >= 1
    assert {"from", "to", "timezone", "generated_at", "generated_by", "controls"} <= facts.keys()


@pytest.mark.parametrize("evil", ["=cmd|'/C calc'!A0", "+1", "-1", "@SUM(1)", "'x", *XSS])
def test_no_cell_is_a_formula_and_no_text_is_lost(client: Client, world: World, evil: str) -> None:
    request = world.ask(reason=evil, ticket=evil[:100])
    world.decide(world.bob, request, comment=evil)
    world.decide(world.carol, request)
    handlers.work("provisioning")
    for name, key in (("who-had-access", "reason"), ("approval-decisions", "comment")):
        _, lines = download(client, world.dora, name)
        header, *rows = lines
        texts = [row[header.index(key)] for row in rows]
        assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in texts)
        assert evil in [text.removeprefix("'") for text in texts]
        page = get(client, world.dora, reverse("report", args=[name])).content.decode()
        assert "<script>alert" not in page
        assert "<img src=x" not in page
        assert "<svg onload" not in page


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"from": "yesterday"}, "Write the day as"),
        ({"from": "2026-02-30"}, "Write the day as"),
        ({"from": "0001-01-01"}, "between 2000 and 2100"),
        ({"from": "2026-11-02", "to": "2026-11-01"}, "ends before it begins"),
        ({"resource": "nothing"}, "no resource of that name"),
        ({"resource": "\0"}, ""),
    ],
)
@pytest.mark.parametrize("url", ["reports", "report", "report_csv"])
def test_nonsense_in_a_filter_is_said_beside_it(
    client: Client, world: World, url: str, query: dict[str, str], words: str
) -> None:
    args = [] if url == "reports" else [NAMES[0]]
    response = get(client, world.dora, reverse(url, args=args), **query)
    if not words:
        assert response.status_code == 200
        return
    assert response.status_code == 400
    assert words in html.unescape(response.content.decode())


def test_an_unknown_report_is_404(client: Client, world: World) -> None:
    for url in ("report", "report_csv"):
        assert get(client, world.dora, reverse(url, args=["nothing"])).status_code == 404


def test_others_are_refused_with_the_reason(client: Client, world: World) -> None:
    for who in (world.alice, world.bob, world.carol, world.mallory):
        for url in ("reports", "report", "report_csv", "report_xlsx", "report_pdf"):
            args = [] if url == "reports" else [NAMES[0]]
            response = get(client, who, reverse(url, args=args))
            assert response.status_code == 403
            assert "for compliance and operators" in response.content.decode()
    assert ReportExport.objects.count() == 0


def test_a_day_is_a_day_of_the_persons_timezone(client: Client, world: World) -> None:
    """Just after midnight in Auckland it is the day before in UTC."""
    world.dora.timezone = "Pacific/Auckland"
    world.dora.save()
    request = world.ended(minutes=1)
    assert request.activated_at is not None
    local = request.activated_at.astimezone(zoneinfo.ZoneInfo("Pacific/Auckland")).date()
    name = "approval-decisions"
    url = reverse("report", args=[name])
    there = get(client, world.dora, url, **{"from": str(local), "to": str(local)})
    assert request.reference in there.content.decode()
    before = str(local - timedelta(days=1))
    elsewhere = get(client, world.dora, url, **{"from": before, "to": before})
    assert request.reference not in elsewhere.content.decode()


def test_a_person_who_is_nobody_is_said_so(client: Client, world: World) -> None:
    for url in ("report", "report_csv"):
        response = get(client, world.dora, reverse(url, args=[NAMES[0]]), person="nobody")
        assert response.status_code == 400
        assert "Nobody signs in" in response.content.decode()


@pytest.mark.django_db(transaction=True)
def test_the_download_holds_one_moment(client: Client, noop: Any) -> None:
    """What is decided while the file is being read is not in it, and its count agrees."""
    world = build(now=clock.now())
    request = world.ask()
    world.decide(world.bob, request)
    client.force_login(world.dora)
    response = client.get(reverse("report_csv", args=["approval-decisions"]))
    assert response["X-Report-Rows"] == "1"

    def decide_elsewhere() -> None:
        try:
            world.decide(world.carol, request)
        finally:
            connections.close_all()

    thread = threading.Thread(target=decide_elsewhere)
    thread.start()
    thread.join()
    text = b"".join(response).decode()
    assert text.count("\r\n") == 2
    assert not connection.in_atomic_block
    response = client.get(reverse("report_csv", args=["approval-decisions"]))
    assert b"".join(response).decode().count("\r\n") == 3


def test_a_name_of_several_people_is_nobodys(client: Client, world: World) -> None:
    """A login goes before an address, that before a name; of several alike none is picked."""
    alex, other = (
        User.objects.create_user(login, f"{login}@example.com", None, name="Alex Kim", **more)
        for login, more in (("akim", {}), ("alex.kim", {"is_active": False}))
    )
    url = reverse("report", args=["request-population"])
    world.ask(by=world.alice)
    for page in (url, reverse("audit")):
        response = get(client, world.dora, page, person="Alex Kim", q="Alex Kim")
        assert response.status_code == 400
        text = html.unescape(response.content.decode())
        assert "akim (Alex Kim), alex.kim (Alex Kim, not active). Write one of these" in text
    with pytest.raises(Invalid):
        reporting.person("alex kim")
    assert reporting.person("akim") == alex
    assert reporting.person("ALEX.KIM@example.com") == other
    other.name = "akim"  # called like another's login
    other.save()
    assert reporting.person("akim") == alex
    other.email = "alice"  # an address like another's login
    other.save()
    assert reporting.person("Alice") == world.alice
    assert get(client, world.dora, url, person="akim").status_code == 200


LOGINS = {
    "who-had-access": ("alice", "alice", "bob; carol"),
    "active-as-of": ("alice", "alice", "bob; carol"),
    "request-population": ("alice", "alice", None),
    "approval-decisions": ("alice", "alice", "carol"),
    "removal-timeliness": ("alice", None, None),
}


@pytest.mark.parametrize("name", LOGINS)
def test_files_have_logins_beside_names(world: World, name: str) -> None:
    """Two people may have one name; a login is one person's."""
    report = registry.report(name)
    request = world.active()
    assert request.ends_at is not None
    today = clock.now().date()
    chosen = Filters(today, today + timedelta(days=1), UTC, at=clock.now())
    if name == "removal-timeliness":
        chosen = frame.at(chosen, request.ends_at + timedelta(milliseconds=1))
    first = next(iter(report.rows(chosen, None, None)))
    row = dict(zip((column.key for column in report.columns), first.cells, strict=True))
    found = tuple(row.get(key) for key in ("subject_login", "requester_login", "approver_login"))
    assert found == LOGINS[name]


def test_counting_for_the_list_is_bounded_and_kept_for_a_minute(
    world: World, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(filters: Filters) -> int:
        return frame.counted("SELECT count(*) FROM (SELECT pg_sleep(30)) s", filters)

    quick = registry.report("request-population")
    endless = replace(registry.report("who-had-access"), count=slow)
    monkeypatch.setattr(registry, "REPORTS", (endless, quick))
    client.force_login(world.dora)
    begun = time.monotonic()
    page = client.get(reverse("reports"), {"counts": "1"}, headers={"HX-Request": "true"})
    assert time.monotonic() - begun < 10
    assert "more than can be counted quickly" in page.content.decode()
    assert '<td class="right num">0</td>' in page.content.decode()
    with connection.cursor() as cursor:
        cursor.execute("SHOW statement_timeout")
        assert cursor.fetchone()[0] == "0", "what follows has its time"
    world.ask()
    again = client.get(reverse("reports"), {"counts": "1"}, headers={"HX-Request": "true"})
    assert '<td class="right num">0</td>' in again.content.decode(), "a minute old at most"
    other = {"counts": "1", "resource": "orders-db"}
    fresh = client.get(reverse("reports"), other, headers={"HX-Request": "true"})
    assert '<td class="right num">1</td>' in fresh.content.decode()


@pytest.mark.parametrize(("hours", "words"), [(25, "Intact"), (27, "Not checked lately")])
def test_intact_does_not_last(
    world: World, client: Client, monkeypatch: pytest.MonkeyPatch, hours: int, words: str
) -> None:
    at = clock.now() - timedelta(hours=hours)
    checked = Verification(
        started_at=at, finished_at=at, by="a test", log="x", size=1, outcome="verified", entries=1
    )
    log = SimpleNamespace(size=1, stale=False, unsealed=0)
    monkeypatch.setattr("audit.selectors.state.current", lambda: log)
    monkeypatch.setattr("audit.selectors.state.last_verification", lambda: checked)
    page = get(client, world.dora, reverse("reports")).content.decode()
    told = page[page.index('<div class="muted">Ledger</div>') :]
    assert words in told[: told.index("entries")]


def test_people_get_a_file_that_says_what_it_is(client: Client, world: World) -> None:
    page = html.unescape(
        get(client, world.dora, reverse("report", args=[NAMES[0]])).content.decode()
    )
    button = page[page.index('class="btn primary" href="') :]
    assert "cover=1" in button[: button.index(">Download CSV")]
    assert ">Plain CSV</a>" in page
