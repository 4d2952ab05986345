"""`doctor` names what is wrong with a deployment, why it matters and what to do."""

import io
import json
import time
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection, transaction
from django.db.migrations.loader import MigrationLoader

from approvals import handlers
from approvals.connectors import registry
from approvals.connectors.protocol import Health
from approvals.models import Entitlement, OutboxItem, Policy, User
from approvals.outbox import queue
from approvals.selectors import clock
from approvals.services import grants
from jitportal.doctor import database, deployment, rounds, work
from jitportal.doctor.finding import Check, Finding
from jitportal.embedded import roles
from tests.conftest import as_role, connect_as
from tests.connectors.noop import Noop
from tests.services.alive import been_silent, everything_lives
from tests.services.mails import mail_server
from tests.world import World

pytestmark = pytest.mark.django_db(transaction=True)


def said(run: Callable[[], Iterable[Finding]]) -> str:
    """Return what a check finds; each finding has its three parts."""
    found = list(run())
    for finding in found:
        assert finding.what
        assert finding.why
        assert finding.do
        for text in (finding.what, finding.why, finding.do):
            assert text.strip() == text
    return " | ".join(f"{finding.what} {finding.do}" for finding in found)


# -- the command


def ran(*options: str) -> tuple[int, str]:
    out = io.StringIO()
    try:
        call_command("doctor", *options, stdout=out)
    except SystemExit as stop:
        return int(str(stop.code)), out.getvalue()
    return 0, out.getvalue()


def test_it_says_in_plain_words_what_is_wrong_and_exits_1(world: World) -> None:
    status, text = ran()
    assert status == 1
    assert "  ok  database" in text
    assert "WRONG processes" in text
    assert "Beat was never seen." in text
    assert "Why it matters:" in text
    assert "What to do:" in text
    assert text.splitlines()[-1].endswith("to mend.")


def test_it_says_the_same_to_machines(world: World) -> None:
    status, text = ran("--json")
    answer = json.loads(text)
    assert (status, answer["ok"]) == (1, False)
    by_name = {check["name"]: check for check in answer["checks"]}
    assert by_name["database"]["ok"] is True
    assert by_name["processes"]["ok"] is False
    assert {"what", "why", "do", "level"} == by_name["processes"]["findings"][0].keys()


def test_a_deployment_without_fault_exits_0(monkeypatch: pytest.MonkeyPatch) -> None:
    note = Finding("Odd.", "It may matter.", "Look.", level="note")
    monkeypatch.setattr(rounds, "CHECKS", (Check("odd", lambda: [note]),))
    status, text = ran()
    assert status == 0
    assert "note  odd" in text
    assert text.endswith("Nothing is wrong.\n")


def test_without_a_database_the_others_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = Check("database", lambda: [Finding("Away.", "All is in it.", "Start it.")])
    monkeypatch.setattr(rounds, "FIRST", gone)
    found = {result.name: result for result in rounds.every()}
    assert found["role and rights"].skipped
    assert not found["addresses"].skipped


def test_a_check_that_breaks_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks() -> Iterable[Finding]:
        raise ValueError("odd")

    monkeypatch.setattr(rounds, "CHECKS", (Check("a", breaks), Check("b", list)))
    results = list(rounds.every())
    assert "ValueError: odd" in results[1].findings[0].what
    assert results[2].findings == ()


# -- the database


def test_the_database_as_it_should_be() -> None:
    for check in (database.reachable, database.role, database.migrations, database.clocks):
        assert said(check) == "", check.__name__


def test_the_owner_is_too_powerful() -> None:
    connect_as(roles.OWNER)
    try:
        assert "owns the records" in said(database.role)
    finally:
        connect_as(roles.APP)


def test_a_right_that_is_missing_and_one_too_many_are_named() -> None:
    with as_role(roles.OWNER) as raw:
        raw.execute(f"REVOKE INSERT ON approvals_decision FROM {roles.APP}")
        raw.execute(f"GRANT UPDATE ON approvals_decision TO {roles.APP}")
    try:
        text = said(database.role)
        assert "lacks rights: INSERT on approvals_decision." in text
        assert "may change records: UPDATE on approvals_decision." in text
    finally:
        with as_role(roles.OWNER) as raw:
            raw.execute(f"GRANT INSERT ON approvals_decision TO {roles.APP}")
            raw.execute(f"REVOKE UPDATE ON approvals_decision FROM {roles.APP}")


def test_the_right_to_make_temporary_tables_is_named() -> None:
    database_name = connection.settings_dict["NAME"]
    with as_role("superuser") as raw:
        raw.execute(f'GRANT TEMPORARY ON DATABASE "{database_name}" TO PUBLIC')
    try:
        text = said(database.role)
        assert "jitportal_app and jitportal_sealer may make temporary tables in" in text
        assert "run jitportal/embedded/database.sql" in text
    finally:
        with as_role("superuser") as raw:
            raw.execute(f'REVOKE TEMPORARY ON DATABASE "{database_name}" FROM PUBLIC')
    assert said(database.role) == ""


def test_a_migration_that_is_missing_and_one_of_a_newer_version() -> None:
    [(_, newest)] = MigrationLoader(connection).graph.leaf_nodes("approvals")
    rename = "UPDATE django_migrations SET name = %s WHERE name = %s"
    with as_role(roles.OWNER) as raw:
        raw.execute(rename, ["9999_newer", newest])
    try:
        text = said(database.migrations)
        assert f"not applied: approvals.{newest}" in text
        assert "does not know: approvals.9999_newer" in text
    finally:
        with as_role(roles.OWNER) as raw:
            raw.execute(rename, [newest, "9999_newer"])


