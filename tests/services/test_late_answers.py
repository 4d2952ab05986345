"""A worker that was thought dead answers after another one has taken its work over."""

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection

from approvals import handlers
from approvals.connectors.protocol import GrantSpec, PermanentError, Receipt
from approvals.models import AccessRequest, OutboxItem
from approvals.outbox import queue
from approvals.selectors import clock
from approvals.services import grants, requests
from tests.connectors.noop import Noop
from tests.world import World

HELD = {("alice", "read-write")}


def work() -> None:
    handlers.work("provisioning", now=clock.now())


def grant_work() -> int:
    return OutboxItem.objects.filter(topic__startswith="grant.").count()


def take_over() -> None:
    """The lease of whatever is held runs out, and another worker comes to it."""
    OutboxItem.objects.filter(leased_until__isnull=False).update(leased_until=clock.now())
    work()


@pytest.fixture
def before_the_effect(noop: Noop, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Have something happen once, while the first call to make access is on its way."""

    def arrange(happens: Callable[[], None], *, then: Exception | None = None) -> None:
        real, calls = noop.grant, iter([happens])

        def grant(spec: GrantSpec) -> Receipt:
            if (first := next(calls, None)) is None:
                return real(spec)
            first()
            if then is not None:
                raise then
            return real(spec)

        monkeypatch.setattr(noop, "grant", grant)

    return arrange


def test_an_effect_that_lands_after_its_removal_is_removed_again(
    world: World, noop: Noop, before_the_effect: Callable[..., None]
) -> None:
    request = world.approved()

    def meanwhile() -> None:
        requests.cancel(actor=world.alice, request_id=request.request_id, now=clock.now())
        take_over()
        work()
        assert [call["name"] for call in noop.calls() if call["stage"] == "done"] == ["revoke"]
        assert not grant_work(), "the other one has removed it and is done"

    before_the_effect(meanwhile)
    work()
    assert noop.held() == HELD, "it has landed"
    work()
    assert noop.held() == set()
    assert world.newest(request).state == "cancelled"
    assert not grant_work()


def test_an_effect_that_lands_after_the_end_was_confirmed_is_removed(
    world: World, noop: Noop, before_the_effect: Callable[..., None]
) -> None:
    request = world.approved()

    def meanwhile() -> None:
        take_over()
        grants.end(actor=world.alice, request_id=request.request_id, now=clock.now())
        work()
        assert world.newest(request).state == "revoked"

    before_the_effect(meanwhile)
    work()
    assert noop.held() == HELD, "it has landed"
    work()
    assert noop.held() == set()
    assert world.newest(request).state == "revoked"


def test_a_late_refusal_takes_nothing_from_who_has_the_access_by_now(
    world: World, noop: Noop, before_the_effect: Callable[..., None]
) -> None:
    request = world.approved()
    before_the_effect(take_over, then=PermanentError("Refused, and long ago."))
    work()
    work()
    assert world.newest(request).state == "active"
    assert noop.held() == HELD
    assert not grant_work()


def claimed() -> OutboxItem:
    (item,) = queue.claim(lane="provisioning", limit=1, now=clock.now())
    return item


def test_what_another_worker_does_meanwhile_is_not_taken_for_the_removal_that_must_follow(
    world: World,
) -> None:
    request = world.approved()
    late = claimed()
    OutboxItem.objects.update(leased_until=None)
    taken = claimed()
    queue.become(taken, topic="grant.cleanup", payload=taken.payload, now=clock.now())
    removing = claimed()  # its call may have been answered before the late effect lands
    assert removing.pk == late.pk

    queue.become(late, topic="grant.cleanup", payload=late.payload, now=clock.now())
    queue.done([removing])
    left = OutboxItem.objects.get(topic="grant.cleanup")
    assert left.pk > removing.pk, "behind what is being done"
    assert (left.key, left.target) == (late.key, late.target)
    assert left.payload["request_id"] == str(request.request_id)


def test_only_what_is_still_ones_own_is_held_for_longer(world: World) -> None:
    world.approved()
    late = claimed()
    OutboxItem.objects.update(leased_until=None)
    taken = claimed()
    later = clock.now() + timedelta(hours=1)
    queue.renew([late], now=later)
    assert OutboxItem.objects.get(pk=late.pk).leased_until == taken.leased_until
    queue.renew([taken], now=later)
    assert OutboxItem.objects.get(pk=late.pk).leased_until != taken.leased_until


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("requests_at_once", [1, 2])
def test_a_call_that_takes_longer_than_a_lease_is_made_by_one_worker(
    world: World, noop: Noop, settings: Any, requests_at_once: int
) -> None:
    settings.OUTBOX_LEASE = timedelta(seconds=0.9)
    people = [world.carol, world.dan][:requests_at_once]
    wanted: list[AccessRequest] = [world.ask(by=who, what=world.read) for who in people]
    noop.control(before_seconds=2)

    def provision() -> None:
        handlers.work("provisioning")
        connection.close()

    runner = threading.Thread(target=provision)
    runner.start()
    try:
        while runner.is_alive():
            time.sleep(0.3)
            if len(noop.calls()) >= requests_at_once and runner.is_alive():
                work()
    finally:
        runner.join(30)
    assert {world.newest(row).state for row in wanted} == {"active"}
    began = [call for call in noop.calls("grant") if call["stage"] == "began"]
    assert len(began) == requests_at_once
