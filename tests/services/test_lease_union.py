"""Two grants of the same access: the target loses it when the last of them ends, and not before."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from approvals import handlers
from approvals.models import (
    AccessRequest,
    Entitlement,
    Finding,
    GrantEvent,
    OutboxItem,
    Resource,
)
from approvals.selectors import clock, leases
from approvals.services import checking, grants, reconciliation, requests
from tests.connectors.noop import Noop
from tests.world import World, notices

SAME = {"name": "shared"}


@pytest.fixture
def here(world: World) -> Entitlement:
    """A role of the orders database."""
    return Entitlement.objects.create(
        resource=world.resource, name="here", risk="low", policy=world.read.policy, settings=SAME
    )


@pytest.fixture
def there(world: World) -> Entitlement:
    """The same role of the same server, under another resource's name."""
    other = Resource.objects.create(name="orders-again", connector="noop", owner=world.bob)
    return Entitlement.objects.create(
        resource=other, name="there", risk="low", policy=world.read.policy, settings=SAME
    )


def work(now: datetime | None = None) -> None:
    handlers.work("provisioning", now=now)


def touched(noop: Noop, name: str) -> int:
    return sum(call["stage"] == "done" for call in noop.calls(name))


def receipt(world: World, request: AccessRequest) -> Any:
    return world.newest(request).detail["receipt"]


def test_two_resources_that_lead_to_the_same_thing_share_a_lease(
    world: World, here: Entitlement, there: Entitlement
) -> None:
    one, two, other = world.ask(what=here), world.ask(what=there), world.ask(what=world.read)
    dans = world.ask(what=here, by=world.dan)
    assert leases.key(one) == leases.key(two) == one.target["lease"]
    assert len({leases.key(row) for row in (one, other, dans)}) == 3
    assert list(checking.differences(now=clock.now())) == []


@pytest.mark.parametrize("first_to_end", [0, 1])
@pytest.mark.parametrize("by", ["time", "alice"])
def test_ending_one_of_two_leaves_the_target_alone(
    world: World, noop: Noop, here: Entitlement, there: Entitlement, first_to_end: int, by: str
) -> None:
    pair = [world.ask(what=here, minutes=5), world.ask(what=there, minutes=5)]
    work()
    first, last = pair[first_to_end], pair[1 - first_to_end]

    def end(request: AccessRequest) -> None:
        if by == "alice":
            grants.end(actor=world.alice, request_id=request.request_id, now=clock.now())
            work()
            return
        ends_at = world.newest(request).ends_at
        assert ends_at is not None
        grants.end_due(now=ends_at, limit=1)
        work(ends_at)

    if by == "time":  # whichever is due first ends first
        first, last = sorted(pair, key=lambda row: str(world.newest(row).ends_at))
    end(first)
    assert world.newest(first).state == ("expired" if by == "time" else "revoked")
    assert receipt(world, first) == {"kept": True, "covered_by": last.reference}
    assert (noop.held(), touched(noop, "revoke")) == ({("alice", "shared")}, 0)
    assert GrantEvent.objects.filter(request_id=first.request_id, kind="removed").count() == 1
    end(last)
    assert receipt(world, last)["granted"] is False
    assert (noop.held(), touched(noop, "revoke")) == (set(), 1)


def test_both_ending_at_once_are_removed(
    world: World, noop: Noop, here: Entitlement, there: Entitlement
) -> None:
    pair = [world.ask(what=here), world.ask(what=there)]
    work()
    for row in pair:
        grants.end(actor=world.alice, request_id=row.request_id, now=clock.now())
    work()
    assert [world.newest(row).state for row in pair] == ["revoked", "revoked"]
    assert noop.held() == set()


