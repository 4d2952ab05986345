"""Kill -9 while two grants hold the same access, and an end that an extension follows on."""

import time
from collections.abc import Callable
from datetime import timedelta

import pytest

from approvals.models import Entitlement, OutboxItem, Resource
from approvals.selectors import clock
from approvals.services import grants
from tests.connectors.noop import Noop
from tests.processes.conftest import Processes
from tests.world import World

Until = Callable[..., float]

pytestmark = pytest.mark.django_db(transaction=True)
HELD = {("alice", "shared")}


@pytest.mark.parametrize(("before", "after"), [(30.0, 0.0), (0.0, 30.0)])
def test_one_ends_while_the_worker_dies_making_the_other(
    world: World, noop: Noop, processes: Processes, until: Until, before: float, after: float
) -> None:
    other = Resource.objects.create(name="again", connector="noop", owner=world.bob)
    here, there = (
        Entitlement.objects.create(
            resource=resource, name="shared", risk="low", policy=world.read.policy,
            settings={"name": "shared"},
        )
        for resource in (world.resource, other)
    )  # fmt: skip
    first = world.ask(what=here)
    processes.start("beat", "due", "provisioning")
    until(lambda: world.newest(first).state == "active")
    noop.control(before_seconds=before, after_seconds=after)
    seen = len(noop.calls())
    second = world.ask(what=there)
    until(lambda: len(noop.calls()) > seen)
    grants.end(actor=world.alice, request_id=first.request_id, now=clock.now())
    time.sleep(0.5)
    assert world.newest(first).state == "revoking", "its removal waits for the grant in flight"
    processes.kill("provisioning")
    noop.control()
    processes.start("provisioning")
    until(lambda: world.newest(second).state == "active")
    until(lambda: world.newest(first).state == "revoked")
    assert noop.held() == HELD
    assert not noop.calls("revoke"), "the other one has it"

    noop.control(before_seconds=before, after_seconds=after)
    grants.end(actor=world.alice, request_id=second.request_id, now=clock.now())
    until(lambda: bool(noop.calls("revoke")))
    time.sleep(0.3)
    processes.kill("provisioning")
    noop.control()
    processes.start("provisioning")
    until(lambda: world.newest(second).state == "revoked")
    assert noop.held() == set()


def test_an_extension_takes_over_by_beat_alone(
    world: World, noop: Noop, processes: Processes, until: Until
) -> None:
    first = world.ask(what=world.read, minutes=1)
    OutboxItem.objects.filter(topic="grant.apply").delete()
    now = clock.now()
    grants.activate(
        request_id=first.request_id,
        attempt=grants.Attempt(number=1, started_at=now, finished_at=now),
        now=now - timedelta(seconds=50),
    )
    second = world.ask(what=world.read, minutes=5, extends=first.request_id)
    processes.start("beat", "due", "provisioning")
    until(lambda: world.newest(first).state == "expired")
    follower, ended = world.newest(second), world.newest(first)
    assert (follower.state, follower.activated_at) == ("active", ended.ends_at)
    assert noop.calls() == []
    assert ended.removal_lag is not None
    assert ended.removal_lag < timedelta(seconds=20), "a busy machine is slow"
