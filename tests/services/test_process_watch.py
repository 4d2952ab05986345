"""Silent processes become incidents, operators are mailed of each once, and of its end."""

import os
import subprocess
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest
from django.core.mail import EmailMessage
from django.db import DatabaseError, ProgrammingError
from django.test import Client
from structlog.testing import capture_logs

from approvals import handlers
from approvals.models import (
    CurrentRequest,
    Group,
    Heartbeat,
    Incident,
    Membership,
    Observation,
    OutboxItem,
    Resource,
)
from approvals.outbox import circuits, queue
from approvals.selectors import clock, drift, processes
from approvals.selectors.processes import QUEUES
from approvals.services import ledger_watch, process_watch, process_words, reconciliation
from jitportal import schedule, watch
from tests import one_clock
from tests.conftest import as_role
from tests.connectors.noop import Noop
from tests.services.alive import been_silent, began_long_ago, everything_lives
from tests.services.mails import mail_server
from tests.world import World

pytestmark = pytest.mark.django_db(transaction=True)

MINUTES = timedelta(minutes=1)


def looked(*, for_: timedelta = timedelta(hours=1)) -> list[str]:
    """Look as somebody who has looked for so long; return the kinds that changed."""
    now = clock.now()
    return [incident.kind for incident in process_watch.look(since=now - for_, now=now)]


def open_kinds() -> list[str]:
    return sorted(incident.kind for incident in processes.open_incidents())


@pytest.fixture
def alive(world: World) -> None:
    everything_lives()
    began_long_ago()


@pytest.mark.parametrize("kind", ["beat", *QUEUES])
def test_each_silent_process_is_one_incident_until_it_is_back(alive: None, kind: str) -> None:
    assert looked() == []
    been_silent(kind, for_=3 * MINUTES)
    assert looked() == [kind]
    assert looked() == []
    assert open_kinds() == [kind]
    everything_lives()
    assert looked() == [kind]
    assert open_kinds() == []
    assert Incident.objects.get().closed_at is not None
    been_silent(kind, for_=3 * MINUTES)
    assert looked() == [kind], "another episode is another incident"


def test_a_second_process_of_a_kind_keeps_it_alive(alive: None) -> None:
    process_watch.beat(kind="due", name="host-2:9", started_at=clock.now())
    been_silent("due", for_=3 * MINUTES, name="host-1:7")
    assert looked() == []


def test_a_process_that_was_never_seen_is_an_incident_after_a_while(world: World) -> None:
    everything_lives(but="notices")
    assert looked(for_=timedelta(seconds=5)) == []
    assert looked(for_=timedelta(seconds=90)) == [], "it may still be starting"
    assert looked(for_=timedelta(seconds=125)) == ["notices"]
    assert "never been seen" in Incident.objects.get().text


def test_who_was_heard_and_falls_silent_has_no_more_time_than_that(alive: None) -> None:
    been_silent("due", for_=timedelta(seconds=62))
    assert looked(for_=timedelta(seconds=90)) == ["due"]


def test_while_beat_starts_its_messages_are_not_missed(world: World) -> None:
    everything_lives(but="beat")
    Heartbeat.objects.filter(kind=processes.QUEUE).delete()
    began_long_ago()
    assert looked(for_=timedelta(seconds=90)) == []
    assert looked() == ["beat"]


def test_who_has_just_begun_to_look_alarms_nobody(alive: None) -> None:
    for kind in ("beat", *QUEUES):
        been_silent(kind, for_=60 * MINUTES)
    assert looked(for_=timedelta(seconds=5)) == []
    assert sorted(looked()) == sorted(["beat", *QUEUES])


def test_who_is_patient_yet_ends_no_incident_that_others_have_seen(alive: None) -> None:
    been_silent("beat", for_=5 * MINUTES)
    assert looked() == ["beat"]
    for seconds in (5, 70, 115):
        assert looked(for_=timedelta(seconds=seconds)) == [], "it would be opened anew at once"
    assert open_kinds() == ["beat"]


def test_a_queue_whose_messages_do_not_come_is_an_incident_of_its_own(alive: None) -> None:
    been_silent("queue", for_=3 * MINUTES, name="due")
    began_long_ago()
    assert looked() == ["queue:due"]
    assert processes.states(now=clock.now())["due"].startswith("lives, but no message has come")
    been_silent("beat", for_=3 * MINUTES)
    assert "queue:due" in looked(), "beat's silence explains it now"
    assert open_kinds() == ["beat"]


def test_a_worker_that_was_away_is_not_blamed_for_the_messages_it_missed(world: World) -> None:
    everything_lives()
    been_silent("queue", for_=10 * MINUTES, name="due")
    assert looked() == [], "the worker has only just begun"


