"""What targets hold against what was granted: what is a finding, and when it is looked for."""

import uuid
from datetime import timedelta
from typing import Any

import pytest

from approvals import handlers, tasks
from approvals.domain.drift import Kind
from approvals.domain.refusals import Invalid, NotAllowed, NotFound, Settled
from approvals.models import (
    Finding,
    Observation,
    OutboxItem,
    Resource,
)
from approvals.selectors import clock
from approvals.selectors import drift as reads
from approvals.services import comparing, findings, grants, reconciliation
from audit.services import verifying
from jitportal import schedule
from tests.audit.sealer import new_signer, seal
from tests.connectors.noop import Noop
from tests.services.drifting import found, look, spec, work
from tests.world import World, notices

pytestmark = pytest.mark.usefixtures("at_once")


# -- nothing to find


def test_what_is_as_granted_is_no_finding(world: World) -> None:
    over = world.ask(what=world.read)
    work()
    grants.end(actor=world.alice, request_id=over.request_id, now=clock.now())
    world.active()
    assert world.newest(over).state == "revoked"
    look(world, 3)
    assert not Finding.objects.exists()
    seen = Observation.objects.get()
    assert (seen.held, seen.error, seen.left_out) == (1, "", "")
    assert seen.succeeded_at == seen.finished_at


def test_what_is_on_its_way_is_never_a_finding(world: World, noop: Noop) -> None:
    """Access that is being made is there already, access that is being removed isn't any more."""
    noop.control(lose_answer=True)
    made = world.approved()
    work()
    assert (world.newest(made).state, noop.held()) == ("approved", {("alice", "read-write")})
    look(world, 3)
    noop.control()
    handlers.work("provisioning", now=clock.now() + timedelta(hours=1))
    assert world.newest(made).state == "active"
    noop.control(lose_answer=True)
    grants.end(actor=world.alice, request_id=made.request_id, now=clock.now())
    work()
    assert (world.newest(made).state, noop.held()) == ("revoking", set())
    look(world, 3)
    assert not Finding.objects.exists()


def test_what_changed_while_or_shortly_before_the_target_was_asked_is_no_finding(
    world: World, noop: Noop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparing, "MARGIN", timedelta(minutes=1))
    active = world.active()
    noop.revoke(spec("alice", "read-write"))
    look(world, 3)
    grants.end(actor=world.alice, request_id=active.request_id, now=clock.now())
    work()
    noop.grant(spec("alice", "read-write"))
    look(world, 3)
    assert not Finding.objects.exists()


def test_an_approval_that_waits_for_its_start_is_no_access(world: World, noop: Noop) -> None:
    """Who holds it before has it from somewhere else."""
    later = clock.now() + timedelta(hours=3)
    world.approved(starts_at=later)
    noop.grant(spec("alice", "read-write"))
    look(world, 2)
    assert found() == [("standing", "alice", "read-write")]


# -- standing


def test_what_the_portal_never_granted_is_listed_and_left(world: World, noop: Noop) -> None:
    noop.grant(spec("dan", "read"))
    noop.grant(spec("deploy-bot", "owner"))
    look(world, 3)
    work()
    assert found() == [("standing", "dan", "read"), ("unmatched", "deploy-bot", "owner")]
    assert noop.held() == {("dan", "read"), ("deploy-bot", "owner")}
    assert Finding.objects.get(login="dan").person == world.dan
    assert Finding.objects.get(login="deploy-bot").person is None
    assert not notices("standing")
    noop.revoke(spec("dan", "read"))
    look(world)
    assert Finding.objects.get(login="dan").resolution == "by_itself"


def test_a_request_that_never_became_access_makes_nothing_a_leftover(
    world: World, noop: Noop
) -> None:
    """Else a refused request would take away what somebody has from elsewhere."""
    noop.grant(spec("alice", "read-write"))
    request = world.ask()
    world.decide(world.bob, request, "deny")
    again = world.approved()
    noop.control(fail="permanent")
    work()
    assert world.newest(again).state == "failed"
    noop.control()
    look(world, 3)
    work()
    assert found() == [("standing", "alice", "read-write")]
    assert noop.held() == {("alice", "read-write")}


def test_what_a_failed_grant_may_have_made_is_a_leftover(world: World, noop: Noop) -> None:
    noop.control(deny_answer=True)
    request = world.approved()
    work()
    assert world.newest(request).state == "failed"
    noop.control()
    OutboxItem.objects.update(not_before=clock.now())
    work()
    assert not OutboxItem.objects.filter(topic__startswith="grant.").exists()
    noop.grant(spec("alice", "read-write"))  # the order is carried out late
    look(world, 2)
    assert found() == [("leftover", "alice", "read-write")]
    work()
    assert noop.held() == set()


