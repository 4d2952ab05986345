"""Saved reports as pages: saving, opening, scheduling, who sees and changes what, and how much it costs."""

from typing import Any

import pytest
from django.core import mail
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from approvals import handlers
from approvals.models import Group, Membership, ReportRun, ReportSchedule, SavedReport, User
from approvals.reports import saved as saved_reports
from approvals.selectors import clock
from tests.world import World

NAME = "who-had-access"


def save(client: Client, who: User, report: str = NAME, **given: str) -> Any:
    client.force_login(who)
    data = {"name": "Weekly", "period": "last_7", "timezone": "Europe/Berlin"} | given
    return client.post(reverse("report_save", args=[report]), data)


def schedule(client: Client, saved: SavedReport, *to: User, **given: Any) -> Any:
    data = {
        "frequency": "weekly", "weekday": "0", "month_day": "1", "hour": "8", "format": "csv",
        "recipients": [person.pk for person in to],
    }  # fmt: skip
    return client.post(reverse("saved_report", args=[saved.pk]), data | given)


def change(client: Client, saved: SavedReport, what: str) -> Any:
    return client.post(reverse("schedule_change", args=[saved.pk, what]))


def page(client: Client, saved: SavedReport, status: int = 200) -> str:
    response = client.get(reverse("saved_report", args=[saved.pk]))
    assert response.status_code == status
    return response.content.decode()


def index(client: Client) -> str:
    return client.get(reverse("reports")).content.decode()


@pytest.fixture
def saved(client: Client, world: World) -> SavedReport:
    save(client, world.dora)
    return SavedReport.objects.get()


@pytest.mark.django_db
def test_a_report_is_saved_with_what_it_was_shown_with(client: Client, world: World) -> None:
    answer = save(client, world.dora, name="  My  report ", resource="ORDERS-db", person="alice")
    found = SavedReport.objects.get()
    assert answer["Location"] == reverse("saved_report", args=[found.pk])
    assert (found.person, found.name, found.report) == (world.dora, "My report", NAME)
    assert found.query == {
        "period": "last_7", "timezone": "Europe/Berlin", "resource": "orders-db", "person": "alice",
    }  # fmt: skip
    text = page(client, found)
    assert "Last 7 days · Europe/Berlin · orders-db · alice" in text
    opened = client.get(reverse("reports")).context["saved_reports"][0].link
    assert "resource=orders-db" in opened
    assert client.get(opened).status_code == 200


