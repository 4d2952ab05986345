"""Many people decide at the same moment: one revision follows, everybody learns what happened."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from approvals import handlers
from approvals.domain.refusals import Settled, StaleRevision
from approvals.models import AccessRequest, Decision, Group, Membership, OutboxItem, User
from approvals.selectors import clock
from approvals.services import grants, requests
from tests.connectors.noop import Noop
from tests.world import World

Race = Callable[[Sequence[Callable[[], Any]]], list[Any]]

ROUNDS = 200
PEOPLE = 50


@pytest.mark.django_db(transaction=True)
def test_fifty_concurrent_decisions_have_one_winner_each_time(world: World, race: Race) -> None:
    data = Group.objects.get(name="data")
    crowd = []
    for number in range(PEOPLE):
        person = User.objects.create_user(f"owner{number}", f"o{number}@example.com", None)
        Membership.objects.create(person=person, group=data)
        crowd.append(person)
    OutboxItem.objects.all().delete()
    for _ in range(ROUNDS):
        request = world.ask(what=world.own, ticket="INC-1")

        def decide(person: User, request: AccessRequest = request) -> AccessRequest:
            return requests.decide(
                actor=person,
                request_id=request.request_id,
                verdict="approve",
                seen_revision=1,
                now=clock.now(),
            )

        results = race([lambda person=person: decide(person) for person in crowd])  # type: ignore[misc]
        kinds = Counter(type(result).__name__ for result in results)
        assert kinds == {"AccessRequest": 1, "StaleRevision": PEOPLE - 1}, results
        assert Decision.objects.filter(request_id=request.request_id).count() == 1
        assert world.newest(request).revision == 2
        requests.cancel(actor=world.alice, request_id=request.request_id, now=clock.now())


@pytest.mark.django_db(transaction=True)
def test_the_last_vote_is_given_once(world: World, race: Race) -> None:
    for _ in range(20):
        request = world.ask()
        world.decide(world.bob, request)
        results = race([lambda: world.decide(world.carol, request, seen=2)] * 8
                       + [lambda: world.decide(world.dan, request, seen=2)] * 8)  # fmt: skip
        assert sum(isinstance(result, AccessRequest) for result in results) == 1
        assert all(isinstance(r, AccessRequest | Settled | StaleRevision) for r in results)
        assert OutboxItem.objects.filter(topic="grant.apply").count() == 1
        requests.cancel(actor=world.alice, request_id=request.request_id, now=clock.now())
        assert not OutboxItem.objects.filter(topic="grant.apply").exists()


@pytest.mark.django_db(transaction=True)
def test_the_same_request_twice_at_once_is_one(world: World, race: Race) -> None:
    for _ in range(10):
        results = race([world.ask] * 8)
        good = [row for row in results if isinstance(row, AccessRequest)]
        assert len(good) == 1, results
        assert all(getattr(row, "code", "") == "duplicate" for row in results if row not in good)
        requests.cancel(actor=world.alice, request_id=good[0].request_id, now=clock.now())


@pytest.mark.django_db(transaction=True)
def test_each_task_twice_at_once_has_one_effect(world: World, race: Race, noop: Noop) -> None:
    request = world.approved()
    race([lambda: handlers.work("provisioning")] * 4)
    active = world.newest(request)
    assert active.state == "active"
    assert active.ends_at is not None
    ends_at = active.ends_at
    ended = race([lambda: grants.end_due(now=ends_at)] * 4)
    assert sorted(ended) == [0, 0, 0, 1]
    race([lambda: handlers.work("provisioning", now=ends_at)] * 4)
    newest = world.newest(request)
    assert (newest.state, newest.revision) == ("expired", 6)
    done = [call["name"] for call in noop.calls() if call["stage"] == "done"]
    assert done == ["grant", "revoke"]


@pytest.mark.django_db(transaction=True)
def test_cancelled_while_the_target_worked_is_taken_away(world: World, noop: Noop) -> None:
    request = world.approved()
    noop.control(before_seconds=0.4)
    import threading

    from django.db import connection

    def provision() -> None:
        handlers.work("provisioning")
        connection.close()

    thread = threading.Thread(target=provision)
    thread.start()
    while not OutboxItem.objects.filter(topic="grant.apply", leased_until__isnull=False).exists():
        pass
    requests.cancel(actor=world.alice, request_id=request.request_id, now=clock.now())
    thread.join()
    noop.control()
    handlers.work("provisioning")
    assert world.newest(request).state == "cancelled"
    assert noop.held() == set()
