"""Grants of the same access made and ended at the same moment, by real threads and connections."""

import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction

from approvals import handlers
from approvals.models import AccessRequest, Entitlement, OutboxItem, Resource
from approvals.selectors import clock
from approvals.services import grants
from tests.connectors.noop import Noop
from tests.world import World

Race = Callable[[Sequence[Callable[[], Any]]], list[Any]]

pytestmark = pytest.mark.django_db(transaction=True)
HELD = {("alice", "shared")}


@pytest.fixture
def things(world: World) -> list[Entitlement]:
    """One access under two names."""
    other = Resource.objects.create(name="again", connector="noop", owner=world.bob)
    return [
        Entitlement.objects.create(
            resource=resource, name="shared", risk="low", policy=world.read.policy,
            settings={"name": "shared"},
        )
        for resource in (world.resource, other)
    ]  # fmt: skip


def work() -> int:
    return handlers.work("provisioning")


def settle(requests: Sequence[AccessRequest], world: World) -> list[str]:
    """Work until nothing is between two states; return where the requests stand."""
    for _ in range(50):
        work()
        states = [world.newest(row).state for row in requests]
        if not {"approved", "revoking"} & set(states):
            return states
        time.sleep(0.1)
    return states


@pytest.mark.parametrize("first", [0, 1])
def test_the_end_of_one_against_the_grant_of_the_other(
    world: World, noop: Noop, race: Race, things: list[Entitlement], first: int
) -> None:
    for _ in range(8):
        one = world.ask(what=things[first])
        work()
        two = world.ask(what=things[1 - first])
        results = race(
            [
                work,
                work,
                lambda one=one: grants.end(  # type: ignore[misc]
                    actor=world.alice, request_id=one.request_id, now=clock.now()
                ),
                work,
            ]
        )
        assert not [row for row in results if isinstance(row, Exception)], results
        assert settle([one, two], world) == ["revoked", "active"]
        assert noop.held() == HELD
        grants.end(actor=world.alice, request_id=two.request_id, now=clock.now())
        assert settle([two], world) == ["revoked"]
        assert noop.held() == set()


def test_both_end_at_the_same_moment(
    world: World, noop: Noop, race: Race, things: list[Entitlement]
) -> None:
    for _ in range(8):
        pair = [world.ask(what=thing) for thing in things]
        assert settle(pair, world) == ["active", "active"]
        ends = [
            lambda row=row: grants.end(
                actor=world.alice, request_id=row.request_id, now=clock.now()
            )
            for row in pair
        ]
        results = race([*ends, work, work])
        assert not [row for row in results if isinstance(row, Exception)], results
        assert settle(pair, world) == ["revoked", "revoked"]
        assert noop.held() == set(), "one took the other for alive"


def test_an_extension_that_is_withdrawn_at_the_boundary_leaves_one_legal_end(
    world: World, noop: Noop, race: Race
) -> None:
    from approvals.services import requests

    for _ in range(8):
        one = world.ask(what=world.read, minutes=1)
        work()
        ends_at = world.newest(one).ends_at
        assert ends_at is not None
        two = world.ask(what=world.read, minutes=5, extends=one.request_id)
        results = race(
            [
                lambda ends_at=ends_at: grants.end_due(now=ends_at),  # type: ignore[misc]
                lambda ends_at=ends_at: grants.end_due(now=ends_at),  # type: ignore[misc]
                lambda two=two: requests.cancel(  # type: ignore[misc]
                    actor=world.alice, request_id=two.request_id, now=clock.now()
                ),
                lambda one=one: grants.end(  # type: ignore[misc]
                    actor=world.alice, request_id=one.request_id, now=clock.now()
                ),
            ]
        )
        deadlocks = [row for row in results if "deadlock" in str(row)]
        assert not deadlocks, results
        grants.end_due(now=ends_at)
        handlers.work("provisioning", now=clock.now() + timedelta(seconds=90))
        state = world.newest(two).state
        assert state in ("active", "cancelled")
        assert world.newest(one).state in ("expired", "revoked")
        assert bool(noop.held()) == (state == "active")
        if state == "active":
            grants.end(actor=world.alice, request_id=two.request_id, now=clock.now())
            assert settle([two], world) == ["revoked"]


def test_a_grant_is_put_in_the_order_in_which_it_is_committed(
    world: World, noop: Noop, things: list[Entitlement]
) -> None:
    """Else a removal that was put later is begun first, and lands after the grant."""
    one = world.ask(what=things[0])
    work()
    put, goes_on = threading.Event(), threading.Event()

    def ask() -> None:
        try:
            with transaction.atomic():
                world.ask(what=things[1])
                put.set()
                goes_on.wait(20)
        finally:
            connection.close()

    def end() -> None:
        try:
            grants.end(actor=world.alice, request_id=one.request_id, now=clock.now())
        finally:
            connection.close()

    asking, ending = threading.Thread(target=ask), threading.Thread(target=end)
    asking.start()
    assert put.wait(20)
    ending.start()
    ending.join(1)
    assert not OutboxItem.objects.filter(topic="grant.withdraw").exists()
    goes_on.set()
    asking.join(20)
    ending.join(20)
    rows = OutboxItem.objects.filter(lane="provisioning").order_by("id")
    assert [row.topic for row in rows] == ["grant.apply", "grant.withdraw"]
