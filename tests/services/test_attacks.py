"""Access that stays or goes at the wrong time: each test is one way that once worked."""

import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import Celery
from django.db import connection

from approvals import abreast, handlers, tasks
from approvals.directory.models import Group, Membership, User
from approvals.models import Entitlement, OutboxItem, Policy, Resource
from approvals.selectors import clock
from approvals.selectors import due as selectors_due
from approvals.services import escalation, grants, memberships, requests
from jitportal import schedule
from tests import one_clock
from tests.conftest import as_role
from tests.connectors.noop import Noop
from tests.world import World, rule


@pytest.fixture
def badge(world: World) -> Entitlement:
    """Membership of a group of this portal, approved by its rule."""
    memberships.register()
    Group.objects.create(name="readers", title="Report readers")
    policy = Policy.objects.create(
        name="badge",
        document={"rules": [rule("all", groups=["eng"], longest=3600, auto_approve=True)]},
    )
    resource = Resource.objects.create(name="reports", connector="portal", owner=world.carol)
    return Entitlement.objects.create(
        resource=resource, name="reader", risk="low", policy=policy, settings={"group": "readers"}
    )


def test_the_undoing_of_a_cancelled_grant_spares_the_grant_that_follows(
    world: World, noop: Noop, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = world.ask(what=world.read)
    again: list[Any] = []
    real = noop.grant

    def grant(spec: Any) -> Any:
        if not again:  # while the target works, alice cancels and asks once more
            requests.cancel(actor=world.alice, request_id=first.request_id, now=clock.now())
            again.append(world.ask(what=world.read))
        return real(spec)

    monkeypatch.setattr(noop, "grant", grant)
    handlers.work("provisioning")
    assert world.newest(first).state == "cancelled"
    second = world.newest(again[0])
    assert (second.state, noop.held()) == ("active", {("alice", "read")})


def test_half_made_access_is_removed_even_when_the_target_refuses_for_a_while(
    world: World, noop: Noop
) -> None:
    request = world.ask(what=world.read)
    noop.control(lose_answer=True)
    handlers.work("provisioning")
    assert noop.held() == {("alice", "read")}
    noop.control(fail="permanent")  # the login's password was changed, say
    handlers.work("provisioning", now=clock.now() + timedelta(hours=1))
    assert world.newest(request).state == "failed"
    noop.control()  # and is right again
    handlers.work("provisioning", now=clock.now() + timedelta(hours=3))
    assert noop.held() == set()


@pytest.mark.parametrize("renamed", ["person", "group"])
def test_a_membership_ends_although_its_person_or_group_was_renamed(
    world: World, badge: Entitlement, renamed: str
) -> None:
    request = world.ask(what=badge)
    handlers.work("provisioning")
    assert Membership.objects.filter(person=world.alice, group__name="readers").exists()
    if renamed == "person":
        world.alice.username = "alice.smith"
        world.alice.save()
    else:
        group = Group.objects.get(name="readers")
        group.name = "report-readers"
        group.save()
    grants.end(actor=world.alice, request_id=request.request_id, now=clock.now())
    handlers.work("provisioning")
    is_gone = not Membership.objects.filter(granted_by=request.request_id).exists()
    assert is_gone == (world.newest(request).state == "revoked")


def test_scheduled_access_is_not_given_to_whoever_took_the_login_name_since(
    world: World, badge: Entitlement
) -> None:
    start = clock.now() + timedelta(hours=1)
    request = world.ask(what=badge, starts_at=start)
    world.alice.username = "alice.smith"
    world.alice.save()
    other = User.objects.create_user("alice", "other@example.com", None, name="Other Alice")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clock, "now", lambda: start)
        handlers.work("provisioning", now=start)
    assert not Membership.objects.filter(person=other).exists(), world.newest(request).state


def test_one_broken_request_does_not_stop_what_else_is_due(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = world.ask(by=world.dan, now=clock.now() - timedelta(seconds=90))
    held = world.active()
    real = escalation.escalate

    def escalate(*, request_id: Any, now: Any) -> Any:
        if request_id == broken.request_id:
            raise ValueError("a document that this version can't read")
        return real(request_id=request_id, now=now)

    monkeypatch.setattr(escalation, "escalate", escalate)
    world.alice.is_active = False
    world.alice.save()
    monkeypatch.setattr(tasks, "LINGER_SECONDS", 0.0)
    one_clock.settle()  # the leaver's trigger goes by the database's own clock
    with suppress(ValueError):
        tasks.work_due()
    assert world.newest(held).state == "revoking"


def test_somebody_who_leaves_while_the_access_is_being_made_loses_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = world.approved()
    real = requests.cancel

    def cancel(**arguments: Any) -> Any:
        grants.activate(  # the worker's transaction was a moment faster
            request_id=request.request_id,
            attempt=grants.Attempt(number=1, started_at=clock.now(), finished_at=clock.now()),
            now=clock.now(),
        )
        return real(**arguments)

    monkeypatch.setattr(requests, "cancel", cancel)
    world.alice.is_active = False
    world.alice.save()
    handlers.work("due")
    assert world.newest(request).state != "active"


@pytest.mark.django_db(transaction=True)
def test_a_beat_that_lost_its_lock_does_not_lead() -> None:
    beat = schedule.LeadingScheduler(app=Celery("x", set_as_current=False), lazy=True)
    assert beat._lead()
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        pid = cursor.fetchone()[0]
    with as_role("superuser") as admin:
        admin.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
    due, asked_at = schedule.WhenDue(selectors_due.next_moment), datetime.now(UTC)
    due._send()
    due.is_due(asked_at)
    leads = beat._lead()
    with as_role("superuser") as admin:
        row = admin.execute(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = %s",
            [schedule._LEADER_LOCK],
        ).fetchone()
    assert row is not None
    assert leads == bool(row[0])


@pytest.mark.django_db(transaction=True)
def test_work_at_a_dead_target_does_not_hold_up_another_target(world: World, noop: Noop) -> None:
    policy = world.read.policy
    dead = Resource.objects.create(name="dead-db", connector="noop", owner=world.carol)
    many = [
        Entitlement.objects.create(
            resource=dead, name=f"r{n}", risk="low", policy=policy, settings={"name": f"r{n}"}
        )
        for n in range(48)
    ]
    rows = [world.ask(what=e, by=world.dan) for e in many]
    mine = world.ask(what=world.read)
    handlers.work("provisioning")
    noop.control(before_seconds=1, fail="transient", only_login="dan")
    for row in rows:
        grants.end(actor=world.dan, request_id=row.request_id, now=clock.now())
    grants.end(actor=world.alice, request_id=mine.request_id, now=clock.now())
    started = time.time()
    abreast.provision()
    done = [c for c in noop.calls("revoke") if c["stage"] == "done" and c["login"] == "alice"]
    assert done[0]["at"] - started < 1.0
    assert OutboxItem.objects.filter(topic="grant.withdraw").count() == 48
