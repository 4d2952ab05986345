"""A ledger that stands still, or is contradicted, alarms once, and its end is told."""

from __future__ import annotations

import threading
import time
from datetime import datetime, timedelta
from typing import Any

import pytest
from celery import Celery
from django.db import DatabaseError, connection
from django.test import Client
from structlog.testing import capture_logs

from approvals import handlers, tasks
from approvals.models import Notice, OutboxItem
from approvals.portal import ledger
from approvals.selectors import clock
from approvals.selectors.processes import QUEUES
from approvals.services import ledger_watch
from audit.domain import note
from audit.domain.cosignature import Cosigner
from audit.domain.note import LogSigner
from audit.models import Alarm, Checkpoint, Holding, Log, Verification
from audit.selectors import log as reads
from audit.selectors import staleness, state
from audit.services import holding, sealing, watching
from jitportal import schedule
from tests import one_clock
from tests.audit import outside
from tests.audit.sealer import new_signer, seal, sealer
from tests.conftest import as_role
from tests.services.alive import everything_lives
from tests.services.mails import mail_server
from tests.world import World

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def signer() -> LogSigner:
    return new_signer()


@pytest.fixture
def made(world: World, signer: LogSigner) -> Log:
    return seal(signer)


def later(settings: Any, *, by: timedelta = timedelta(seconds=10)) -> datetime:
    moment: datetime = clock.now() + settings.LEDGER_STALE + by
    return moment


def told(*, to: str = "admin") -> list[str]:
    rows = Notice.objects.filter(recipient__username=to, channel="email").order_by("id")
    return list(rows.values_list("kind", flat=True))


# -- what is stale


def test_a_log_that_keeps_up_is_fresh(made: Log, settings: Any) -> None:
    assert staleness.stale(clock.now()) is None
    assert staleness.stale(later(settings)) is None


def test_an_entry_that_waits_too_long_is_stale(made: Log, world: World, settings: Any) -> None:
    world.ask()
    assert staleness.stale(clock.now()) is None, "not yet"
    found = staleness.stale(later(settings))
    assert found is not None
    assert found.unsealed_since is not None
    assert found.checkpoint_at is None
    assert "waited for the sealer" in found.text


def test_a_log_without_any_checkpoint_is_stale_once_there_are_entries(
    world: World, settings: Any
) -> None:
    assert staleness.stale(clock.now()) is None
    found = staleness.stale(later(settings))
    assert found is not None
    assert "No checkpoint was ever signed" in found.text


def test_silence_beyond_the_heartbeat_is_stale(made: Log, settings: Any) -> None:
    found = staleness.stale(later(settings) + settings.LEDGER_HEARTBEAT)
    assert found is not None
    assert found.unsealed_since is None
    assert found.checkpoint_at is not None


def test_a_restore_into_another_cluster_hides_nothing(
    made: Log, world: World, settings: Any
) -> None:
    with as_role("superuser") as raw:
        raw.execute("ALTER TABLE audit_checkpoint DISABLE TRIGGER USER")
        raw.execute("UPDATE audit_checkpoint SET horizon = horizon + 1000000, system = 'other'")
        for name in ("refuse", "stamp", "refuse_truncate"):
            raw.execute(
                f"ALTER TABLE audit_checkpoint ENABLE ALWAYS TRIGGER audit_checkpoint_{name}"
            )
    world.ask()
    assert staleness.stale(later(settings)) is not None


# -- one alarm, one end


def test_the_alarm_is_told_once_and_so_is_its_end(
    made: Log, world: World, signer: LogSigner, settings: Any
) -> None:
    world.ask()
    OutboxItem.objects.all().delete()
    with mail_server(settings) as server, capture_logs() as logs:
        for minutes in range(3):
            moment = later(settings, by=timedelta(minutes=minutes + 1))
            ledger_watch.watch(now=moment)
            handlers.work("notices", now=moment)
        [mail] = server.mails
        assert mail["To"] == "admin@example.com"
        assert mail["Subject"] == "The ledger is not being sealed"
        part = mail.get_body(("plain",))
        assert part is not None
        text = part.get_content()
        assert "ledger_seal" in text
        assert "waited for the sealer" in " ".join(text.replace(">", "").split())
        seal(signer)
        for _ in range(3):
            ledger_watch.watch(now=later(settings))
            handlers.work("notices", now=later(settings))
        assert [mail["Subject"] for mail in server.mails][1:] == [
            "Over: the ledger is being sealed again"
        ]
        assert server.mails[1]["References"] == server.mails[0]["References"]
    assert told() == ["ledger_stale", "ledger_stale_over"]
    assert list(Alarm.objects.order_by("id").values_list("kind", "raised")) == [
        ("stale", True), ("stale", False),
    ]  # fmt: skip
    events = [(it["event"], it["log_level"]) for it in logs if it["event"].startswith("ledger.")]
    assert events == [("ledger.stale", "error"), ("ledger.fresh", "info")]


