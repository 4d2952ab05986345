"""What is repaired at targets, and that nothing is ever granted anew by it."""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from approvals import handlers
from approvals.connectors import registry
from approvals.connectors.protocol import Held, Settings
from approvals.models import (
    Finding,
    OutboxItem,
    Resource,
)
from approvals.selectors import clock, timeline
from approvals.selectors import drift as reads
from approvals.services import grants, reconciliation, requests
from tests.connectors.noop import Noop
from tests.services.drifting import events, found, look, spec, work
from tests.services.mails import Deliver
from tests.world import World, build, notices

pytestmark = pytest.mark.usefixtures("at_once")


# -- left over


def test_what_ended_and_is_there_again_is_removed_again(world: World, noop: Noop) -> None:
    request = world.ended()
    noop.grant(spec("alice", "read-write"))
    look(world)
    assert found() == [], "one look is not enough"
    assert not OutboxItem.objects.filter(lane="provisioning").exists()
    assert not notices("leftover")
    look(world)
    assert found() == [("leftover", "alice", "read-write")]
    work()
    assert noop.held() == set()
    look(world)
    row = Finding.objects.get()
    assert (row.resolution, row.repairs, row.person) == ("repaired", 1, world.alice)
    assert row.request_id == request.request_id
    assert events(request) == ["granted", "removed", "found", "gone"]
    assert world.newest(request).state == "expired"


def test_its_history_says_so(world: World, noop: Noop) -> None:
    request = world.ended()
    noop.grant(spec("alice", "read-write"))
    look(world, 2)
    work()
    look(world)
    lines = timeline.load(world.newest(request)).lines
    text = [f"{line.lead} · {line.note}" for line in lines if line.lead]
    assert "Found at the target after its end · it is removed again" in text
    assert "Removed again · the target no longer holds it" in text


def test_owner_and_operators_are_told_once(world: World, noop: Noop) -> None:
    world.ended()
    noop.grant(spec("alice", "read-write"))
    Resource.objects.update(drift_policy="report")
    look(world, 4)
    assert notices("leftover") == [("leftover", pk) for pk in sorted([world.carol.pk,
                                                                      world.admin.pk])]  # fmt: skip


def test_it_is_tried_a_few_times_and_then_left_to_people(world: World, noop: Noop) -> None:
    """Something at the target makes it again at once, every time."""
    request = world.ended()
    for _ in range(10):
        noop.grant(spec("alice", "read-write"))
        look(world)
        work()
    assert Finding.objects.count() == 1
    assert Finding.objects.get().repairs == reconciliation.REPAIRS_MOST
    assert events(request).count("found") == 1


def test_it_is_removed_although_the_target_refuses_at_first(world: World, noop: Noop) -> None:
    request = world.ended()
    noop.grant(spec("alice", "read-write"))
    look(world, 2)
    noop.control(fail="permanent")
    work()
    assert OutboxItem.objects.get(topic="grant.cleanup").first_failed_at is not None
    assert events(request)[-1] == "remove_failed"
    noop.control()
    handlers.work("provisioning", now=clock.now() + timedelta(hours=1))
    assert noop.held() == set()


def test_a_target_of_which_is_only_reported_is_left_alone(world: World, noop: Noop) -> None:
    request = world.ended()
    Resource.objects.update(drift_policy="report")
    noop.grant(spec("alice", "read-write"))
    look(world, 3)
    work()
    assert noop.held() == {("alice", "read-write")}
    assert found() == [("leftover", "alice", "read-write")]
    assert events(request) == ["granted", "removed", "found"]
    noop.revoke(spec("alice", "read-write"))
    look(world)
    assert Finding.objects.get().resolution == "by_itself"
    lines = timeline.load(world.newest(request)).lines
    text = [f"{line.lead} · {line.note}" for line in lines if line.lead]
    assert "Found at the target after its end · reported, nothing was changed" in text
    assert "Gone again · without the portal" in text


def test_it_is_removed_once_the_resource_is_set_to_that(world: World, noop: Noop) -> None:
    world.ended()
    Resource.objects.update(drift_policy="report")
    noop.grant(spec("alice", "read-write"))
    look(world, 3)
    Resource.objects.update(drift_policy="repair")
    look(world)
    work()
    assert noop.held() == set()