def test_why_it_may_stay_is_kept(world: World, noop: Noop) -> None:
    noop.grant(spec("dan", "read"))
    look(world, 2)
    [row] = Finding.objects.all()
    now = clock.now()
    with pytest.raises(NotAllowed):
        findings.keep(actor=world.bob, finding_id=row.pk, reason="x", now=now)
    with pytest.raises(NotFound):
        findings.keep(actor=world.dora, finding_id=row.pk + 1, reason="x", now=now)
    for wrong in ("  ", "x\0", "x" * 2001):
        with pytest.raises(Invalid):
            findings.keep(actor=world.dora, finding_id=row.pk, reason=wrong, now=now)
    findings.keep(actor=world.dora, finding_id=row.pk, reason=" He owns it. ", now=now)
    look(world, 2)
    row.refresh_from_db()
    assert (row.kept_by, row.kept_at, row.kept_because) == (world.dora, now, "He owns it.")
    noop.revoke(spec("dan", "read"))
    look(world)
    with pytest.raises(Settled):
        findings.keep(actor=world.dora, finding_id=row.pk, reason="x", now=now)


def test_leftovers_are_not_for_keeping(world: World, noop: Noop) -> None:
    world.ended()
    noop.grant(spec("alice", "read-write"))
    look(world, 2)
    with pytest.raises(Invalid):
        findings.keep(
            actor=world.dora, finding_id=Finding.objects.get().pk, reason="x", now=clock.now()
        )


# -- when


def test_each_target_is_looked_at_when_it_is_due(world: World, noop: Noop, settings: Any) -> None:
    settings.RECONCILE_EVERY = timedelta(minutes=15)
    assert [*reads.due(now=clock.now())] == [world.resource.pk]
    look(world)
    assert reads.due(now=clock.now()) == {}
    assert reads.due(now=clock.now() + timedelta(minutes=14)) == {}
    assert [*reads.due(now=clock.now() + timedelta(minutes=15))] == [world.resource.pk]
    noop.grant(spec("dan", "read"))
    look(world)
    again = reads.due(now=clock.now() + timedelta(minutes=1))
    assert [*again] == [world.resource.pk], "to confirm it"
    look(world)
    assert reads.due(now=clock.now() + timedelta(minutes=2)) == {}


def test_a_retired_resource_is_looked_at_while_it_has_findings(world: World, noop: Noop) -> None:
    noop.grant(spec("dan", "read"))
    look(world, 2)
    Resource.objects.update(is_retired=True)
    later = clock.now() + timedelta(hours=1)
    assert [*reads.due(now=later)] == [world.resource.pk]
    noop.revoke(spec("dan", "read"))
    look(world)
    assert reads.due(now=later) == {}
    assert not reconciliation.observe(resource_id=world.resource.pk)


def test_only_operators_have_it_looked_at_now(world: World) -> None:
    look(world)
    now = clock.now()
    for other in (world.alice, world.dora, world.carol):
        with pytest.raises(NotAllowed):
            findings.look_now(actor=other, resource_id=world.resource.pk, now=now)
    with pytest.raises(NotFound):
        findings.look_now(actor=world.admin, resource_id=0, now=now)
    findings.look_now(actor=world.admin, resource_id=world.resource.pk, now=now)
    assert [*reads.due(now=clock.now())] == [world.resource.pk]


def test_a_kind_of_finding_is_named_alike_everywhere() -> None:
    assert {str(kind) for kind in Kind} == set(Finding.Kind.values)


def test_beat_sends_it_and_a_task_does_it() -> None:
    entry = schedule.entries()["targets-observe"]
    assert entry["task"] == tasks.observe_targets.name
    assert entry["options"]["queue"] == "notices"
    assert tasks.WAKE["targets"] == (tasks.observe_targets, "notices")


@pytest.mark.django_db(transaction=True)
def test_versions_of_resources_from_before_the_column_verify(world: World) -> None:
    """Their entries in the log say nothing of it, so their rows must not either."""
    history = Resource.history.model
    values = Resource.history.filter(id=world.resource.pk).values().latest()
    del values["history_id"]
    history.objects.create(**values | {"drift_policy": None, "history_type": "~"})
    world.resource.drift_policy = "report"
    world.resource.save()
    seal(new_signer())
    report = verifying.run(by="a test")
    assert report.ok, [*report.as_text()]


def test_a_target_may_hold_more_than_a_statement_takes_parameters(world: World) -> None:
    """PostgreSQL takes 65,535, and a company may have more accesses than that."""
    many = 70_000
    names = [f"p{number}" for number in range(many)]
    assert reads.people_called([*names, "alice"])["alice"] == world.alice.pk
    assert reads.past_grants(connector="noop", names=names) == []
    assert reads.open_elsewhere(world.resource, names=names) == []
    active = world.active()
    ids = [uuid.UUID(int=number) for number in range(many)]
    since = clock.now() - timedelta(minutes=1)
    assert reads.touched_since([*ids, active.request_id], since=since) == {active.request_id}