def verified(*problems: str) -> None:
    """Write down how a verification came out, as a run of it does."""
    now = clock.now()
    seen = Checkpoint.objects.latest("size")
    Verification(
        started_at=now,
        finished_at=now,
        by="nightly",
        log=seen.log.origin,
        size=seen.size,
        root=bytes(seen.root),
        note=bytes(seen.note),
        outcome="problems" if problems else "verified",
        problem_count=len(problems),
        problems=[{"sentence": each} for each in problems],
        entries=1,
    ).save()


def test_what_verification_finds_alarms_operators_and_compliance(
    made: Log, world: World, settings: Any
) -> None:
    with mail_server(settings) as server:
        for problems in (
            (),
            ("leaf 7: changed", *(f"leaf {n}" for n in range(20, 29))),
            ("leaf 7",),
        ):
            verified(*problems)
            ledger_watch.watch(now=clock.now())
            handlers.work("notices", now=clock.now())
        assert {mail["To"] for mail in server.mails} == {"admin@example.com", "dora@example.com"}
        assert len(server.mails) == 2, "once each, though it was found twice"
        part = server.mails[0].get_body(("plain",))
        assert part is not None
        assert "leaf 7: changed" in part.get_content()
        assert "And 5 more." in part.get_content()
        Verification(  # what anybody with the application's role can insert
            started_at=clock.now(), finished_at=clock.now() + timedelta(days=900), by="nightly",
            log=made.origin, size=10**12, root=bytes(32), outcome="verified", entries=1,
        ).save()  # fmt: skip
        assert ledger_watch.watch(now=clock.now()) == []
        verified()
        ledger_watch.watch(now=clock.now())
        handlers.work("notices", now=clock.now())
    assert told(to="dora") == ["ledger_damage", "ledger_damage_over"]


@pytest.mark.parametrize(
    "problems", ["[{}]", "[]", "null", "7", '[7, null, {"sentence": 7}, {"sentence": ""}]']
)
def test_a_run_that_somebody_made_up_silences_no_alarm(
    made: Log, world: World, settings: Any, problems: str
) -> None:
    """It says that there are problems, so it alarms; what it says of them can be anything."""
    verified("leaf 7: changed")
    assert [it.kind for it in ledger_watch.watch(now=clock.now())] == ["damage"]
    world.ask()
    with as_role("jitportal_app") as raw:
        raw.execute(
            "INSERT INTO audit_verification (started_at, finished_at, by, log, size, root, note,"
            " outcome, problem_count, problems, entries) VALUES (now(), now(), 'x', 'x', 1, '', '',"
            " 'problems', 0, %s, 1)",
            [problems],
        )
    assert [it.kind for it in ledger_watch.watch(now=later(settings))] == ["stale"]
    assert ledger.overview(now=clock.now())["first_problem"] == ""


def test_a_kind_that_can_not_be_judged_keeps_no_other_from_being_told(
    made: Log, world: World, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: datetime) -> str:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 / 0")
        return ""

    monkeypatch.setitem(watching._JUDGES, Alarm.Kind.FORK, broken)
    world.ask()
    verified("leaf 7: changed")
    with capture_logs() as logs:
        assert [it.kind for it in ledger_watch.watch(now=later(settings))] == ["stale", "damage"]
    [told] = [it for it in logs if it["event"] == "ledger.unjudged"]
    assert (told["kind"], told["log_level"]) == ("fork", "error")


def test_the_next_episode_alarms_again(
    made: Log, world: World, signer: LogSigner, settings: Any
) -> None:
    with mail_server(settings) as server:
        for _ in range(2):
            world.resource.save()
            OutboxItem.objects.all().delete()
            ledger_watch.watch(now=later(settings))
            handlers.work("notices", now=later(settings))
            seal(signer)
            ledger_watch.watch(now=later(settings))
            handlers.work("notices", now=later(settings))
        assert len(server.mails) == 4


