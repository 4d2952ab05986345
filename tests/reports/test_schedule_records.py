"""Scheduled reports: who may change them, and what is on record of them and their runs."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.core import mail
from django.db import DatabaseError, transaction

from approvals import handlers
from approvals.domain.refusals import Invalid, NotAllowed, NotFound, Settled
from approvals.models import (
    Group,
    Membership,
    Notice,
    ReportRun,
    ReportSchedule,
    SavedReport,
    User,
)
from approvals.reports import saved, schedules
from approvals.selectors import clock, history, personal
from approvals.selectors.history_sources import Criteria
from approvals.services import erasure
from audit.services import erasing, verifying
from tests.audit.sealer import new_signer, seal, sealer
from tests.conftest import as_role
from tests.reports.scheduling import (
    events,
    keep,
    real,
    scheduled,
    terms,
)
from tests.world import World


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
    signer = new_signer()
    seal(signer)

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
    seal(signer)
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


@real
def test_runs_are_in_the_audit_search(world: World) -> None:
    made = scheduled(world, world.dora, world.admin)
    schedules.run_now(actor=world.dora, saved_id=made.saved_id, now=clock.now())
    handlers.work("notices")
    found = history.find(criteria=Criteria(words=("Weekly",), kinds=frozenset({"downloads"})))
    runs = [entry for entry in found.entries if entry.kind == "reportrun"]
    assert [(entry.who, str(entry.sentence)) for entry in runs] == [
        ("Dora", "Scheduled report sent “Weekly”"),
        ("Dora", "Scheduled report file made “Weekly”"),
        ("Dora", "Scheduled report started “Weekly”"),
    ]
    assert "to 2 of 2" in runs[0].sentence.detail
    of_run = Criteria(requests=frozenset({ReportRun.objects.latest("id").run_id}))
    assert len(history.find(criteria=of_run).entries) == 3
    of_owner = Criteria(people=(world.dora.pk,), kinds=frozenset({"downloads"}))
    assert len(history.find(criteria=of_owner).entries) == 4, "the file is a record besides"
