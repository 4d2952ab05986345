"""More time for access that is active: asked for anew, decided anew, and going on without a gap."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from approvals import handlers
from approvals.domain.refusals import Invalid, Refusal, Settled
from approvals.models import AccessRequest, GrantEvent, OutboxItem, Policy
from approvals.selectors import clock, timeline
from approvals.selectors import requests as reads
from approvals.services import grants, requests
from tests.connectors.noop import Noop
from tests.world import DATA, MANAGER, World, notices, rule


def extend(world: World, original: AccessRequest, **more: Any) -> AccessRequest:
    what = {world.read.pk: world.read, world.write.pk: world.write}[original.entitlement_id]
    return world.ask(what=what, extends=original.request_id, **more)


def active(world: World, minutes: int = 5) -> AccessRequest:
    request = world.ask(what=world.read, minutes=minutes)
    handlers.work("provisioning")
    return world.newest(request)


def end_of(world: World, request: AccessRequest) -> datetime:
    ends_at = world.newest(request).ends_at
    assert ends_at is not None
    return ends_at


def test_the_access_goes_on_without_a_gap_and_without_the_target(world: World, noop: Noop) -> None:
    first = active(world, minutes=5)
    boundary = end_of(world, first)
    second = extend(world, first, minutes=10)
    handlers.work("provisioning")
    assert world.newest(second).state == "approved", "it waits for the boundary"
    before = len(noop.calls())
    assert grants.end_due(now=boundary) == 1
    follower = world.newest(second)
    assert (world.newest(first).state, follower.state) == ("revoking", "active")
    assert follower.activated_at == boundary
    assert follower.ends_at == boundary + timedelta(minutes=10)
    handlers.work("provisioning", now=boundary)
    ended = world.newest(first)
    assert (ended.state, ended.detail["receipt"]["covered_by"]) == ("expired", second.reference)
    assert (len(noop.calls()), noop.held()) == (before, {("alice", "read")})
    assert ("ended", world.alice.pk) not in notices()
    assert grants.end_due(now=boundary + timedelta(minutes=10)) == 1
    handlers.work("provisioning", now=boundary + timedelta(hours=1))
    assert (world.newest(second).state, noop.held()) == ("expired", set())


def test_a_chain_of_extensions_goes_on(world: World, noop: Noop) -> None:
    row = active(world)
    for _ in range(3):
        following = extend(world, row, minutes=5)
        boundary = end_of(world, row)
        grants.end_due(now=boundary)
        handlers.work("provisioning", now=boundary)
        row = world.newest(following)
        assert (row.state, row.activated_at) == ("active", boundary)
    assert sum(call["stage"] == "done" for call in noop.calls()) == 1


def test_its_own_chain_decides_on_it(world: World) -> None:
    first = world.active()
    second = extend(world, first)
    assert (second.state, second.level_name) == ("pending", "Manager")
    assert world.decide(world.bob, second).state == "pending"
    assert world.decide(world.carol, second).state == "approved"
    assert not OutboxItem.objects.filter(topic="grant.apply").exists()


def test_a_policy_may_give_a_shorter_chain(world: World) -> None:
    policy = Policy.objects.get(name="orders-read-write")
    policy.document = {
        "rules": [
            rule("eng", groups=["eng"], longest=28_800, levels=[MANAGER, DATA],
                 extension_levels=[DATA])
        ]
    }  # fmt: skip
    policy.save()
    first = world.active()
    second = extend(world, first)
    assert second.level_name == "Data owners"
    assert world.decide(world.carol, second).state == "approved"


def test_a_pending_extension_does_not_prolong_anything(world: World, noop: Noop) -> None:
    first = world.active(minutes=2)
    second = extend(world, first)
    boundary = end_of(world, first)
    grants.end_due(now=boundary)
    handlers.work("provisioning", now=boundary)
    assert (world.newest(first).state, noop.held()) == ("expired", set())
    world.decide(world.bob, second)
    world.decide(world.carol, second)
    handlers.work("provisioning")
    again = world.newest(second)
    assert (again.state, noop.held()) == ("active", {("alice", "read-write")})
    assert again.activated_at == again.occurred_at


@pytest.mark.parametrize("decided", [True, False])
@pytest.mark.parametrize("who", ["alice", "bob"])
def test_an_early_end_cancels_it_with_the_reason(
    world: World, noop: Noop, decided: bool, who: str
) -> None:
    first = world.active()
    second = extend(world, first)
    if decided:
        world.decide(world.bob, second)
        world.decide(world.carol, second)
    grants.end(
        actor=getattr(world, who), request_id=first.request_id, now=clock.now(), comment="Enough."
    )
    handlers.work("provisioning")
    cancelled = world.newest(second)
    assert (cancelled.state, cancelled.actor_id) == ("cancelled", None)
    assert first.reference in cancelled.comment
    assert world.newest(first).state == "revoked"
    assert noop.held() == set()
    assert not OutboxItem.objects.filter(topic__startswith="grant.").exists()


def test_one_extension_beside_the_active_access_and_no_more(world: World) -> None:
    first = active(world)
    extend(world, first)
    with pytest.raises(Invalid, match="open request"):
        extend(world, first)
    with pytest.raises(Invalid, match="open request"):
        world.ask(what=world.read)


def test_only_active_access_of_the_same_subject_and_entitlement_is_extended(
    world: World,
) -> None:
    waiting = world.ask(what=world.write)
    with pytest.raises(Settled):
        extend(world, waiting)
    first = active(world)
    with pytest.raises(Invalid, match="same person"):
        world.ask(what=world.write, by=world.dan, extends=first.request_id)
    with pytest.raises(Invalid, match="would end"):
        extend(world, first, starts_at=clock.now() + timedelta(hours=1))
    with pytest.raises(Settled):
        extend(world, first, now=end_of(world, first))
    grants.end(actor=world.alice, request_id=first.request_id, now=clock.now())
    with pytest.raises(Settled):
        extend(world, first)


def test_the_database_refuses_an_extension_of_nothing(world: World) -> None:
    first = active(world)
    row = reads.revisions(first.request_id)[0]
    from django.db import IntegrityError, transaction
    from uuid_utils.compat import uuid7

    for extends in (None, uuid7()):
        copy = AccessRequest(**{f.attname: getattr(row, f.attname) for f in row._meta.fields})
        copy.pk, copy.request_id, copy.extends, copy._state.adding = None, uuid7(), extends, True
        with pytest.raises(IntegrityError), transaction.atomic():
            AccessRequest.insert([copy])


def test_what_the_policy_no_longer_allows_does_not_go_on(world: World, noop: Noop) -> None:
    first = active(world)
    second = extend(world, first)
    policy = Policy.objects.get(name="orders-read")
    policy.document = {"rules": [rule("d", groups=["data"], longest=60, auto_approve=True)]}
    policy.save()
    boundary = end_of(world, first)
    grants.end_due(now=boundary)
    handlers.work("provisioning", now=boundary)
    assert world.newest(second).state == "failed"
    assert (world.newest(first).state, noop.held()) == ("expired", set())


def test_an_approval_that_a_sweep_left_waiting_begins_by_its_own_start(
    world: World, noop: Noop, monkeypatch: pytest.MonkeyPatch
) -> None:
    from approvals.services import extensions

    first = active(world)
    second = extend(world, first)
    boundary = end_of(world, first)
    monkeypatch.setattr(extensions, "take_over", lambda pairs, now: [])
    grants.end_due(now=boundary)
    monkeypatch.setattr(clock, "now", lambda: boundary + timedelta(seconds=2))
    handlers.work("provisioning")
    assert (world.newest(second).state, noop.held()) == ("active", {("alice", "read")})


class Told:
    """Ends that the target was told, and by whom."""

    def __init__(self, noop: Noop, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ends: list[tuple[str, datetime | None]] = []
        real = noop.grant

        def grant(spec: Any) -> Any:
            self.ends.append((spec.request_id, spec.ends_at))
            return real(spec)

        monkeypatch.setattr(noop, "grant", grant)


def test_a_target_that_ends_access_by_itself_is_told_before_the_boundary(
    world: World, noop: Noop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(noop), "ends_at_target", True)
    told = Told(noop, monkeypatch)
    first = active(world, minutes=10)
    boundary = end_of(world, first)
    second = extend(world, first, minutes=10)
    handlers.work("provisioning")
    assert len(told.ends) == 1, "not long before"
    monkeypatch.setattr(clock, "now", lambda: boundary - timedelta(minutes=1))
    handlers.work("provisioning")
    assert told.ends[1:] == [(str(second.request_id), boundary + timedelta(minutes=10))]
    assert world.newest(second).state == "approved"
    grants.end_due(now=boundary)
    assert world.newest(second).state == "active"
    handlers.work("provisioning", now=boundary)
    assert (world.newest(first).state, noop.held()) == ("expired", {("alice", "read")})


def test_a_target_that_could_not_be_told_is_granted_anew(
    world: World, noop: Noop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(noop), "ends_at_target", True)
    first = active(world, minutes=10)
    boundary = end_of(world, first)
    second = extend(world, first, minutes=10)
    noop.control(fail="transient")
    monkeypatch.setattr(clock, "now", lambda: boundary - timedelta(minutes=1))
    handlers.work("provisioning")
    grants.end_due(now=boundary)
    assert world.newest(second).state == "approved", "the target has not confirmed it"
    noop.control()
    monkeypatch.setattr(clock, "now", lambda: boundary + timedelta(minutes=2))
    handlers.work("provisioning")
    assert world.newest(first).state == "expired"
    assert (world.newest(second).state, noop.held()) == ("active", {("alice", "read")})


def test_credentials_of_each_request_are_made_before_and_the_old_ones_taken_after(
    world: World, noop: Noop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(noop), "per_request", True, raising=False)
    first = active(world, minutes=10)
    boundary = end_of(world, first)
    second = extend(world, first)
    monkeypatch.setattr(clock, "now", lambda: boundary - timedelta(minutes=1))
    handlers.work("provisioning")
    assert GrantEvent.objects.filter(request_id=second.request_id, kind="granted").exists()
    grants.end_due(now=boundary)
    assert world.newest(second).state == "active"
    handlers.work("provisioning", now=boundary)
    revoked = [call["request"] for call in noop.calls("revoke") if call["stage"] == "done"]
    assert revoked == [str(first.request_id)]


def test_what_was_made_ready_for_a_cancelled_extension_is_taken_away(
    world: World, noop: Noop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(noop), "per_request", True, raising=False)
    first = active(world, minutes=10)
    second = extend(world, first)
    moment = end_of(world, first) - timedelta(minutes=1)
    monkeypatch.setattr(clock, "now", lambda: moment)
    handlers.work("provisioning")
    requests.cancel(actor=world.alice, request_id=second.request_id, now=moment)
    handlers.work("provisioning")
    revoked = [call["request"] for call in noop.calls("revoke") if call["stage"] == "done"]
    assert revoked == [str(second.request_id)]


def test_history_tells_both_ways(world: World) -> None:
    first = active(world)
    second = extend(world, first)
    lines = [f"{line.lead} {line.text} {line.note}" for line in timeline.load(first).lines]
    assert any(second.reference in line for line in lines), lines
    lines = [f"{line.lead} {line.text} {line.note}" for line in timeline.load(second).lines]
    assert any(first.reference in line for line in lines), lines


def test_nothing_else_is_refused_by_the_rules_of_extensions(world: World) -> None:
    first = active(world)
    grants.end(actor=world.alice, request_id=first.request_id, now=clock.now())
    with pytest.raises(Refusal):
        world.ask(what=world.read)
    handlers.work("provisioning")
    assert world.ask(what=world.read).state == "approved"


def test_a_policy_that_cannot_be_read_holds_up_nobodys_end(
    world: World, noop: Noop, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = active(world)
    second = extend(world, first, minutes=10)
    other = world.ask(by=world.dan, what=world.read, minutes=5)
    handlers.work("provisioning")
    monkeypatch.setattr(Policy, "clean", lambda self: None)
    policy = Policy.objects.get(entitlements=world.read)
    policy.document = {"rules": "of a later version"}
    policy.save()
    late = end_of(world, other) + timedelta(minutes=1)
    assert grants.end_due(now=late) == 2
    states = [world.newest(row).state for row in (first, second, other)]
    assert states == ["revoking", "approved", "revoking"]