def test_an_episode_that_was_over_before_it_was_told_is_not_told(
    made: Log, world: World, signer: LogSigner, settings: Any
) -> None:
    world.resource.save()
    OutboxItem.objects.all().delete()
    ledger_watch.watch(now=later(settings))
    seal(signer)
    ledger_watch.watch(now=later(settings))
    with mail_server(settings) as server:
        handlers.work("notices", now=later(settings))
        assert server.mails == []
    assert not OutboxItem.objects.exists()


def test_watchers_side_by_side_raise_one_alarm(made: Log, world: World, settings: Any) -> None:
    world.resource.save()
    OutboxItem.objects.all().delete()
    now, gate = later(settings), threading.Barrier(6)
    errors: list[BaseException] = []

    def look() -> None:
        try:
            gate.wait()
            ledger_watch.watch(now=now)
        except BaseException as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=look) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert Alarm.objects.count() == 1
    assert OutboxItem.objects.filter(topic="ledger.alarm").count() == 1


def test_a_fork_alarms_operators_and_compliance(
    made: Log, signer: LogSigner, settings: Any, tmp_path: Any
) -> None:
    one = outside.Witness.named("w.example")
    (tmp_path / "policy").write_text(
        f"witness w {one.vkeys()[0].vkey} http://127.0.0.1:1/\nquorum w\n"
    )
    settings.LEDGER_WITNESSES = str(tmp_path / "policy")
    last = reads.newest_checkpoint(made)
    assert last is not None
    holding.failed(
        checkpoint=last, kind=Holding.Kind.WITNESS, holder="w", state=Holding.State.FORK,
        error="it has another root", detail={}, now=clock.now(),
    )  # fmt: skip
    with mail_server(settings) as server, capture_logs() as logs:
        ledger_watch.watch(now=clock.now())
        handlers.work("notices")
        assert sorted(mail["To"] for mail in server.mails) == [
            "admin@example.com", "dora@example.com",
        ]  # fmt: skip
        assert {mail["Subject"] for mail in server.mails} == {
            "Alarm: an outside holder contradicts the ledger"
        }
        cosigned = one_more(one, last)
        holding.took(
            checkpoint=last, kind=Holding.Kind.WITNESS, holder="w", evidence=cosigned, detail={},
            now=clock.now(),
        )  # fmt: skip
        ledger_watch.watch(now=clock.now())
        handlers.work("notices")
        assert len(server.mails) == 4
    events = [it["event"] for it in logs if it["event"].startswith("ledger.f")]
    assert events == ["ledger.forked"]
    assert told(to="dora") == ["ledger_fork", "ledger_fork_over"]


def one_more(one: outside.Witness, last: Checkpoint) -> bytes:
    signed = note.read(bytes(last.note))
    name, seed, kind = one.keys[0]
    cosigner = Cosigner(name=name, seed=seed, time_seconds=1_800_000_000, kind=kind)
    value = cosigner.sign(signed.text)
    return note.Signature(name, cosigner.key_id, value).line().encode()


# -- beat, tasks, health


