"""A backlog of ends is shared by two, who together end each once; news and looks give way."""

from datetime import timedelta

import pytest

from approvals import abreast, handlers, tasks
from approvals.models import AccessRequest, CurrentRequest, OutboxItem
from approvals.selectors import clock, due
from approvals.services import grants, reconciliation
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


@pytest.fixture(autouse=True)
def nothing_put_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was put off before."""
    monkeypatch.setattr(tasks, "_put_off", tasks._PutOff())


def kinds() -> list[str]:
    """Return of what kinds the notices are that wait."""
    rows = OutboxItem.objects.filter(topic="notice.send", not_before__lte=clock.now())
    return sorted({row.payload["kind"] for row in rows})


def test_news_wait_while_access_is_being_removed_but_not_for_long_and_what_asks_does_not(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, _ = actives(world)
    grants.end(actor=first.subject, request_id=first.request_id, now=clock.now())
    handlers.work("provisioning")
    grants.end(actor=second.subject, request_id=second.request_id, now=clock.now())
    world.ask(by=world.alice)
    assert {"approval_needed", "ended"} < set(kinds())
    tasks.sweep_notices()
    assert kinds() == ["ended"]
    monkeypatch.setattr(tasks, "PUT_OFF_SECONDS", 0.0)
    tasks.sweep_notices()
    assert kinds() == []


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
    world: World, looks: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    [active, *_] = actives(world)
    tasks.observe_targets()
    assert len(looks) == 1, "nothing is being removed"
    grants.end(actor=active.subject, request_id=active.request_id, now=clock.now())
    tasks.observe_targets()
    assert len(looks) == 1
    monkeypatch.setattr(tasks, "PUT_OFF_SECONDS", 0.0)
    tasks.observe_targets()
    assert len(looks) == 2


@pytest.mark.django_db(transaction=True)
def test_nothing_gives_way_to_a_removal_that_has_long_waited_for_its_target(
    world: World, looks: list[int]
) -> None:
    [active, *_] = actives(world)
    grants.end(actor=active.subject, request_id=active.request_id, now=clock.now())
    OutboxItem.objects.filter(topic="grant.withdraw").update(
        not_before=clock.now() - tasks.HURRY - timedelta(seconds=1)
    )
    tasks.observe_targets()
    assert len(looks) == 1
