"""A backlog of ends is shared by two, who together end each once; mail and looks give way."""

import time
from datetime import timedelta

import pytest

from approvals import abreast, handlers, tasks
from approvals.models import AccessRequest, CurrentRequest, OutboxItem
from approvals.selectors import clock
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


def test_mail_gives_way_while_access_is_to_be_removed_and_is_sent_all_the_same(
    world: World, monkeypatch: pytest.MonkeyPatch, mailoutbox: list[object]
) -> None:
    paused: list[float] = []
    monkeypatch.setattr(time, "sleep", lambda seconds: paused.append(seconds) if seconds else None)
    monkeypatch.setattr(tasks, "GIVE_WAY_SECONDS", 0.02)
    [active, *_] = actives(world)
    monkeypatch.setitem(handlers.CLAIM, "notices", 1)
    tasks.sweep_notices()
    assert paused == [], "nothing is being removed"
    grants.end(actor=active.subject, request_id=active.request_id, now=clock.now())
    world.ask()
    before = len(mailoutbox)
    tasks.sweep_notices()
    assert len(mailoutbox) > before
    assert set(paused) == {tasks.GIVE_WAY_SECONDS / 10}


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The resources that are looked at, as they are; nothing was put off before."""
    seen: list[int] = []
    monkeypatch.setattr(reconciliation, "observe", lambda resource_id: seen.append(resource_id))
    monkeypatch.setattr(tasks, "_put_off", tasks._PutOff())
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
