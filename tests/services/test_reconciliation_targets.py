"""Targets that answer late, wrongly or not at all."""

import threading
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from approvals.connectors import registry
from approvals.connectors.protocol import Held, PermanentError, Settings
from approvals.models import (
    Finding,
    Observation,
    Resource,
)
from approvals.selectors import clock
from approvals.selectors import drift as reads
from approvals.services import reconciliation
from tests.connectors.noop import Noop
from tests.services.drifting import found, look, spec, work
from tests.world import World

pytestmark = pytest.mark.usefixtures("at_once")


# -- targets that don't answer


def test_a_target_that_does_not_answer_changes_no_finding(world: World, noop: Noop) -> None:
    world.ended()
    noop.grant(spec("alice", "read-write"))
    look(world)
    noop.control(fail="transient")
    look(world, 3)
    assert Finding.objects.get().confirmed_at is None
    seen = Observation.objects.get()
    assert "The test refuses for now" in seen.error
    assert not seen.permanent
    assert seen.held == 1, "what it held when it last answered"
    noop.control()
    look(world)
    assert found() == [("leftover", "alice", "read-write")]


def test_a_target_that_can_not_tell_says_why(
    world: World, noop: Noop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: Any) -> list[Held]:
        raise PermanentError("This target keeps no list.")

    monkeypatch.setattr(noop, "observe", refuse)
    look(world)
    seen = Observation.objects.get()
    assert (seen.error, seen.permanent) == ("This target keeps no list.", True)
    [shown] = reads.looks()
    assert shown.state == "blind"


def test_a_broken_connector_is_an_error_and_no_crash(
    world: World, noop: Noop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(**_: Any) -> list[Held]:
        raise RuntimeError("secret")

    monkeypatch.setattr(noop, "observe", break_down)
    look(world)
    assert Observation.objects.get().error == "The connector broke: RuntimeError."


def test_an_entitlement_whose_settings_are_wrong_is_left_out(world: World, noop: Noop) -> None:
    world.active()
    request = world.ask(what=world.read)
    work()
    world.read.settings = {"nonsense": 1}
    world.read.save()
    noop.revoke(spec("alice", "read"))
    look(world, 2)
    assert found() == [], "it was not looked at, so nothing is known of it"
    assert "read: Unknown setting" in Observation.objects.get().left_out
    assert world.newest(request).state == "active"


# -- in several processes


class Sleepy(Noop):
    """A target that answers nobody while it sleeps."""

    key = "sleepy"
    awake = threading.Event()

    def observe(
        self,
        *,
        resource_settings: Settings,
        secret: str | None,
        entitlements: Mapping[str, Settings],
        now: datetime,
    ) -> list[Held]:
        assert self.awake.wait(30)
        return []


@pytest.mark.django_db(transaction=True)
def test_a_target_that_does_not_answer_keeps_no_other_back(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciliation, "LOOK_SECONDS", 2.0)
    monkeypatch.setattr(reconciliation, "SIDE_BY_SIDE", 2)
    sleepy = Sleepy(tmp_path)
    with registry.registered(sleepy):
        dead = Resource.objects.create(name="a-dead-one", connector="sleepy", owner=world.bob)
        others = [
            Resource.objects.create(name=f"other-{number}", connector="noop", owner=world.bob)
            for number in range(3)
        ]
        try:
            assert reconciliation.look_around() == 5
            looked = set(
                Observation.objects.filter(finished_at__isnull=False).values_list(
                    "resource_id", flat=True
                )
            )
            assert looked == {world.resource.pk, *(other.pk for other in others)}
            assert reads.due(now=clock.now()) == {}, "whoever sleeps is not asked again at once"
            assert not reconciliation.observe(resource_id=dead.pk), "another one is at it"
            [shown] = [look for look in reads.looks() if look.resource == dead]
            assert shown.state == "looking"
        finally:
            sleepy.awake.set()
        for _ in range(200):
            if Observation.objects.get(resource=dead).finished_at:
                break
            time.sleep(0.05)
        assert reconciliation.observe(resource_id=dead.pk)
