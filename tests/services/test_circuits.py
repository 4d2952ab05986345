"""A target that keeps failing is left alone for a while; no other one's work waits for it."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction

from approvals import abreast, handlers
from approvals.models import AccessRequest, Circuit, Entitlement, GrantEvent, OutboxItem, Resource
from approvals.outbox import circuits, queue
from approvals.selectors import clock
from approvals.services import grants, overdue, requests
from tests.connectors.noop import Noop
from tests.world import World, notices


def work() -> None:
    handlers.work("provisioning", now=clock.now())


def later() -> None:
    """Work at the moment when the target's pause, and those of what waits for it, are over."""
    waiting = OutboxItem.objects.filter(target="orders-db").order_by("not_before")
    moments = [item.not_before for item in waiting[:1]]
    moments += [row.open_until for row in Circuit.objects.all() if row.open_until]
    handlers.work("provisioning", now=max([clock.now(), *moments]))


@pytest.fixture
def other(world: World) -> Entitlement:
    """An entitlement of another target, under the policy that approves by itself."""
    resource = Resource.objects.create(name="wiki", connector="noop", owner=world.carol)
    return Entitlement.objects.create(
        resource=resource,
        name="editor",
        risk="low",
        policy=world.read.policy,
        settings={"name": "wiki-editor"},
    )


def tries(request: AccessRequest) -> int:
    return GrantEvent.objects.filter(request_id=request.request_id).count()


def opened(world: World, noop: Noop) -> AccessRequest:
    """Return a request whose target has failed until its circuit opened."""
    noop.control(fail="transient")
    request = world.approved()
    for _ in range(circuits.FAILURES_TO_OPEN):
        later()
    assert tries(request) == circuits.FAILURES_TO_OPEN
    assert Circuit.objects.get(target="orders-db").open_until is not None
    return request


def test_failures_in_a_row_open_the_circuit_of_that_target_alone(
    world: World, noop: Noop, other: Entitlement
) -> None:
    opened(world, noop)
    noop.control()
    calls = len(noop.calls())
    behind = world.ask(by=world.carol, what=world.read)
    elsewhere = world.ask(by=world.carol, what=other)
    work()
    assert world.newest(elsewhere).state == "active"
    assert world.newest(behind).state == "approved"
    assert [call["entitlement"] for call in noop.calls()[calls:]] == ["wiki-editor"] * 2
    waiting = OutboxItem.objects.get(
        payload__request_id=str(behind.request_id), lane="provisioning"
    )
    assert waiting.attempts == 0
    assert waiting.not_before == Circuit.objects.get().open_until


def test_one_probe_after_the_pause_and_all_at_once_when_it_succeeds(
    world: World, noop: Noop
) -> None:
    first = opened(world, noop)
    others = [world.ask(by=who, what=world.read) for who in (world.carol, world.dan)]
    work()
    calls, failures = len(noop.calls()), Circuit.objects.get().failures
    later()
    assert len(noop.calls()) == calls + 1, "one probe, and the rest waits"
    assert Circuit.objects.get().failures == failures + 1
    noop.control()
    later()
    assert not Circuit.objects.exists()
    work()
    assert {world.newest(row).state for row in [first, *others]} == {"active"}


def test_a_claim_is_never_more_than_its_limit(world: World, noop: Noop) -> None:
    rows = [world.ask(by=who, what=world.read) for who in (world.alice, world.carol, world.dan)]
    for _ in range(12):  # statements are planned in another way once they were run often
        claimed = queue.claim(lane="provisioning", limit=1, now=clock.now(), target="orders-db")
        assert len(claimed) == 1
        queue.postpone(claimed[0], until=clock.now())
    assert len(rows) == OutboxItem.objects.filter(target="orders-db").count()


def test_one_access_that_fails_while_others_work_opens_nothing(world: World, noop: Noop) -> None:
    noop.control(fail="transient", only_login="alice")
    failing = world.approved()
    for person in (world.carol, world.dan, world.bob):
        later()
        if person is not world.bob:
            world.ask(by=person, what=world.read)
            work()
    assert tries(failing) == 3
    assert Circuit.objects.get().open_until is None
    assert Circuit.objects.get().failures == 1


