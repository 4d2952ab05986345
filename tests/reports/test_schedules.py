"""Scheduled reports: their moments, once for each, what is mailed to whom, and what stops them."""

import csv
import hashlib
import io
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo

import pytest
from django.core import mail
from django.db import DatabaseError, connection, transaction
from django.test import Client

from approvals import handlers
from approvals.domain import periods
from approvals.domain.periods import Frequency, Period, Rule
from approvals.domain.refusals import Invalid, NotAllowed, NotFound, Settled
from approvals.models import (
    Group,
    Membership,
    Notice,
    OutboxItem,
    ReportExport,
    ReportRun,
    ReportSchedule,
    SavedReport,
    User,
)
from approvals.reports import documents, registry, saved, schedules, sending
from approvals.reports.frame import Filters
from approvals.reports.schedules import Terms
from approvals.selectors import clock, personal
from approvals.services import erasure
from audit.services import erasing, verifying
from tests.audit.sealer import new_signer, seal, sealer
from tests.conftest import as_role
from tests.world import World

BERLIN = ZoneInfo("Europe/Berlin")
real = pytest.mark.django_db(transaction=True)
NAME = "who-had-access"


def rule(frequency: str = "daily", hour: int = 2, **more: Any) -> Rule:
    return Rule(frequency=Frequency(frequency), hour=hour, zone=BERLIN, **more)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_an_hour_that_a_clock_change_skips_or_repeats_runs_once() -> None:
    spring = list(rule().between(utc("2026-03-27T12:00"), utc("2026-03-31T12:00")))
    assert spring == [
        utc("2026-03-28T01:00"), utc("2026-03-29T01:00"), utc("2026-03-30T00:00"),
        utc("2026-03-31T00:00"),
    ]  # fmt: skip
    autumn = list(rule().between(utc("2026-10-23T12:00"), utc("2026-10-26T12:00")))
    assert autumn == [utc("2026-10-24T00:00"), utc("2026-10-25T00:00"), utc("2026-10-26T01:00")]


def test_weekly_and_monthly_ones_run_on_their_day() -> None:
    week = rule("weekly", 8, weekday=0).between(utc("2026-10-19T06:00"), utc("2026-11-03T12:00"))
    assert [f"{at:%d %H}" for at in week] == ["26 07", "02 07"]  # winter time began on the 25th
    month = rule("monthly", 0, month_day=28).between(
        utc("2026-01-28T12:00"), utc("2026-04-28T12:00")
    )
    assert [f"{at:%m-%d %H}" for at in month] == ["02-27 23", "03-27 23", "04-27 22"]


@pytest.mark.parametrize(
    ("period", "first", "last"),
    [
        (Period.LAST_7, "2026-01-08", "2026-01-14"),
        (Period.LAST_30, "2025-12-16", "2026-01-14"),
        (Period.LAST_90, "2025-10-17", "2026-01-14"),
        (Period.LAST_MONTH, "2025-12-01", "2025-12-31"),
        (Period.LAST_QUARTER, "2025-10-01", "2025-12-31"),
        (Period.MONTH_TO_DATE, "2026-01-01", "2026-01-15"),
    ],
)
def test_relative_periods(period: Period, first: str, last: str) -> None:
    days = periods.days(period, today=date(2026, 1, 15))
    assert days == (date.fromisoformat(first), date.fromisoformat(last))


def keep(
    who: User,
    *,
    name: str = "Weekly",
    report: str = NAME,
    period: str = "month_to_date",
    **more: Any,
) -> SavedReport:
    now = clock.now()
    chosen = Filters(now.date(), now.date(), BERLIN, **more)
    return saved.save(
        actor=who, name=name, report=registry.report(report), period=period, filters=chosen, now=now
    )


def terms(*to: User, **more: Any) -> Terms:
    given: dict[str, Any] = {
        "frequency": "daily", "weekday": None, "month_day": None, "hour": 8, "format": "csv",
        "recipients": tuple(person.pk for person in to),
    }  # fmt: skip
    return Terms(**given | more)