def test_clocks_that_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    now = clock.now
    monkeypatch.setattr(clock, "now", lambda: now() + timedelta(seconds=40))
    assert "s behind the database's" in said(database.clocks)
    monkeypatch.setattr(clock, "now", lambda: now() - timedelta(seconds=40))
    assert "s ahead of the database's" in said(database.clocks)


def test_pools_that_could_want_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "WEB_PROCESSES", 10_000)
    assert "could want" in said(database.connections)


# -- settings and other servers


@pytest.mark.parametrize(
    ("url", "hosts", "expected"),
    [
        ("https://a.example.com", ["a.example.com"], ""),
        ("http://a.example.com", ["a.example.com"], "without https"),
        ("https://a.example.com", ["b.example.com"], "is not in ALLOWED_HOSTS"),
        ("https://a.example.com:8443", [".example.com"], ""),
        ("https://a.example.com", ["*"], "lets any host name in"),
        ("http://127.0.0.1:8000", ["127.0.0.1"], "PORTAL_URL is http://127.0.0.1:8000."),
    ],
)
def test_addresses(settings: Any, url: str, hosts: list[str], expected: str) -> None:
    settings.PORTAL_URL, settings.ALLOWED_HOSTS, settings.DEMO = url, hosts, False
    text = said(deployment.addresses)
    assert expected in text if expected else text == ""


def test_djangos_own_checks_are_made(settings: Any) -> None:
    settings.DEBUG = True
    settings.SECRET_KEY = "short"
    text = said(deployment.django_checks)
    assert "DEBUG" in text
    assert "SECRET_KEY" in text


def test_the_broker(settings: Any) -> None:
    settings.BROKER_URL = ""
    assert "BROKER_URL is not set" in said(deployment.broker)
    settings.BROKER_URL = "redis://127.0.0.1:1/0"
    assert "does not answer" in said(deployment.broker)


def test_the_mail_server_is_asked_and_sent_nothing(settings: Any) -> None:
    settings.EMAIL_URL = ""
    assert "EMAIL_URL is not set" in said(deployment.mail)
    with mail_server(settings) as server:
        settings.EMAIL_URL = f"smtp://127.0.0.1:{server.port}"
        assert said(deployment.mail) == ""
        assert server.mails == []
    settings.EMAIL_PORT = 1
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    assert "does not take us" in said(deployment.mail)


def test_operators(world: World) -> None:
    assert said(deployment.operators) == ""
    User.objects.filter(pk=world.admin.pk).update(email="")
    assert "No operator has a mail address" in said(deployment.operators)
    User.objects.filter(pk=world.admin.pk).update(is_active=False)
    assert "no active operator" in said(deployment.operators)


# -- the work


def test_processes(world: World) -> None:
    everything_lives()
    assert said(work.alive) == ""
    been_silent("beat", for_=timedelta(minutes=4))
    text = said(work.alive)
    assert "Beat is silent for 4 min." in text
    assert "jitportal-beat" in text


def test_a_sealer_that_never_ran(db: None) -> None:
    assert "Nothing was ever sealed" in said(work.sealer)


def test_targets_that_answer_refuse_break_and_hang(
    world: World, noop: Noop, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert said(work.targets) == ""

    def refuses(**_: Any) -> Health:
        return Health(ok=False, message="Give the login the right.")

    monkeypatch.setattr(noop, "check", refuses)
    assert f"{world.resource.name} can't be worked with. Give the login" in said(work.targets)

    def breaks(**_: Any) -> Health:
        raise ValueError

    monkeypatch.setattr(noop, "check", breaks)
    assert "The connector broke: ValueError." in said(work.targets)
    monkeypatch.setattr(noop, "check", lambda **_: time.sleep(3))
    monkeypatch.setattr(work, "TARGETS_SECONDS", 0.2)
    began = time.monotonic()
    assert "has not answered" in said(work.targets)
    assert time.monotonic() - began < 2
    assert registry.get("noop") is noop


def test_a_secret_that_can_not_be_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOT_THERE", raising=False)
    world.resource.secret = "env:NOT_THERE"
    world.resource.save()
    assert "NOT_THERE" in said(work.targets)


def test_what_is_stuck_and_blocks_others(world: World, noop: Noop, settings: Any) -> None:
    settings.STUCK_AFTER = timedelta(0)
    active = world.active()
    assert said(work.stuck) == ""
    noop.control(fail="transient")
    grants.end(actor=world.alice, request_id=active.request_id, now=clock.now())
    handlers.work("provisioning")
    text = said(work.stuck)
    assert f"Removal at {world.resource.name}" in text
    assert "/operations/" in text
    assert said(work.blocked) == ""
    item = OutboxItem.objects.get(topic="grant.withdraw")
    now = clock.now()
    with transaction.atomic():
        queue.put(
            topic="grant.apply", lane="provisioning", payload=item.payload, key=item.key, now=now
        )
    OutboxItem.objects.filter(pk=item.pk).update(first_failed_at=now - timedelta(hours=1))
    assert f"grant.withdraw of the key {item.key} fails since" in said(work.blocked)
    assert "1 more wait behind it" in said(work.blocked)


def test_policies_and_entitlements(world: World) -> None:
    assert said(work.catalogue) == ""
    Entitlement.objects.filter(pk=world.read.pk).update(policy=None)
    Policy.objects.filter(name="orders-read-write").update(document={"rules": "none"})
    text = said(work.catalogue)
    assert f"Entitlements without a policy: {world.read}" in text
    assert "The policy orders-read-write can't be read" in text