def test_beat_asks_first_after_moments_and_then_at_its_interval(
    world: World, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    sent: list[str] = []
    app = Celery("x", set_as_current=False)
    app.conf.beat_schedule = schedule.entries()
    found = schedule.LeadingScheduler(app=app)
    found.__dict__["producer"] = None
    monkeypatch.setattr(found, "_lead", lambda: True)
    monkeypatch.setattr(found, "apply_entry", lambda entry, producer=None: sent.append(entry.task))
    found.tick()
    assert not [task for task in sent if task.startswith("ledger")]
    moved = schedule.WATCH_EVERY.total_seconds() + 1
    for entry in found.schedule.values():
        if isinstance(entry.schedule, schedule.Every):
            entry.schedule._next -= moved
    sent.clear()
    found.tick()
    names = ["ledger.hold", "ledger.mail", "ledger.verify_missed", "ledger.watch"]
    assert sorted(task for task in sent if task.startswith("ledger")) == names
    sent.clear()
    found.tick()
    assert not [task for task in sent if task.startswith("ledger")]
    queues = {it["task"]: it["options"]["queue"] for it in schedule.entries().values()}
    assert {queues[name] for name in names} <= {"due", "notices"}


def test_the_tasks_do_it(
    made: Log, signer: LogSigner, world: World, settings: Any, tmp_path: Any
) -> None:
    one = outside.Witness.named("w.example")
    one.logs[signer.name] = signer.key
    with outside.serving(one.answer) as server, mail_server(settings) as mails:
        (tmp_path / "policy").write_text(
            f"witness w {one.vkeys()[0].vkey} {server.url}/prefix\nquorum w\n"
        )
        settings.LEDGER_WITNESSES = str(tmp_path / "policy")
        tasks.ledger_hold()
        tasks.ledger_mail_due()
        tasks.ledger_watch_now()
        handlers.work("notices")
        assert [mail["To"] for mail in mails.mails] == ["dora@example.com"]
    assert sorted(Holding.objects.values_list("kind", flat=True)) == ["mail", "witness"]
    assert not Alarm.objects.exists()


def test_one_task_holds_at_a_time(made: Log, settings: Any, tmp_path: Any) -> None:
    one = outside.Witness.named("w.example")
    with outside.serving(one.answer) as server:
        (tmp_path / "policy").write_text(
            f"witness w {one.vkeys()[0].vkey} {server.url}/prefix\nquorum w\n"
        )
        settings.LEDGER_WITNESSES = str(tmp_path / "policy")
        with as_role("jitportal_app") as other:
            other.execute("SELECT pg_advisory_lock(%s)", [tasks._HOLD_LOCK])
            tasks.ledger_hold()
            assert server.asked == []
        tasks.ledger_hold()
        assert len(server.asked) == 1


def test_readyz_names_a_stale_ledger_and_stays_ready(
    made: Log, world: World, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Client()
    everything_lives()
    answer = client.get("/readyz")
    assert answer.json()["processes"] == dict.fromkeys(["beat", *QUEUES], "ok")
    assert (answer.json()["status"], answer.json()["ledger"]) == ("ok", "ok")
    world.ask()
    one_clock.settle()  # an entry's moment is by the database's own clock
    settings.LEDGER_STALE = timedelta(microseconds=1)
    answer = client.get("/readyz")
    assert answer.status_code == 200
    said = answer.json()
    assert said["status"] == "degraded"
    assert said["ledger"].startswith("stale: An entry has waited")

    def broken(_: datetime) -> None:
        raise DatabaseError

    monkeypatch.setattr(staleness, "stale", broken)
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["ledger"]) == (200, "unknown: DatabaseError")


def test_a_sealer_that_beats_its_heart_keeps_a_quiet_log_fresh(
    made: Log, signer: LogSigner, settings: Any
) -> None:
    moment = later(settings) + settings.LEDGER_HEARTBEAT
    with sealer():
        assert sealing.beat_heart(made, now=moment, every=settings.LEDGER_HEARTBEAT)
    seal(signer)
    assert staleness.stale(clock.now()) is None


# -- a night that did not verify


def test_what_no_night_has_verified_is_verified_once(
    world: World, signer: LogSigner, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks.ledger_verify_missed()
    assert not Verification.objects.exists(), "nothing is sealed yet"
    seal(signer)
    tasks.ledger_verify_missed()
    first = Verification.objects.get()
    assert (first.outcome, first.by) == ("verified", "the portal, as no night had")
    tasks.ledger_verify_missed()
    assert Verification.objects.count() == 1
    monkeypatch.setattr(state, "VERIFIED_WITHIN", timedelta(0))
    tasks.ledger_verify_missed()
    assert Verification.objects.count() == 2


def test_a_backlog_is_sealed_before_it_is_verified(
    made: Log, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.ask()
    monkeypatch.setattr(state, "BACKLOG_AFTER", timedelta(0))
    tasks.ledger_verify_missed()
    assert not Verification.objects.exists()


def test_one_process_verifies_what_was_missed(made: Log) -> None:
    with as_role("jitportal_app") as other:
        other.execute("SELECT pg_advisory_lock(%s)", [tasks._VERIFY_LOCK])
        tasks.ledger_verify_missed()
        assert not Verification.objects.exists()
    tasks.ledger_verify_missed()
    assert Verification.objects.count() == 1


def test_beat_looks_for_a_missed_night_soon_after_its_start() -> None:
    found = schedule.entries()["ledger-verify-missed"]
    assert found["task"] == tasks.ledger_verify_missed.name
    assert 0 < found["schedule"]._next - time.monotonic() <= 60
    assert found["schedule"].run_every == timedelta(minutes=10)