def test_an_access_that_must_wait_closes_the_target_for_nobody(world: World, noop: Noop) -> None:
    """Three tries of alice's removal, and carol's grant is made all the same."""
    active = world.active()
    noop.control(fail="wait", only_login="alice")
    grants.end(actor=world.alice, request_id=active.request_id, now=clock.now())
    for _ in range(circuits.FAILURES_TO_OPEN + 1):
        later()
    assert tries(active) == 1 + circuits.FAILURES_TO_OPEN + 1
    assert not Circuit.objects.exists()
    other = world.ask(by=world.carol, what=world.read)
    work()
    assert world.newest(other).state == "active"
    assert world.newest(active).state == "revoking"


def test_in_one_batch_it_holds_up_no_other(world: World, noop: Noop, settings: Any) -> None:
    settings.TARGET_CONCURRENCY = 1
    noop.control(fail="wait", only_login="alice")
    rows = [world.ask(by=who, what=world.read) for who in (world.alice, world.carol, world.dan)]
    work()
    assert [world.newest(row).state for row in rows] == ["approved", "active", "active"]


@pytest.mark.parametrize(
    ("ahead", "waits"),
    [
        (timedelta(minutes=40), timedelta(minutes=40)),
        (timedelta(hours=9), timedelta(seconds=queue.BACKOFF_MOST_SECONDS)),
        (timedelta(minutes=-1), timedelta(seconds=1)),
    ],
)
def test_it_is_tried_again_when_the_wait_is_over(
    world: World, noop: Noop, ahead: timedelta, waits: timedelta
) -> None:
    active = world.active()
    noop.control(fail="wait", until=clock.now() + ahead)
    grants.end(actor=world.alice, request_id=active.request_id, now=clock.now())
    work()
    item = OutboxItem.objects.get(topic="grant.withdraw")
    assert abs(item.not_before - clock.now() - waits) < timedelta(seconds=30)
    assert item.last_error == "The test lets this one wait."


def test_a_refusal_for_good_is_an_answer(world: World, noop: Noop) -> None:
    opened(world, noop)
    noop.control(fail="permanent")
    later()
    assert not Circuit.objects.exists()


def test_an_operator_may_have_it_probed_at_once(world: World, noop: Noop) -> None:
    request = opened(world, noop)
    noop.control()
    assert circuits.retry("orders-db", now=clock.now())
    work()
    assert world.newest(request).state == "active"
    assert not circuits.retry("orders-db", now=clock.now())


def test_removals_outlive_the_outage(world: World, noop: Noop) -> None:
    active = world.active()
    opened_by = world.ask(by=world.carol, what=world.read)
    noop.control(fail="transient")
    grants.end(actor=world.alice, request_id=active.request_id, now=clock.now())
    for _ in range(8):
        later()
    assert world.newest(active).state == "revoking"
    assert Circuit.objects.get().failures >= 6
    noop.control()
    later()
    work()
    assert world.newest(active).state == "revoked"
    assert world.newest(opened_by).state == "active"


def test_a_probe_that_calls_nothing_is_followed_by_another(world: World, noop: Noop) -> None:
    active = world.ask(by=world.dan, what=world.read)
    work()
    request = opened(world, noop)
    grants.end(actor=world.dan, request_id=active.request_id, now=clock.now())
    requests.cancel(actor=world.alice, request_id=request.request_id, now=clock.now())
    OutboxItem.objects.filter(payload__request_id=str(request.request_id)).update(attempts=0)
    noop.control()
    later()
    assert world.newest(active).state == "revoked"
    assert not Circuit.objects.exists()


def test_late_removals_that_nobody_could_try_are_recorded_and_alarmed(
    world: World, noop: Noop, settings: Any
) -> None:
    actives = [world.ask(by=who, what=world.read) for who in (world.carol, world.dan)]
    work()
    opened(world, noop)
    for row in actives:
        grants.end(actor=world.admin, request_id=row.request_id, comment="Over.", now=clock.now())
    work()
    assert overdue.note(now=clock.now()) == 0, "they are not late yet"
    late = clock.now() + settings.STUCK_AFTER
    assert overdue.note(now=late) == 2
    for row in actives:
        event = GrantEvent.objects.get(request_id=row.request_id, kind="remove_failed")
        assert event.detail == {"tried": False}
        assert "orders-db does not answer: The test refuses for now." in event.error
    alarmed = {person for _, person in notices("stuck")}
    assert alarmed == {world.carol.pk, world.admin.pk}
    assert len(notices("stuck")) == 2, "one alarm for the target, not one for each removal"
    assert overdue.note(now=late) == 0, "once"
    noop.control()
    later()
    work()
    assert {world.newest(row).state for row in actives} == {"revoked"}