def put(lane: str, *, at: datetime, key: str = "") -> OutboxItem:
    from django.db import transaction

    with transaction.atomic():
        return queue.put(topic="x", lane=lane, payload={}, now=at, key=key, not_before=at)


def test_work_that_nobody_takes_is_an_incident(alive: None) -> None:
    OutboxItem.objects.all().delete()
    old = clock.now() - 10 * MINUTES
    first = put("notices", at=old, key="one")
    put("notices", at=old, key="one")
    queue.claim(lane="notices", limit=5, now=clock.now())
    assert looked() == [], "the first is being done, the second waits for its turn"
    queue.failed(first, error="Refused.", now=clock.now())
    assert looked() == [], "what failed has its time, and what waits behind it is no dead lane"
    put("notices", at=old)
    assert looked() == ["lane:notices"]
    OutboxItem.objects.all().delete()
    assert looked() == ["lane:notices"]


@pytest.mark.parametrize(
    ("lane", "worker"), [("provisioning", "provisioning"), ("notices", "notices"),
                         ("news", "notices")],
)  # fmt: skip
def test_work_that_waits_for_a_dead_worker_is_told_with_it(
    alive: None, lane: str, worker: str
) -> None:
    OutboxItem.objects.all().delete()
    put(lane, at=clock.now() - 10 * MINUTES)
    been_silent(worker, for_=3 * MINUTES)
    assert looked() == [worker]


@pytest.mark.parametrize("lane", queue.LANES)
def test_each_lane_is_told_apart_and_says_whom_to_look_at(alive: None, lane: str) -> None:
    OutboxItem.objects.all().delete()
    put(lane, at=clock.now() - 10 * MINUTES)
    assert looked() == [f"lane:{lane}"]
    words = process_words.about(f"lane:{lane}")
    assert f"systemctl status jitportal-{queue.QUEUE_OF[lane]}" in words.do
    assert "Its work is not done" not in words.means


def test_news_that_wait_for_removals_are_no_dead_lane(alive: None, settings: Any) -> None:
    OutboxItem.objects.all().delete()
    put("news", at=clock.now() - settings.WATCH_WAITING - queue.PUT_OFF / 2)
    assert looked() == []
    put("notices", at=clock.now() - settings.WATCH_WAITING - queue.PUT_OFF / 2)
    assert looked() == ["lane:notices"]


def test_overdue_access_is_an_incident_though_everything_lives(world: World) -> None:
    active = world.active()
    OutboxItem.objects.all().delete()
    everything_lives()
    began_long_ago()
    assert looked() == []
    with as_role("superuser") as raw:
        raw.execute(
            "UPDATE approvals_currentrequest SET due_at = now() - interval '5 min'"
            " WHERE request_id = %s", [active.request_id],
        )  # fmt: skip
    assert CurrentRequest.objects.get().state == "active"
    assert looked() == ["ends"]


def test_requests_that_nobody_can_decide_are_an_incident_until_somebody_can(world: World) -> None:
    everything_lives()
    began_long_ago()
    Membership.objects.filter(group__name="data").delete()
    request = world.ask()
    assert looked() == []
    world.decide(world.bob, request)
    OutboxItem.objects.all().delete()
    assert looked() == ["undecidable"]
    assert request.reference in processes.open_incidents()[0].text
    assert "fallback" in process_words.about("undecidable").do
    Membership.objects.create(person=world.dan, group=Group.objects.get(name="data"))
    one_clock.settle()  # the membership's trigger goes by the database's own clock
    handlers.work("due")
    OutboxItem.objects.all().delete()
    assert looked() == ["undecidable"]
    assert open_kinds() == []


# -- mails


def test_a_target_that_does_not_answer_is_an_incident_until_it_does(
    alive: None, world: World, settings: Any
) -> None:
    settings.STUCK_AFTER = timedelta(0)
    for _ in range(circuits.FAILURES_TO_OPEN):
        circuits.note(failed={"orders-db": "No route to host."}, worked=(), now=clock.now())
    assert looked() == ["target:orders-db"]
    [incident] = Incident.objects.all()
    assert "No route to host." in incident.text
    circuits.note(failed={}, worked={"orders-db"}, now=clock.now())
    looked()
    assert open_kinds() == []


def mails_of(box: Sequence[EmailMessage]) -> list[str]:
    return [str(mail.subject) for mail in box]