def test_a_grant_that_fails_does_not_hold_up_the_end_of_another(
    world: World, noop: Noop, here: Entitlement, there: Entitlement, monkeypatch: Any
) -> None:
    first = world.ask(what=here)
    work()
    noop.control(fail="transient")
    second = world.ask(what=there)
    work()
    assert OutboxItem.objects.get(topic="grant.apply").attempts == 1
    noop.control()
    OutboxItem.objects.filter(topic="grant.apply").update(
        not_before=clock.now() + timedelta(minutes=30)
    )
    grants.end(actor=world.alice, request_id=first.request_id, now=clock.now())
    work()
    assert (world.newest(first).state, noop.held()) == ("revoked", set())
    work(clock.now() + timedelta(hours=1))
    assert (world.newest(second).state, noop.held()) == ("active", {("alice", "shared")})


def test_a_grant_that_lies_ahead_does_not_hold_up_the_end_of_another(
    world: World, noop: Noop, here: Entitlement, there: Entitlement
) -> None:
    first = world.ask(what=here)
    work()
    world.ask(what=there, starts_at=clock.now() + timedelta(hours=3))
    grants.end(actor=world.alice, request_id=first.request_id, now=clock.now())
    work()
    assert (world.newest(first).state, noop.held()) == ("revoked", set())


def test_undoing_a_cancelled_grant_spares_what_another_one_holds(
    world: World, noop: Noop, here: Entitlement, there: Entitlement
) -> None:
    world.ask(what=here)
    work()
    noop.control(lose_answer=True)
    second = world.ask(what=there)
    work()
    noop.control()
    requests.cancel(actor=world.alice, request_id=second.request_id, now=clock.now())
    work(clock.now() + timedelta(hours=1))
    assert OutboxItem.objects.filter(topic__startswith="grant.").count() == 0
    assert (noop.held(), touched(noop, "revoke")) == ({("alice", "shared")}, 0)


def test_a_removal_that_overtook_a_grant_is_mended(
    world: World, noop: Noop, here: Entitlement, there: Entitlement, monkeypatch: Any
) -> None:
    """A worker that was thought dead calls the target after another one has granted."""
    first = world.ask(what=here)
    work()
    grants.end(actor=world.alice, request_id=first.request_id, now=clock.now())
    real, second = noop.revoke, world.ask(what=there)

    def revoke(spec: Any) -> Any:
        attempt = grants.Attempt(number=1, started_at=clock.now(), finished_at=clock.now())
        grants.activate(request_id=second.request_id, attempt=attempt, now=clock.now())
        return real(spec)

    monkeypatch.setattr(noop, "revoke", revoke)
    work()
    assert (world.newest(first).state, world.newest(second).state) == ("revoked", "active")
    assert noop.held() == {("alice", "shared")}


def test_a_connector_whose_credentials_are_a_request_s_own_takes_them_away(
    world: World, noop: Noop, here: Entitlement, there: Entitlement, monkeypatch: Any
) -> None:
    monkeypatch.setattr(type(noop), "per_request", True, raising=False)
    one, two = world.ask(what=here), world.ask(what=there)
    assert leases.key(one) != leases.key(two)
    work()
    grants.end(actor=world.alice, request_id=one.request_id, now=clock.now())
    work()
    assert touched(noop, "revoke") == 1
    assert ("ended", world.alice.pk) in notices()


def test_what_was_approved_before_leases_were_pinned_has_one_per_subject_and_entitlement(
    world: World, monkeypatch: Any
) -> None:
    from approvals.services import leases as pinning

    monkeypatch.setattr(pinning, "pinned", lambda target, **_: target)
    request = world.ask(what=world.read)
    assert leases.key(request) == f"grant:{world.alice.pk}:{world.read.pk}"
    assert list(checking.differences(now=clock.now())) == []


def test_what_another_resource_granted_is_no_finding(
    world: World, noop: Noop, here: Entitlement, there: Entitlement
) -> None:
    request = world.ask(what=there)
    work()
    for _ in range(3):
        assert reconciliation.observe(resource_id=here.resource_id)
    assert noop.held(), "it is there to be seen"
    assert not Finding.objects.exists()
    grants.end(actor=world.alice, request_id=request.request_id, now=clock.now())
    assert reconciliation.observe(resource_id=here.resource_id)
    assert not Finding.objects.exists(), "it is being removed"
