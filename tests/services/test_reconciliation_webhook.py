"""Drift at a receiver that does each idempotency key once, as its contract asks of it."""

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest

from approvals import handlers
from approvals.models import AccessRequest, Entitlement, Finding, OutboxItem, Resource
from approvals.selectors import clock
from approvals.services import grants, reconciliation
from approvals.services.reconciliation import REPAIRS_MOST
from tests.connectors.authority import authority
from tests.connectors.webhook_receiver import Receiver, says
from tests.world import World

SECRET = "whsec_" + base64.b64encode(b"a key of the tests, 32 bytes ok!").decode()

pytestmark = pytest.mark.usefixtures("at_once")


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    one = Receiver(authority().server_context(tmp_path, "127.0.0.1"), SECRET).start()
    yield one
    one.stop()


@pytest.fixture
def picker(world: World, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> Entitlement:
    """A role at the receiver, which alice's group may have at once."""
    monkeypatch.setenv("HOOK_KEY", SECRET)
    resource = Resource.objects.create(
        name="warehouse",
        connector="webhook",
        secret="env:HOOK_KEY",
        owner=world.carol,
        settings={"url": receiver.url, "allow_private": ["127.0.0.0/8"], "ca": authority().pem},
    )
    return Entitlement.objects.create(
        resource=resource,
        name="picker",
        risk="low",
        policy=world.read.policy,
        settings={"role": "picker"},
    )


def look(picker: Entitlement, times: int) -> None:
    for _ in range(times):
        assert reconciliation.observe(resource_id=picker.resource_id)
    assert picker.resource.observation.error == ""


def active(world: World, picker: Entitlement) -> AccessRequest:
    request = world.newest(world.ask(what=picker))
    handlers.work("provisioning")
    request = world.newest(request)
    assert request.state == "active"
    return request


def test_what_comes_back_again_and_again_goes_each_time(
    world: World, receiver: Receiver, picker: Entitlement
) -> None:
    request = active(world, picker)
    grants.end(actor=world.alice, request_id=request.request_id, now=clock.now())
    handlers.work("provisioning")
    assert receiver.held == set()
    for _ in range(3):
        receiver.held.add(("alice", "picker"))  # by hand, or by a sync of the receiver's own
        look(picker, 2)
        handlers.work("provisioning")
        assert receiver.held == set()
        look(picker, 1)
    rows = Finding.objects.order_by("id").values_list("kind", "resolution")
    assert list(rows) == [("leftover", "repaired")] * 3
    assert world.newest(request).state == "revoked"


def test_what_a_removal_did_not_take_is_asked_for_anew(
    world: World, receiver: Receiver, picker: Entitlement
) -> None:
    """It comes back while the repair is on its way, as often as a finding is repaired."""
    request = active(world, picker)
    grants.end(actor=world.alice, request_id=request.request_id, now=clock.now())
    handlers.work("provisioning")
    receiver.held.add(("alice", "picker"))
    look(picker, 2)
    for _ in range(REPAIRS_MOST):
        handlers.work("provisioning")
        assert receiver.held == set()
        receiver.held.add(("alice", "picker"))
        look(picker, 1)
    removals = [each for each in receiver.effects if each[0] == "revoke"]
    assert len(removals) == 1 + REPAIRS_MOST


def test_what_was_lost_is_made_again_each_time(
    world: World, receiver: Receiver, picker: Entitlement
) -> None:
    active(world, picker)
    for _ in range(3):
        receiver.held.clear()
        look(picker, 2)
        handlers.work("provisioning")
        assert receiver.held == {("alice", "picker")}
        look(picker, 1)


def test_a_grant_that_is_tried_again_is_the_same_message(
    world: World, receiver: Receiver, picker: Entitlement
) -> None:
    """A strict receiver refuses a key that comes with another body, and for good."""
    receiver.script = [says(503), says(503)]
    request = world.newest(world.ask(what=picker))
    for _ in range(3):
        waiting = OutboxItem.objects.filter(topic="grant.apply").order_by("not_before").first()
        handlers.work("provisioning", now=waiting.not_before if waiting else clock.now())
    assert world.newest(request).state == "active"
    assert len({got.headers["idempotency-key"] for got in receiver.got}) == 1
    assert len({got.body for got in receiver.got}) == 1
    data = receiver.got[0].message["data"]
    assert data["ends_at"] is None
    assert data["duration_seconds"] == request.duration.total_seconds()