@pytest.mark.django_db
def test_a_fixed_period_stays_and_a_moment_is_that_of_the_run(client: Client, world: World) -> None:
    days = {"from": "2026-01-01", "to": "2026-03-31"}
    save(client, world.dora, period="fixed", **days)
    assert days.items() <= SavedReport.objects.get().query.items()
    save(client, world.dora, "active-as-of", name="Now", period="")
    assert SavedReport.objects.get(name="Now").query["period"] == "moment"


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("wrong", "beside"),
    [
        ({"name": ""}, "save-name-error"), ({"name": "x" * 61}, "save-name-error"),
        ({"name": "Taken"}, "save-name-error"), ({"period": "moment"}, "save-period-error"),
        ({"period": "soon"}, "save-period-error"), ({"timezone": "Mars/Base"}, "timezone-error"),
        ({"resource": "none"}, "resource-error"),
        ({"period": "fixed", "from": "2026-02-01", "to": "2026-01-01"}, "to-error"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_not_saved_and_still_there(
    client: Client, world: World, wrong: dict[str, str], beside: str
) -> None:
    save(client, world.dora, name="Taken")
    sent = {"name": "Other <b>", "period": "last_quarter", "person": "alice"} | wrong
    answer = save(client, world.dora, **sent)
    assert answer.status_code == 400
    assert SavedReport.objects.count() == 1
    text = answer.content.decode()
    assert text.count('class="error"') == 1
    assert f'class="error" id="{beside}"' in text
    assert '<details class="card top" open>' in text
    name = sent["name"].replace("<b>", "&lt;b&gt;")
    assert f'id="save-name" name="name" value="{name}"' in text
    if sent["period"] in ("last_quarter", "fixed"):
        assert f'<option value="{sent["period"]}" selected>' in text
    assert '<input id="person" name="person" value="alice"' in text
    assert (
        f'<input type="hidden" name="timezone" value="{sent.get("timezone", "Europe/Berlin")}">'
        in text
    )
    assert 'href="?' not in text  # the address is that of the form now
    assert 'method="get" action="/reports/who-had-access/"' in text


@pytest.mark.django_db
def test_one_report_too_many_is_refused_with_what_was_typed(
    client: Client, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saved_reports, "SAVED_MOST", 1)
    save(client, world.dora, name="Only")
    answer = save(client, world.dora, "active-as-of", name="Other", at="2026-01-02T03:04:05")
    assert answer.status_code == 400
    text = answer.content.decode()
    assert '<p class="error" role="alert">You have 1 saved reports already.' in text
    assert 'id="save-name" name="name" value="Other"' in text
    assert '<input type="hidden" name="at" value="2026-01-02T03:04:05">' in text
    assert 'type="datetime-local" step="1" value="2026-01-02T03:04:05"' in text


def test_it_is_renamed_and_removed(client: Client, saved: SavedReport) -> None:
    client.post(reverse("saved_rename", args=[saved.pk]), {"name": "<b>Mondays</b>"})
    text = page(client, saved)
    assert "&lt;b&gt;Mondays&lt;/b&gt;" in text
    assert "<b>Mondays" not in text
    assert client.post(reverse("saved_rename", args=[saved.pk]), {"name": " "}).status_code == 400
    assert SavedReport.objects.get().name == "<b>Mondays</b>"
    assert client.post(reverse("saved_remove", args=[saved.pk])).status_code == 302
    assert not SavedReport.objects.exists()


def test_a_wrong_name_is_refused_with_what_was_typed(
    client: Client, world: World, saved: SavedReport
) -> None:
    save(client, world.dora, name="Taken")
    schedule(client, saved, world.dora, hour="17")
    answer = client.post(reverse("saved_rename", args=[saved.pk]), {"name": "Taken"})
    assert answer.status_code == 400
    text = answer.content.decode()
    assert 'id="name" name="name" maxlength="60" required value="Taken" aria-invalid="true"' in text
    assert 'id="name-error" role="alert">You have a saved report “Taken” already.' in text
    assert "<h1>Weekly</h1>" in text
    assert '<option value="17" selected>' in text
    assert "note bad" not in text


def test_it_is_scheduled_changed_and_shown(
    client: Client, world: World, saved: SavedReport
) -> None:
    assert schedule(client, saved, world.dora, world.admin).status_code == 302
    found = ReportSchedule.objects.get()
    assert (found.owner, found.weekday, found.month_day, found.hour) == (world.dora, 0, None, 8)
    assert found.recipients == sorted([world.dora.pk, world.admin.pk])
    text = page(client, saved)
    assert "Mondays, 08:00 Europe/Berlin, CSV" in text
    assert "It has not run yet" in text
    assert "Mondays, 08:00 Europe/Berlin, CSV" in index(client)
    schedule(client, saved, world.dora, frequency="monthly", month_day="28", format="pdf")
    found.refresh_from_db()
    assert (found.weekday, found.month_day, found.format) == (None, 28, "pdf")
    rows = ReportSchedule.history.order_by("history_id")
    assert [row.history_user for row in rows] == [world.dora, world.dora]


def test_a_wrong_schedule_is_refused_with_what_was_typed(
    client: Client, world: World, saved: SavedReport
) -> None:
    answer = schedule(client, saved, world.alice, hour="17")
    assert answer.status_code == 400
    text = answer.content.decode()
    assert "Only active people who may see reports" in text
    assert '<option value="17" selected>' in text
    assert schedule(client, saved, hour="x").status_code == 400
    assert not ReportSchedule.objects.exists()
    assert f">{world.alice}</label>" not in text


@pytest.mark.django_db(transaction=True)
def test_it_runs_at_once_and_shows_what_came_of_it(client: Client, world: World) -> None:
    save(client, world.dora)
    saved = SavedReport.objects.get()
    schedule(client, saved, world.admin)
    change(client, saved, "run")
    assert "Started" in page(client, saved)
    handlers.work("notices")
    assert [each.to for each in mail.outbox] == [["admin@example.com"]]
    run = ReportRun.objects.get(event="sent")
    text = page(client, saved)
    assert "Sent" in text
    assert "by hand" in text
    assert f"?q={run.export}" in text
    assert "Admin" in text
    assert "Sent" in index(client)
    found = client.get(reverse("audit"), {"q": str(run.export)}).content.decode()
    assert "Who had access" in found


def test_it_is_paused_and_goes_on(client: Client, world: World, saved: SavedReport) -> None:
    schedule(client, saved, world.dora)
    change(client, saved, "pause")
    text = page(client, saved)
    assert "Paused: paused by Dora." in text
    assert "Run now" not in text
    change(client, saved, "run")
    assert not ReportRun.objects.exists()
    change(client, saved, "resume")
    found = ReportSchedule.objects.get()
    assert found.next_at is not None
    assert found.next_at > clock.now()
    assert change(client, saved, "nonsense").status_code == 404
    change(client, saved, "unschedule")
    assert not ReportSchedule.objects.exists()
    assert page(client, saved)


def test_whose_it_is(client: Client, world: World, saved: SavedReport) -> None:
    dina = User.objects.create_user("dina", "dina@example.com", None, name="Dina")
    Membership.objects.create(person=dina, group=Group.objects.get(name="compliance"))
    client.force_login(dina)
    page(client, saved, 404)  # it is not scheduled, so it is nobody else's business
    client.force_login(world.dora)
    schedule(client, saved, world.dora)
    client.force_login(world.admin)
    page(client, saved, 404)
    assert change(client, saved, "pause").status_code == 404
    client.force_login(world.alice)
    page(client, saved, 403)
    client.force_login(dina)
    text = page(client, saved)
    assert "of Dora" in text
    assert "Rename" not in text
    assert "Weekly" in index(client)
    assert change(client, saved, "run").status_code == 403
    assert client.post(reverse("saved_rename", args=[saved.pk]), {"name": "x"}).status_code == 404
    assert client.post(reverse("saved_remove", args=[saved.pk])).status_code == 404
    assert schedule(client, saved, dina).status_code == 404
    assert change(client, saved, "pause").status_code == 302
    assert ReportSchedule.objects.get().paused_because == "paused by Dina"
    assert change(client, saved, "unschedule")["Location"] == reverse("reports")
    assert not ReportSchedule.objects.exists()
    assert SavedReport.objects.exists()


def test_the_history_of_a_schedule_is_found_in_the_audit_log(
    client: Client, world: World, saved: SavedReport
) -> None:
    schedule(client, saved, world.dora)
    schedule(client, saved, world.dora, world.admin)
    text = client.get(reverse("audit"), {"q": "Weekly", "kind": "configuration"}).content.decode()
    assert "Report schedule “Weekly”" in text
    assert "recipients Dora → " in text
    changes = client.get(reverse("report", args=["configuration-changes"])).content.decode()
    assert "report schedule" in changes


def test_pages_take_as_many_queries_however_much_there_is(
    client: Client, world: World, saved: SavedReport
) -> None:
    def counted(url: str) -> int:
        with CaptureQueriesContext(connection) as seen:
            assert client.get(url).status_code == 200
        return len(seen)

    schedule(client, saved, world.dora)
    here = reverse("saved_report", args=[saved.pk])
    pages = (reverse("reports"), here)
    first = [counted(url) for url in pages]
    for number in range(5):
        save(client, world.dora, name=f"Report {number}")
        schedule(client, SavedReport.objects.get(name=f"Report {number}"), world.dora, world.admin)
    change(client, saved, "run")
    client.force_login(world.dora)
    second = [counted(url) for url in pages]
    assert all(later <= before + 2 for before, later in zip(first, second, strict=True))
    assert second[1] <= 22
