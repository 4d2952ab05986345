"""Scheduled reports: once for each moment, what is mailed to whom, and what stops them."""

import csv
import hashlib
import io
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.core import mail
from django.test import Client

from approvals import handlers
from approvals.models import (
    Group,
    Membership,
    OutboxItem,
    ReportExport,
    ReportRun,
    ReportSchedule,
    SavedReport,
    User,
)
from approvals.reports import documents, registry, saved, schedules, sending
from approvals.selectors import clock
from audit.services import verifying
from tests.audit.sealer import new_signer, seal
from tests.reports.scheduling import (
    BERLIN,
    NAME,
    ended,
    events,
    keep,
    last_planned,
    race,
    real,
    run,
    scheduled,
    terms,
)
from tests.world import World


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