def scheduled(
    world: World, *to: User, at: datetime | None = None, period: str = "month_to_date", **more: Any
) -> ReportSchedule:
    """Return dora's schedule of a report; `at` is its next moment."""
    report = keep(world.dora, period=period)
    made = schedules.put(
        actor=world.dora, saved_id=report.pk, terms=terms(*(to or (world.dora,)), **more),
        now=clock.now(),
    )  # fmt: skip
    if at is not None:
        ReportSchedule.objects.filter(pk=made.pk).update(next_at=at)
        made.refresh_from_db()
    return made


def last_planned(made: ReportSchedule) -> datetime:
    """Return the schedule's latest moment that has passed."""
    now = clock.now()
    return list(made.rule.between(now - timedelta(days=2), now))[-1]


def events(made: ReportSchedule) -> list[str]:
    rows = ReportRun.objects.filter(schedule=made.uid).order_by("planned_at", "revision")
    return list(rows.values_list("event", flat=True))


def ended(world: World) -> None:
    """Let there be an access that has ended, of which everybody was told."""
    world.ended(minutes=1)
    handlers.work("notices")
    mail.outbox.clear()


def run(made: ReportSchedule) -> None:
    """Let the planned moment that has come be begun and its mails be sent."""
    schedules.start_due(now=clock.now())
    handlers.work("notices")


@real
def test_a_run_mails_the_reports_rows_and_says_what_they_are(world: World, client: Client) -> None:
    ended(world)
    seal(new_signer())
    made = scheduled(world, world.dora, world.admin)
    schedules.run_now(actor=world.dora, saved_id=made.saved_id, now=clock.now())
    handlers.work("notices")
    assert sorted(each.to[0] for each in mail.outbox) == ["admin@example.com", "dora@example.com"]
    letter = next(each for each in mail.outbox if each.to == ["dora@example.com"])
    ((name, data, _),) = letter.attachments
    assert isinstance(data, bytes)
    lines = list(csv.reader(io.StringIO(data.decode(), newline="")))
    outcome = ReportRun.objects.get(event="sent")
    filters = saved.filters_of(outcome.query)
    report = registry.report(NAME)
    assert len(lines) - 1 == report.count(filters) == outcome.rows == 1
    assert [line[0] for line in lines[1:]] == [
        row.cells[0] for row in report.rows(filters, None, None)
    ]
    export = ReportExport.objects.get()
    assert (export.actor, export.query["schedule"], export.rows) == (world.dora, "Weekly", 1)
    assert (outcome.export, outcome.size) == (export.uid, len(data))
    assert outcome.sha256 == hashlib.sha256(data).hexdigest()
    assert outcome.sent_to == sorted([world.dora.pk, world.admin.pk])
    assert letter.subject.startswith("Who had access, ")
    assert ": 1 row" in letter.subject
    html = letter.alternatives[0][0]  # type: ignore[attr-defined]
    for form in (letter.body, html):
        assert outcome.sha256 in form
        assert export.checkpoint in form
        assert str(export.uid) in form
        for figure in report.figures(filters):
            assert figure.title in form
    assert name.endswith(f"{export.uid}.csv")
    link = next(word for word in letter.body.split() if "/reports/who-had-access/?" in word)
    asked = {key: value[0] for key, value in parse_qs(urlsplit(link).query).items()}
    assert (asked["from"], asked["to"]) == (str(filters.first), str(filters.last))
    client.force_login(world.admin)
    again = client.get(f"/reports/{NAME}/csv/?{urlsplit(link).query}")
    assert b"".join(again).decode() == data.decode()
    assert verifying.run(by="a test").ok


@real
@pytest.mark.parametrize("format", ["xlsx", "pdf"])
def test_other_formats_are_attached_too(world: World, format: str) -> None:
    made = scheduled(world, format=format)
    schedules.run_now(actor=world.dora, saved_id=made.saved_id, now=clock.now())
    handlers.work("notices")
    ((name, data, _),) = mail.outbox[-1].attachments
    assert name.endswith(f".{format}")
    assert data.startswith(b"PK" if format == "xlsx" else b"%PDF-")
    assert events(made) == ["started", "made", "sent"]