@pytest.mark.django_db(transaction=True)
def test_a_slow_target_delays_no_other(world: World, noop: Noop, other: Entitlement) -> None:
    noop.control(before_seconds=3, only_login="alice")
    slow = world.approved()
    runner = threading.Thread(target=abreast.provision)
    runner.start()
    try:
        time.sleep(0.5)
        quick = world.ask(by=world.carol, what=other)
        begun = time.monotonic()
        while world.newest(quick).state != "active" and time.monotonic() - begun < 10:
            time.sleep(0.02)
        assert world.newest(quick).state == "active"
        assert world.newest(slow).state == "approved", "the slow one is still being called"
    finally:
        runner.join(30)
    assert world.newest(slow).state == "active"


@contextmanager
def recording_slowly(first: AccessRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Provision, and be inside only while what the target said of `first` is being recorded."""
    begun, goes_on = threading.Event(), threading.Event()
    activate = grants.activate

    def slowly(**what: Any) -> AccessRequest | None:
        if what["request_id"] == first.request_id:
            begun.set()
            assert goes_on.wait(20)
        return activate(**what)

    monkeypatch.setattr(grants, "activate", slowly)
    runner = threading.Thread(target=abreast.provision)
    runner.start()
    try:
        assert begun.wait(20), "it is never recorded"
        yield
    finally:
        goes_on.set()
        runner.join(30)


@pytest.mark.django_db(transaction=True)
def test_the_next_batch_is_called_while_what_came_of_the_last_is_recorded(
    world: World, noop: Noop, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = world.ask(by=world.carol, what=world.read)
    with recording_slowly(first, monkeypatch):
        asked = [world.ask(by=who, what=world.read) for who in (world.dan, world.alice)]
        ends = time.monotonic() + 10
        while time.monotonic() < ends and {world.newest(row).state for row in asked} != {"active"}:
            time.sleep(0.02)
        assert {world.newest(row).state for row in asked} == {"active"}
        assert world.newest(first).state == "approved", "it is being recorded still"
    assert world.newest(first).state == "active"
    assert not OutboxItem.objects.filter(lane="provisioning").exists()


@pytest.mark.django_db(transaction=True)
def test_what_waits_for_an_earlier_one_of_its_key_follows_at_once(
    world: World, noop: Noop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is looked at in vain while that one is recorded, and nobody else comes to look again."""
    first = world.ask(by=world.carol, what=world.read)
    with recording_slowly(first, monkeypatch):
        grant = OutboxItem.objects.get(topic="grant.apply")
        with transaction.atomic():
            queue.put_many(
                [queue.item("grant.cleanup", "provisioning", {"request_id": str(first.request_id)},
                            now=clock.now(), key=grant.key, target=grant.target)]
            )  # fmt: skip
        time.sleep(1)
        assert OutboxItem.objects.filter(topic="grant.cleanup").exists(), "its turn has not come"
    assert not OutboxItem.objects.filter(lane="provisioning").exists()
    assert world.newest(first).state == "active", "a grant that is active is left alone"


def test_what_failed_by_itself_before_the_outage_keeps_its_own_pause(
    world: World, noop: Noop
) -> None:
    active = [world.ask(by=who, what=world.read) for who in (world.carol, world.dan)]
    work()
    noop.control(fail="permanent")
    for row in active:
        grants.end(actor=world.admin, request_id=row.request_id, comment="Over.", now=clock.now())
    work()
    failing = OutboxItem.objects.filter(topic="grant.withdraw").order_by("id")
    by_itself, meanwhile = failing
    failing.update(not_before=clock.now() + timedelta(hours=1))
    opened(world, noop)
    since = Circuit.objects.get().failing_since
    for item, last_tried_at in (
        (by_itself, since - timedelta(seconds=1)),
        (meanwhile, since + timedelta(seconds=1)),
    ):
        OutboxItem.objects.filter(pk=item.pk).update(
            attempts=11, not_before=last_tried_at + timedelta(seconds=2**10)
        )
    noop.control()
    assert circuits.retry("orders-db", now=clock.now())
    work()
    assert not Circuit.objects.exists()
    work()
    assert [world.newest(row).state for row in active] == ["revoking", "revoked"]
    by_itself.refresh_from_db()
    assert by_itself.not_before == since + timedelta(seconds=2**10 - 1)