def test_operators_are_mailed_once_and_of_the_end(
    alive: None, world: World, mailoutbox: list[EmailMessage]
) -> None:
    been_silent("notices", for_=3 * MINUTES)
    looked()
    for _ in range(3):
        process_watch.tell(now=clock.now())
    (mail,) = mailoutbox
    assert mail.to == [world.admin.email]
    assert mail.subject.startswith("The worker of notices is silent")
    for word in ("has been silent since", "What to do", "/operations/"):
        assert word in mail.body
    everything_lives()
    looked()
    for _ in range(3):
        process_watch.tell(now=clock.now())
    assert [each.partition(" (")[0] for each in mails_of(mailoutbox)] == [
        "The worker of notices is silent",
        "The worker of notices is back",
    ]
    told = Incident.objects.get()
    assert told.told_at is not None
    assert told.told_over_at is not None


def test_what_was_over_before_it_was_told_is_never_told(
    alive: None, mailoutbox: list[EmailMessage]
) -> None:
    been_silent("due", for_=3 * MINUTES)
    looked()
    everything_lives()
    looked()
    assert process_watch.tell(now=clock.now()) == 0
    assert mailoutbox == []


def test_a_broken_mail_server_is_tried_again(alive: None, world: World, settings: Any) -> None:
    been_silent("beat", for_=3 * MINUTES)
    looked()
    with mail_server(settings) as server:
        server.refused = {world.admin.email}
        with pytest.raises(process_watch.NobodyTold, match="SMTPRecipientsRefused"):
            process_watch.tell(now=clock.now())
        assert Incident.objects.get().told_at is None
        server.refused = set()
        assert process_watch.tell(now=clock.now()) == 1
        assert process_watch.tell(now=clock.now()) == 0
        assert len(server.mails) == 1


def test_one_process_looks_and_one_tells_at_a_time(
    alive: None, mailoutbox: list[EmailMessage]
) -> None:
    been_silent("due", for_=3 * MINUTES)
    with as_role("jitportal_app") as other:
        other.execute("SELECT pg_advisory_lock(%s)", [process_watch._LOOK_LOCK])
        other.execute("SELECT pg_advisory_lock(%s)", [process_watch._TELL_LOCK])
        assert looked() == []
        other.execute("SELECT pg_advisory_unlock(%s)", [process_watch._LOOK_LOCK])
        assert looked() == ["due"]
        assert process_watch.tell(now=clock.now()) == 0
    assert process_watch.tell(now=clock.now()) == 1
    assert len(mailoutbox) == 1


