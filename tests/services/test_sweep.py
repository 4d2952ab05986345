"""A backlog of ends is shared by two, who together end each once; news and looks give way."""

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from django.db.models import F

from approvals import abreast, handlers, tasks
from approvals.models import AccessRequest, Circuit, CurrentRequest, Observation, OutboxItem
from approvals.outbox import queue
from approvals.selectors import clock, due
from approvals.services import grants, notifications, reconciliation
from tests.connectors.noop import Noop
from tests.world import World


def actives(world: World) -> list[AccessRequest]:
    """Return access of several people, all active."""
    people = (world.alice, world.carol, world.dan)
    asked = [world.ask(by=who, what=world.read, minutes=1) for who in people]
    handlers.work("provisioning")
    found = [world.newest(row) for row in asked]
    assert {row.state for row in found} == {"active"}
    return found


def test_the_halves_are_the_whole(world: World) -> None:
    rows = actives(world)
    late = clock.now() + timedelta(minutes=2)
    ended = [grants.end_due(now=late, share=share) for share in (0, 1)]
    assert sum(ended) == len(rows)
    assert grants.end_due(now=late) == 0


@pytest.mark.django_db(transaction=True)
def test_a_backlog_is_ended_by_two_threads_each_grant_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = actives(world)
    monkeypatch.setattr(grants, "BATCH", 1)
    whole = grants.end_due
    late = clock.now() + timedelta(minutes=2)
    monkeypatch.setattr(
        grants,
        "end_due",
        lambda now, share=None: whole(now=late, limit=1, share=share),
    )
    assert abreast.end_due() == len(rows)
    states = CurrentRequest.objects.values_list("state", "revision")
    assert sorted(states) == [("revoking", row.revision + 1) for row in rows]


def kinds() -> list[str]:
    """Return of what kinds the notices are that wait."""
    rows = OutboxItem.objects.filter(topic="notice.send", not_before__lte=clock.now())
    return sorted({row.payload["kind"] for row in rows})


def test_news_wait_while_access_is_being_removed_but_not_for_long_and_what_asks_does_not(
    world: World,
) -> None:
    first, second, third = actives(world)
    for row in (first, third):
        grants.end(actor=row.subject, request_id=row.request_id, now=clock.now())
    handlers.work("provisioning")
    grants.end(actor=second.subject, request_id=second.request_id, now=clock.now())
    world.ask(by=world.alice)
    assert {"approval_needed", "ended"} < set(kinds())
    tasks.sweep_notices()
    assert kinds() == ["ended"]
    [old, *newer] = OutboxItem.objects.filter(lane="news").order_by("id")
    OutboxItem.objects.filter(pk=old.pk).update(not_before=clock.now() - queue.PUT_OFF)
    tasks.sweep_notices()
    left = OutboxItem.objects.filter(lane="news").values_list("pk", flat=True)
    assert sorted(left) == [row.pk for row in newer], "its own age lets one go, and no other"
    assert newer


def test_what_asks_for_an_approval_waits_for_no_backlog_of_news(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = actives(world)
    OutboxItem.objects.all().delete()
    for row in rows:
        grants.end(actor=row.subject, request_id=row.request_id, now=clock.now())
    handlers.work("provisioning")
    monkeypatch.setitem(handlers.CLAIM, "news", 1)
    sent: list[str] = []
    send = notifications.send

    def sends(item: OutboxItem, now: datetime) -> None:
        if not sent:
            world.ask(by=world.alice)
        sent.append(item.payload["kind"])
        send(item, now)

    monkeypatch.setitem(handlers.HANDLERS, "notice.send", handlers.each(sends, atomic=False))
    OutboxItem.objects.filter(lane="notices").delete()
    tasks.sweep_notices()
    assert sent[0] == "ended"
    assert sent[1] == "approval_needed"
    assert len(sent) > 3
    assert set(sent[2:]) == {"ended"}


def test_news_wait_for_access_that_ends_within_moments(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    [active, *_] = actives(world)
    grants.end(actor=active.subject, request_id=active.request_id, now=clock.now())
    handlers.work("provisioning")
    monkeypatch.setattr(due, "next_end", lambda: clock.now() + tasks.SOON / 2)
    tasks.sweep_notices()
    assert kinds() == ["ended"]
    monkeypatch.setattr(due, "next_end", lambda: clock.now() + 4 * tasks.SOON)
    tasks.sweep_notices()
    assert kinds() == []


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The resources that are looked at, as they are."""
    seen: list[int] = []
    monkeypatch.setattr(reconciliation, "observe", lambda resource_id: seen.append(resource_id))
    return seen


@pytest.mark.django_db(transaction=True)
def test_looks_at_targets_wait_while_access_is_being_removed_but_not_for_long(
    world: World, looks: list[int]
) -> None:
    [active, *_] = actives(world)
    tasks.observe_targets()
    assert len(looks) == 1, "nothing is being removed"
    Observation.objects.all().delete()
    grants.end(actor=active.subject, request_id=active.request_id, now=clock.now())
    tasks.observe_targets()
    tasks.observe_targets()
    assert len(looks) == 1
    Observation.objects.update(next_at=F("next_at") - queue.PUT_OFF)
    tasks.observe_targets()
    assert len(looks) == 2


def long_ago(world: World, noop: Noop) -> None:
    OutboxItem.objects.filter(topic="grant.withdraw").update(
        not_before=clock.now() - tasks.HURRY - timedelta(seconds=1)
    )


def failed_just_now(world: World, noop: Noop) -> None:
    noop.control(fail="transient")
    handlers.work("provisioning")
    [removal] = OutboxItem.objects.filter(topic="grant.withdraw")
    assert removal.first_failed_at
    OutboxItem.objects.filter(pk=removal.pk).update(not_before=clock.now())


def put_off_with_its_target(world: World, noop: Noop) -> None:
    Circuit.objects.create(
        target=world.resource.name, failures=5, failing_since=clock.now(),
        open_until=clock.now() + timedelta(seconds=30),
    )  # fmt: skip


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("waits", [long_ago, failed_just_now, put_off_with_its_target])
def test_nothing_gives_way_to_a_removal_that_waits_for_its_target(
    world: World, noop: Noop, looks: list[int], waits: Callable[[World, Noop], None]
) -> None:
    [active, *_] = actives(world)
    grants.end(actor=active.subject, request_id=active.request_id, now=clock.now())
    waits(world, noop)
    tasks.observe_targets()
    assert len(looks) == 1