@real
def test_a_planned_moment_runs_once_however_many_look(world: World) -> None:
    made = scheduled(world)
    ReportSchedule.objects.filter(pk=made.pk).update(next_at=last_planned(made))
    results = race([lambda: schedules.start_due(now=clock.now())] * 4)
    assert sorted(results) == [0, 0, 0, 1]
    item = OutboxItem.objects.get(topic="report.run")
    results = race([lambda: sending.send(item, clock.now())] * 3)
    assert results == [None] * 3
    assert len(mail.outbox) == 1
    assert events(made) == ["started", "made", "sent"]
    assert ReportExport.objects.count() == 1
    run(made)
    assert len(mail.outbox) == 1
    made.refresh_from_db()
    assert made.next_at is not None
    assert made.next_at > clock.now()


def race(calls: Sequence[Callable[[], Any]]) -> list[Any]:
    barrier = threading.Barrier(len(calls))
    results: list[Any] = [None] * len(calls)

    def one(index: int) -> None:
        try:
            connection.ensure_connection()
            barrier.wait(timeout=30)
            results[index] = calls[index]()
        except Exception as error:
            results[index] = error
        finally:
            connection.close()

    threads = [threading.Thread(target=one, args=(index,)) for index in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    return results


@real
def test_a_late_run_covers_the_planned_period_and_older_ones_are_skipped(world: World) -> None:
    made = scheduled(world, period="last_7")
    planned = last_planned(made)
    first = next(iter(made.rule.between(planned - timedelta(days=3, hours=2), planned)))
    ReportSchedule.objects.filter(pk=made.pk).update(next_at=first)
    late = planned + timedelta(hours=5)
    schedules.start_due(now=late)
    handlers.work("notices", now=late)
    assert events(made) == ["skipped", "skipped", "skipped", "started", "made", "sent"]
    outcome = ReportRun.objects.get(event="sent")
    assert outcome.planned_at == planned
    yesterday = planned.astimezone(BERLIN).date() - timedelta(days=1)
    assert outcome.query["to"] == yesterday.isoformat()
    assert outcome.query["from"] == (yesterday - timedelta(days=6)).isoformat()
    assert "late by 5 hours" in " ".join(mail.outbox[-1].body.split())
    skipped = ReportRun.objects.filter(event="skipped").first()
    assert skipped is not None
    assert "did not run then" in skipped.reason


@real
def test_a_report_of_one_moment_is_as_of_the_planned_one(world: World) -> None:
    report = keep(world.dora, report="active-as-of", period="last_7")
    assert report.query["period"] == "moment"
    made = schedules.put(
        actor=world.dora, saved_id=report.pk, terms=terms(world.dora), now=clock.now()
    )
    planned = last_planned(made)
    ReportSchedule.objects.filter(pk=made.pk).update(next_at=planned)
    run(made)
    outcome = ReportRun.objects.get(event="sent")
    assert datetime.fromisoformat(outcome.query["at"]) == planned


@real
def test_who_lost_the_role_or_left_gets_nothing(world: World) -> None:
    operators = Group.objects.get(name="operators")
    left, lost, silent = (
        User.objects.create_user(name, email, None, name=name.title())
        for name, email in (("left", "l@example.com"), ("lost", "o@example.com"), ("silent", ""))
    )
    for person in (left, lost, silent):
        Membership.objects.create(person=person, group=operators)
    made = scheduled(world, world.admin, left, lost, silent)
    schedules.run_now(actor=world.dora, saved_id=made.saved_id, now=clock.now())
    Membership.objects.get(person=lost).delete()
    User.objects.filter(pk=left.pk).update(is_active=False)
    handlers.work("notices")
    assert [each.to for each in mail.outbox] == [["admin@example.com"]]
    outcome = ReportRun.objects.get(event="sent")
    assert outcome.sent_to == [world.admin.pk]
    assert outcome.left_out == {
        str(left.pk): "is not active any more",
        str(lost.pk): "may not see reports any more",
        str(silent.pk): "has no mail address",
    }


@real
@pytest.mark.parametrize("why", ["recipients", "owner left", "owner lost the role"])
@pytest.mark.parametrize("when", ["at its moment", "while it waits"])
def test_a_schedule_that_can_not_run_is_paused_and_says_why(
    world: World, why: str, when: str
) -> None:
    made = scheduled(world, world.admin)
    planned = last_planned(made)
    ReportSchedule.objects.filter(pk=made.pk).update(next_at=planned)
    if when == "while it waits":
        schedules.start_due(now=clock.now())
    if why == "recipients":
        User.objects.filter(pk=world.admin.pk).update(is_active=False)
    elif why == "owner left":
        User.objects.filter(pk=world.dora.pk).update(is_active=False)
    else:
        Membership.objects.get(person=world.dora).delete()
    run(made)
    assert mail.outbox == []
    made.refresh_from_db()
    assert made.is_paused
    assert made.next_at is None
    assert {"recipients": "recipients", "owner left": "not active"}.get(why, "may not see") in (
        made.paused_because
    )
    assert events(made) == (["skipped"] if when == "at its moment" else ["started", "failed"])
    newest: Any = made.history.first()
    assert (newest.is_paused, newest.history_user) == (True, None)
    assert not ReportExport.objects.exists()


@real
def test_a_large_file_is_not_attached_but_linked(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended(world)
    made = scheduled(world)
    monkeypatch.setattr(sending, "ATTACHED_MOST_BYTES", 50)
    schedules.run_now(actor=world.dora, saved_id=made.saved_id, now=clock.now())
    handlers.work("notices")
    (letter,) = mail.outbox
    assert letter.attachments == []
    assert "too large for a mail" in " ".join(letter.body.split())
    outcome = ReportRun.objects.get(event="sent")
    assert outcome.sha256 in letter.body
    assert f"from={outcome.query['from']}" in letter.body


@real
def test_too_long_for_the_format_is_refused_and_said(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended(world)
    made = scheduled(world, format="pdf")
    monkeypatch.setattr(documents, "ROWS_MOST", 0)
    schedules.run_now(actor=world.dora, saved_id=made.saved_id, now=clock.now())
    handlers.work("notices")
    (letter,) = mail.outbox
    assert letter.subject.startswith("Too long for a file: ")
    assert f"/reports/{NAME}/?from=" in letter.body
    assert events(made) == ["started", "refused"]
    assert not ReportExport.objects.exists()


@real
def test_a_run_about_what_is_gone_has_failed(world: World) -> None:
    report = keep(world.dora, resource_name="orders-db")
    SavedReport.objects.filter(pk=report.pk).update(query=report.query | {"resource": "gone"})
    made = schedules.put(
        actor=world.dora, saved_id=report.pk, terms=terms(world.dora), now=clock.now()
    )
    schedules.run_now(actor=world.dora, saved_id=made.saved_id, now=clock.now())
    handlers.work("notices")
    assert events(made) == ["started", "failed"]
    assert "no resource “gone”" in ReportRun.objects.get(event="failed").reason


@real
def test_what_a_mail_server_refused_is_sent_later_to_those_who_lack_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = scheduled(world, world.dora, world.admin)
    schedules.run_now(actor=world.dora, saved_id=made.saved_id, now=clock.now())
    item = OutboxItem.objects.get(topic="report.run")
    sent = mail.EmailMultiAlternatives.send

    def refuse(self: Any, *args: Any, **options: Any) -> int:
        if self.to == ["dora@example.com"]:
            raise OSError("451 try later")
        return sent(self, *args, **options)

    monkeypatch.setattr(mail.EmailMultiAlternatives, "send", refuse)
    handlers.work("notices")
    assert events(made) == ["started", "made"]
    monkeypatch.undo()
    handlers.work("notices", now=clock.now() + timedelta(minutes=5))
    assert sorted(each.to[0] for each in mail.outbox) == ["admin@example.com", "dora@example.com"]
    assert events(made) == ["started", "made", "made", "sent"]
    assert not OutboxItem.objects.filter(pk=item.pk).exists()


@real
def test_what_can_not_be_sent_for_a_day_has_failed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = scheduled(world)
    schedules.run_now(actor=world.dora, saved_id=made.saved_id, now=clock.now())

    def refuse(self: Any, *args: Any, **options: Any) -> int:
        raise OSError("550 dora@example.com: no such user")

    monkeypatch.setattr(mail.EmailMultiAlternatives, "send", refuse)
    handlers.work("notices")
    handlers.work("notices", now=clock.now() + timedelta(days=1, hours=2))
    outcome = ReportRun.objects.get(event="failed")
    assert "550" in outcome.reason
    assert "dora@example.com" not in outcome.reason
    assert not OutboxItem.objects.filter(topic="report.run").exists()


@real
def test_who_may_change_a_schedule_and_that_it_is_on_record(world: World) -> None:
    colleague = User.objects.create_user("dina", "dina@example.com", None, name="Dina")
    Membership.objects.create(person=colleague, group=Group.objects.get(name="compliance"))
    made = scheduled(world)
    now = clock.now()
    for call in (schedules.pause, schedules.remove):
        with pytest.raises(NotFound):
            call(actor=world.admin, saved_id=made.saved_id)
    with pytest.raises(NotAllowed):
        schedules.run_now(actor=colleague, saved_id=made.saved_id, now=now)
    schedules.pause(actor=colleague, saved_id=made.saved_id)
    with pytest.raises(NotAllowed):
        schedules.resume(actor=colleague, saved_id=made.saved_id, now=now)
    with pytest.raises(Settled):
        schedules.run_now(actor=world.dora, saved_id=made.saved_id, now=now)
    schedules.resume(actor=world.dora, saved_id=made.saved_id, now=now)
    with pytest.raises(NotFound):
        schedules.put(actor=colleague, saved_id=made.saved_id, terms=terms(colleague), now=now)
    saved.rename(actor=world.dora, saved_id=made.saved_id, name="Mondays", now=now)
    schedules.remove(actor=colleague, saved_id=made.saved_id)
    rows = list(ReportSchedule.history.order_by("history_id"))
    assert [(row.history_type, row.history_user) for row in rows] == [
        ("+", world.dora), ("~", colleague), ("~", world.dora), ("~", world.dora), ("-", colleague),
    ]  # fmt: skip
    assert rows[1].paused_because == "paused by Dina"
    assert rows[3].name == "Mondays"
    assert SavedReport.objects.filter(pk=made.saved_id).exists()


@real
def test_a_run_that_is_begun_ends_with_its_schedule(world: World) -> None:
    made = scheduled(world)
    schedules.run_now(actor=world.dora, saved_id=made.saved_id, now=clock.now())
    schedules.forget(actor=world.dora, saved_id=made.saved_id)
    handlers.work("notices")
    assert mail.outbox == []
    assert events(made) == ["started", "failed"]


@real
def test_running_twice_in_a_minute_is_refused(world: World) -> None:
    made = scheduled(world)
    now = clock.now().replace(second=1)
    schedules.run_now(actor=world.dora, saved_id=made.saved_id, now=now)
    with pytest.raises(Settled):
        schedules.run_now(actor=world.dora, saved_id=made.saved_id, now=now + timedelta(seconds=30))


@pytest.mark.django_db
@pytest.mark.parametrize(
    "wrong",
    [
        {"frequency": "hourly"},
        {"frequency": "weekly"},
        {"frequency": "weekly", "weekday": 7},
        {"frequency": "monthly", "month_day": 29},
        {"hour": 24},
        {"hour": None},
        {"format": "doc"},
        {"recipients": ()},
    ],
)
def test_terms_that_make_no_sense_are_refused(world: World, wrong: dict[str, Any]) -> None:
    report = keep(world.dora)
    with pytest.raises(Invalid):
        schedules.put(
            actor=world.dora, saved_id=report.pk, terms=replace(terms(world.dora), **wrong),
            now=clock.now(),
        )  # fmt: skip


@pytest.mark.django_db
def test_only_those_who_may_see_reports_can_get_them(world: World) -> None:
    report = keep(world.dora)
    with pytest.raises(Invalid, match="may see reports"):
        schedules.put(
            actor=world.dora, saved_id=report.pk, terms=terms(world.alice), now=clock.now()
        )


@real
def test_the_database_takes_no_second_run_and_nothing_after_an_outcome(world: World) -> None:
    made = scheduled(world)
    first = schedules.run_now(actor=world.dora, saved_id=made.saved_id, now=clock.now())
    with pytest.raises(DatabaseError, match="report_run_once"), transaction.atomic():
        schedules._run(made, first.planned_at, now=clock.now(), event="started").save()
    handlers.work("notices")
    outcome = ReportRun.objects.get(event="sent")
    with pytest.raises(DatabaseError, match="does not follow"), transaction.atomic():
        outcome.next(event="failed", now=clock.now(), reason="no").save()
    with pytest.raises(DatabaseError, match="does not follow"), transaction.atomic():
        first.next(event="failed", now=clock.now(), reason="no").save()


@real
def test_mails_are_recorded_as_notices(world: World) -> None:
    made = scheduled(world)
    schedules.run_now(actor=world.dora, saved_id=made.saved_id, now=clock.now())
    handlers.work("notices")
    notice = Notice.objects.get(kind="report")
    assert (notice.channel, notice.recipient) == ("email", world.dora)


CANARY = "Dorothea Canarywren"


@real
def test_nothing_is_left_of_an_owner_who_is_erased(world: World) -> None:
    Membership.objects.create(person=world.erin, group=Group.objects.get(name="compliance"))
    for field, value in (("name", CANARY), ("email", "d.canarywren@example.com")):
        setattr(world.dora, field, value)
    world.dora.save()
    made = scheduled(world, world.dora, world.admin)
    saved.rename(actor=world.dora, saved_id=made.saved_id, name=f"Of {CANARY}", now=clock.now())
    run_id = schedules.run_now(actor=world.dora, saved_id=made.saved_id, now=clock.now()).run_id
    handlers.work("notices")
    others = keep(world.erin, name="Hers", person_login="dora")
    theirs = schedules.put(
        actor=world.erin, saved_id=others.pk, terms=terms(world.dora, world.admin), now=clock.now()
    )
    seal(new_signer())

    hindrances = personal.find(world.dora.pk).hindrances
    assert hindrances == ["Erin's scheduled report “Hers” names them. Change it first."]
    schedules.forget(actor=world.erin, saved_id=others.pk)
    others = keep(world.erin, name="Hers")
    theirs = schedules.put(
        actor=world.erin, saved_id=others.pk, terms=terms(world.dora, world.admin), now=clock.now()
    )
    asked = erasure.ask(
        actor=world.erin, login="dora", ground="objection", reference="DSR-1", now=clock.now()
    )
    erasure.approve(actor=world.admin, erasure_id=asked.erasure_id, comment="", now=clock.now())
    handlers.work("due")
    with sealer():
        assert erasing.carry_out(now=clock.now()) == 1
    assert not SavedReport.objects.filter(person=world.dora).exists()
    assert not ReportSchedule.objects.filter(owner=world.dora).exists()
    theirs.refresh_from_db()
    assert theirs.recipients == [world.admin.pk]
    assert {row.schedule_name for row in ReportRun.objects.filter(run_id=run_id)} == {"[erased]"}
    with as_role("superuser") as raw:
        for table in ("reportrun", "historicalreportschedule", "savedreport", "reportexport"):
            (text,) = raw.execute(
                f"SELECT coalesce(string_agg(t::text, ' '), '') FROM approvals_{table} t"
            ).fetchone() or ("",)
            assert "Canarywren" not in text, table
    report = verifying.run(by="a test")
    assert report.ok, [*report.as_text()]