def test_who_sees_the_due_worker_dead_looks_after_the_ledger_too(
    alive: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[datetime] = []
    monkeypatch.setattr(ledger_watch, "watch", lambda *, now: asked.append(now))
    looked()
    been_silent("notices", for_=3 * MINUTES)
    looked()
    assert asked == []
    been_silent("due", for_=3 * MINUTES)
    looked()
    assert len(asked) == 1


# -- signs of life


def test_old_signs_go_and_the_last_of_a_kind_stays(alive: None) -> None:
    process_watch.beat(kind="due", name="gone:1", started_at=clock.now())
    Heartbeat.objects.filter(name="gone:1").update(beat_at=clock.now() - timedelta(days=2))
    been_silent("beat", for_=timedelta(days=2))
    looked()
    assert not Heartbeat.objects.filter(name="gone:1").exists()
    assert Heartbeat.objects.filter(kind="beat").exists(), "so that it is known since when"


def test_who_begins_takes_the_place_of_who_ended_on_this_host(world: World) -> None:
    host = watch.name().rpartition(":")[0]
    ended = subprocess.Popen(["true"])
    ended.wait()
    others = ("elsewhere:1", f"{host}:{os.getppid()}", f"{host}:x")
    for name in (f"{host}:{ended.pid}", *others):
        process_watch.beat(kind="due", name=name, started_at=clock.now())
    process_watch.beat(kind="notices", name=f"{host}:{ended.pid}", started_at=clock.now())
    watch.Heart().beat(["due"])
    found = Heartbeat.objects.values_list("kind", "name")
    assert set(found) == {
        ("notices", f"{host}:{ended.pid}"),
        *(("due", name) for name in (watch.name(), *others)),
    }


def test_beat_writes_whether_it_leads_and_not_at_every_tick(world: World) -> None:
    heart = watch.BeatHeart()
    heart.beat(leads=False)
    heart.beat(leads=False)
    assert Heartbeat.objects.get().kind == "standby"
    heart.beat(leads=True)
    found = Heartbeat.objects.get()
    assert (found.kind, found.name, found.version) == ("beat", watch.name(), "0.1.0")
    heart.beat(leads=True)
    assert Heartbeat.objects.get().beat_at == found.beat_at


def test_a_beat_that_can_not_write_goes_on(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(**_: object) -> None:
        raise DatabaseError

    monkeypatch.setattr(process_watch, "beat", broken)
    with capture_logs() as logs:
        watch.BeatHeart().beat(leads=True)
    assert [line["event"] for line in logs] == ["watch.database_away"]


@pytest.mark.parametrize(
    ("cause", "event"),
    [
        (psycopg.errors.UndefinedTable(), ("watch.no_tables", "info")),
        (psycopg.errors.InsufficientPrivilege(), ("watch.database_away", "warning")),
    ],
)
def test_only_tables_that_are_yet_to_be_made_are_no_alarm(
    monkeypatch: pytest.MonkeyPatch, cause: psycopg.Error, event: tuple[str, str]
) -> None:
    def broken(**_: object) -> None:
        raise ProgrammingError from cause

    monkeypatch.setattr(process_watch, "beat", broken)
    with capture_logs() as logs:
        watch.BeatHeart().beat(leads=True)
    assert [(line["event"], line["log_level"]) for line in logs] == [event]


def test_a_watcher_that_was_blind_begins_anew(alive: None, monkeypatch: pytest.MonkeyPatch) -> None:
    moment = 1000.0
    monkeypatch.setattr("jitportal.watch.time.monotonic", lambda: moment)
    found = watch.Watcher()
    found.look()
    began = found._since
    moment += 15
    found.look()
    assert found._since == began
    moment += 300
    been_silent("due", for_=5 * MINUTES)
    found.look()
    assert found._since != began
    assert open_kinds() == [], "it can't tell silence from its own blindness"


def test_beat_sends_a_pulse_to_each_queue() -> None:
    found = {name: entry for name, entry in schedule.entries().items() if "pulse" in name}
    assert [(entry["args"], entry["options"]["queue"]) for entry in found.values()] == [
        ((lane,), lane) for lane in QUEUES
    ]


def test_readyz_names_who_is_silent_and_stays_ready(alive: None) -> None:
    been_silent("beat", for_=timedelta(minutes=3, seconds=10))
    Heartbeat.objects.filter(kind="notices").delete()
    answer = Client().get("/readyz")
    assert answer.status_code == 200
    said = answer.json()
    assert said["status"] == "degraded"
    assert said["processes"] == {
        "beat": "silent for 3 min",
        "due": "ok",
        "provisioning": "ok",
        "notices": "never seen",
    }


def failed_to_look(noop: Noop, world: World, *, hours: float, permanent: bool = False) -> None:
    """The newest look at the target failed, and so long ago one last told anything."""
    noop.control(fail="transient")
    reconciliation.observe(resource_id=world.resource.pk)
    at = clock.now() - timedelta(hours=hours)
    Observation.objects.update(succeeded_at=at, permanent=permanent)


@pytest.mark.parametrize("permanent", [False, True])
def test_a_target_that_cannot_be_observed_for_long_is_an_incident(
    alive: None, world: World, noop: Noop, permanent: bool
) -> None:
    failed_to_look(noop, world, hours=0.9, permanent=permanent)
    assert looked() == []
    failed_to_look(noop, world, hours=1.1, permanent=permanent)
    assert looked() == ["unseen:orders-db"]
    incident = Incident.objects.get()
    assert "What orders-db holds is not known since" in incident.text
    assert "The test refuses for now." in incident.text
    assert process_words.about(incident.kind).title == "orders-db can’t be observed"
    noop.control()
    reconciliation.observe(resource_id=world.resource.pk)
    assert looked() == ["unseen:orders-db"]
    assert open_kinds() == []


def test_a_target_that_never_can_be_observed_alarms_nobody(
    alive: None, world: World, noop: Noop
) -> None:
    failed_to_look(noop, world, hours=1)
    Observation.objects.update(succeeded_at=None, permanent=True)
    assert drift.unseen(since=clock.now() + timedelta(hours=1)) == []
    Observation.objects.update(permanent=False)
    (row,) = drift.unseen(since=clock.now() + timedelta(hours=1))
    first = Resource.history.filter(id=world.resource.pk).earliest("history_date")
    assert (row.target, row.since) == ("orders-db", first.history_date)
    Resource.objects.filter(pk=world.resource.pk).update(is_retired=True)
    assert drift.unseen(since=clock.now() + timedelta(hours=1)) == []


def test_a_target_that_does_not_answer_at_all_is_one_incident(
    alive: None, world: World, noop: Noop
) -> None:
    failed_to_look(noop, world, hours=2)
    for _ in range(circuits.FAILURES_TO_OPEN):
        circuits.note(failed={"orders-db": "Away."}, worked=[], now=clock.now() - 2 * MINUTES)
    assert looked() == ["target:orders-db"]


def test_the_page_of_targets_says_that_one_is_not_observed(
    client: Client, world: World, noop: Noop
) -> None:
    client.force_login(world.admin)
    failed_to_look(noop, world, hours=0.5)
    assert "operators are alarmed" not in client.get("/access/drift/").text
    failed_to_look(noop, world, hours=1.5)
    assert "Not observed for long: operators are alarmed." in client.get("/access/drift/").text