def test_what_somebody_was_granted_anew_is_not_removed(world: World, noop: Noop) -> None:
    """Between the look that confirmed it and its removal the person got it again."""
    world.ended()
    noop.grant(spec("alice", "read-write"))
    look(world, 2)
    again = world.approved()
    work()
    assert world.newest(again).state == "active"
    assert noop.held() == {("alice", "read-write")}
    look(world, 2)
    assert Finding.objects.get().resolution in ("granted", "repaired")
    assert noop.held() == {("alice", "read-write")}
    assert found() == []


def test_what_is_granted_between_the_look_and_its_repair_is_not_touched(
    world: World, noop: Noop
) -> None:
    world.ended()
    noop.grant(spec("alice", "read-write"))
    look(world)
    finding = Finding.objects.get()
    again = world.active()
    assert reads.may_be_removed(world.newest(finding.request_id)) is False  # type: ignore[arg-type]
    look(world, 2)
    work()
    assert noop.held() == {("alice", "read-write")}
    assert world.newest(again).state == "active"
    assert Finding.objects.get().resolution == "unconfirmed"


def test_where_each_grant_has_its_own_credentials_all_that_are_over_are_removed(
    world: World, noop: Noop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The target says whose credentials exist, not of which request."""
    monkeypatch.setattr(noop, "per_request", True, raising=False)
    over = [world.ended() for _ in range(3)]
    noop.grant(spec("alice", "read-write"))
    look(world, 2)
    cleanups = OutboxItem.objects.filter(topic="grant.cleanup")
    assert {item.payload["request_id"] for item in cleanups} == {str(r.request_id) for r in over}
    assert Finding.objects.get().request_id == over[-1].request_id
    work()
    look(world)
    assert Finding.objects.get().resolution == "repaired"
    assert events(over[-1]) == ["granted", "removed", "found", "gone"]
    assert events(over[0]) == ["granted", "removed"]


def test_another_request_for_the_same_thing_elsewhere_holds_it(world: World, noop: Noop) -> None:
    """Two resources that lead to the same access: what one gives is no leftover of the other."""
    from approvals.models import Entitlement

    same = {"name": "shared"}
    here = Entitlement.objects.create(
        resource=world.resource, name="here", risk="low", policy=world.read.policy, settings=same
    )
    other = Resource.objects.create(name="orders-again", connector="noop", owner=world.bob)
    there = Entitlement.objects.create(
        resource=other, name="there", risk="low", policy=world.read.policy, settings=same
    )
    world.ask(what=here, minutes=2)
    world.ask(what=there, minutes=60)
    work()
    grants.end_due(now=clock.now() + timedelta(minutes=3))
    work()
    assert noop.held() == {("alice", "shared")}
    look(world, 2)
    assert reconciliation.observe(resource_id=other.pk)
    assert not Finding.objects.exists()


@pytest.mark.parametrize("policy", ["repair", "report"])
def test_the_alarm_says_what_and_what_to_do(
    world: World, noop: Noop, deliver: Deliver, policy: str
) -> None:
    Resource.objects.update(drift_policy=policy)
    world.ended()
    noop.grant(spec("alice", "read-write"))
    look(world, 2)
    work()
    carol, admin = deliver("leftover")
    assert (carol.to, admin.to) == ("carol@example.com", "admin@example.com")
    done = "is being removed again" if policy == "repair" else "set to report only"
    admin.says("Alice holds orders-db · read-write, which has ended", done, "Find out which")
    carol.says("because you own orders-db")
    again = world.active()
    noop.revoke(spec("alice", "read-write"))
    look(world, 2)
    mail, _ = deliver("missing")
    done = "is being made once more" if policy == "repair" else "set to report only"
    mail.says("orders-db lacks Alice's orders-db · read-write, which is active", done)
    Finding.objects.all().delete()
    look(world, 2)
    grants.end(actor=world.alice, request_id=again.request_id, now=clock.now())
    assert deliver("missing") == [], "by the time it would be sent, it is over"


# -- missing


def test_what_is_active_and_not_there_is_made_once_more(world: World, noop: Noop) -> None:
    request = world.active()
    noop.revoke(spec("alice", "read-write"))
    look(world)
    assert found() == []
    look(world)
    assert found() == [("missing", "alice", "read-write")]
    assert {pk for _, pk in notices("missing")} == {world.carol.pk, world.admin.pk}
    work()
    assert noop.held() == {("alice", "read-write")}
    look(world)
    assert Finding.objects.get().resolution == "repaired"
    assert events(request) == ["granted", "lost", "granted"]
    assert world.newest(request).ends_at == request.ends_at, "its end is what it was"


def test_access_that_ended_after_the_first_look_is_never_made_again(
    world: World, noop: Noop
) -> None:
    request = world.active()
    noop.revoke(spec("alice", "read-write"))
    look(world)
    grants.end(actor=world.alice, request_id=request.request_id, now=clock.now())
    work()
    look(world, 3)
    work()
    assert noop.held() == set()
    assert Finding.objects.get().resolution == "unconfirmed"
    assert [call["name"] for call in noop.calls("grant")] == ["grant"] * 2, "only the first time"


def test_access_that_ends_before_its_repair_is_done_is_never_made_again(
    world: World, noop: Noop
) -> None:
    """The repair waits in the outbox when the time is up."""
    request = world.active(minutes=1)
    assert request.ends_at is not None
    noop.revoke(spec("alice", "read-write"))
    look(world, 2)
    assert OutboxItem.objects.filter(topic="grant.ready").exists()
    assert grants.end_due(now=request.ends_at) == 1
    handlers.work("provisioning", now=request.ends_at)
    assert world.newest(request).state == "expired"
    assert noop.held() == set()
    assert len(noop.calls("grant")) == 2, "the target was not asked for it again"


class Ending(Noop):
    """A target during whose observation something else happens."""

    key = "noop"
    meanwhile: Any = None

    def observe(
        self,
        *,
        resource_settings: Settings,
        secret: str | None,
        entitlements: Mapping[str, Settings],
        now: datetime,
    ) -> list[Held]:
        held = super().observe(
            now=now, resource_settings=resource_settings, secret=secret, entitlements=entitlements
        )
        if self.meanwhile is not None:
            self.meanwhile()
        return held


@pytest.fixture
def ending(tmp_path: Path, db: None) -> Iterator[tuple[World, Ending]]:
    connector = Ending(tmp_path)
    with registry.registered(connector):
        yield build(now=clock.now()), connector


@pytest.mark.parametrize("look_number", [1, 2])
@pytest.mark.parametrize("is_removed", [True, False])
def test_access_that_ends_while_the_target_is_asked_is_never_made_again(
    ending: tuple[World, Ending], look_number: int, is_removed: bool
) -> None:
    """The race: the target says that it lacks the access, and then its time is up."""
    world, target = ending
    request = world.active()
    target.revoke(spec("alice", "read-write"))
    look(world, look_number - 1)

    def end() -> None:
        grants.end(actor=world.alice, request_id=request.request_id, now=clock.now())
        if is_removed:
            work()
        target.meanwhile = None

    target.meanwhile = end
    look(world)
    assert found() == []
    look(world, 2)
    work()
    look(world, 2)
    work()
    assert target.held() == set()
    assert world.newest(request).state == "revoked"
    assert len(target.calls("grant")) == 2


def test_a_repair_holds_the_request_and_looks_again(world: World) -> None:
    """What every repair asks, while the request and its lease are held."""
    now = clock.now()
    active = world.active()
    assert reads.may_be_made_again(active, now=now)
    assert active.ends_at is not None
    assert not reads.may_be_made_again(active, now=active.ends_at)
    assert not reads.may_be_removed(active)
    ended = grants.end(actor=world.alice, request_id=active.request_id, now=now)
    assert not reads.may_be_made_again(ended, now=now)
    assert not reads.may_be_removed(ended), "its own removal is under way"
    work()
    over = world.newest(active)
    assert not reads.may_be_made_again(over, now=now)
    assert reads.may_be_removed(over)
    for state in ("pending", "approved", "revoking", "expired", "revoked", "cancelled"):
        over.__dict__["state"] = state
        assert not reads.may_be_made_again(over, now=now), state


def test_what_was_cancelled_is_not_made_by_a_finding(world: World, noop: Noop) -> None:
    request = world.approved()
    requests.cancel(actor=world.alice, request_id=request.request_id, now=clock.now())
    work()
    look(world, 3)
    work()
    assert not Finding.objects.exists()
    assert noop.held() == set()
