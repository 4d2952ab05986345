"""Two events that exclude each other at the same moment: one legal outcome, and each does happen.

Half of the rounds gives a head start to one, half to the other, of up to some milliseconds, so that
either may come first and many meet in the middle.
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest

from approvals.domain.refusals import Settled
from approvals.models import AccessRequest, Asked, Entitlement, OutboxItem, Policy
from approvals.selectors import clock
from approvals.services import escalation, grants, requests
from tests.world import MANAGER, World, rule

Call = Callable[[], Any]
Race = Callable[[Sequence[Call]], list[Any]]

pytestmark = pytest.mark.django_db(transaction=True)
ROUNDS = 200
#: Seconds of the longest head start.
HEAD_START = 0.012


@pytest.fixture
def silent(world: World) -> Entitlement:
    """An entitlement of one level, bob, which lapses after a minute without any escalation."""
    level = MANAGER | {"escalate": [], "within": 60}
    policy = Policy.objects.create(
        name="silent",
        document={"rules": [rule("eng", groups=["eng"], longest=600, levels=[level])]},
    )
    return Entitlement.objects.create(
        resource=world.resource, name="silent", risk="high", policy=policy,
        settings={"name": "silent"},
    )  # fmt: skip


def staggered(number: int, first: Call, second: Call) -> list[Call]:
    """Both calls, one of them a little later: by turns, and by more from round to round."""
    pause = HEAD_START * (number % 20) / 20

    def late(call: Call) -> Call:
        def run() -> Any:
            time.sleep(pause)
            return call()

        return run

    return [late(first), second] if number % 2 else [first, late(second)]


def kind(result: Any) -> str:
    """How a call went: done, nothing to do, or refused as settled. Nothing else is legal."""
    if isinstance(result, Settled):
        return f"settled as {result.code}"
    assert not isinstance(result, Exception), result
    return "done" if result else "nothing"


def events(request: AccessRequest) -> list[str]:
    rows = AccessRequest.objects.filter(request_id=request.request_id).order_by("revision")
    assert [row.revision for row in rows] == list(range(1, len(rows) + 1))
    return [row.event for row in rows]


def grant_work() -> list[str]:
    return list(
        OutboxItem.objects.filter(topic__startswith="grant.").values_list("topic", flat=True)
    )


def test_approve_against_cancel(world: World, race: Race, silent: Entitlement) -> None:
    """An approval that comes first is cancelled with all that it began; else it is refused."""
    seen: Counter[tuple[str, ...]] = Counter()
    for number in range(ROUNDS):
        request = world.ask(what=silent, minutes=5)
        approving, cancelling = (
            lambda request=request: world.decide(world.bob, request, seen=1),
            lambda request=request: requests.cancel(
                actor=world.alice, request_id=request.request_id, now=clock.now()
            ),
        )
        results = race(staggered(number, approving, cancelling))
        outcome = (*map(kind, results), *events(request))
        assert outcome in (
            ("done", "done", "submitted", "approved", "cancelled"),
            ("settled as cancelled", "done", "submitted", "cancelled"),
        ), outcome
        assert world.newest(request).state == "cancelled"
        assert grant_work() == []
        assert not Asked.objects.exists()
        seen[outcome] += 1
    assert len(seen) == 2, seen


def test_approve_against_lapse(world: World, race: Race, silent: Entitlement) -> None:
    """A vote of the last moment counts, or the level has lapsed: never both."""
    seen: Counter[tuple[str, ...]] = Counter()
    for number in range(ROUNDS):
        request = world.ask(what=silent, minutes=5)
        due_at = request.due_at
        assert due_at is not None
        approving, lapsing = (
            lambda request=request, at=due_at - timedelta(milliseconds=1): world.decide(
                world.bob, request, seen=1, now=at
            ),
            lambda request=request, at=due_at: escalation.advance(request.request_id, now=at),
        )
        results = race(staggered(number, approving, lapsing))
        outcome = (*map(kind, results), *events(request))
        assert outcome in (
            ("done", "nothing", "submitted", "approved"),
            ("settled as lapsed", "done", "submitted", "lapsed"),
        ), outcome
        is_approved = outcome[0] == "done"
        assert world.newest(request).state == ("approved" if is_approved else "lapsed")
        assert grant_work() == (["grant.apply"] if is_approved else [])
        assert not Asked.objects.exists()
        seen[outcome] += 1
        if is_approved:
            requests.cancel(actor=world.alice, request_id=request.request_id, now=clock.now())
    assert len(seen) == 2, seen


def test_a_vote_after_the_lapse_is_refused_whoever_comes_first(
    world: World, race: Race, silent: Entitlement
) -> None:
    for number in range(10):
        request = world.ask(what=silent, minutes=5)
        due_at = request.due_at
        assert due_at is not None
        past = due_at + timedelta(seconds=1)
        voting, lapsing = (
            lambda request=request, at=past: world.decide(world.bob, request, seen=1, now=at),
            lambda request=request, at=past: escalation.advance(request.request_id, now=at),
        )
        vote, _ = race(staggered(number, voting, lapsing))
        assert kind(vote) == "settled as lapsed"
        assert events(request) == ["submitted", "lapsed"]


def test_end_against_the_end_of_its_time(world: World, race: Race) -> None:
    """Given back or run out, as whoever came first says; removed once either way."""
    seen: Counter[tuple[str, ...]] = Counter()
    for number in range(ROUNDS):
        request = world.ask(what=world.read, minutes=5)
        OutboxItem.objects.filter(topic="grant.apply").delete()
        now = clock.now()
        active = grants.activate(
            request_id=request.request_id, attempt=grants.Attempt(1, now, now), now=now
        )
        assert active is not None
        assert active.ends_at is not None
        ending, sweeping = (
            lambda request=request, at=active.ends_at: grants.end(
                actor=world.alice, request_id=request.request_id, now=at
            ),
            lambda at=active.ends_at: grants.end_due(now=at),
        )
        results = race(staggered(number, ending, sweeping))
        ended = world.newest(request)
        outcome = (*map(kind, results), ended.end_reason)
        assert outcome in (
            ("done", "nothing", "given_back"), ("settled as revoking", "done", "time"),
        ), outcome  # fmt: skip
        assert events(request) == ["submitted", "approved", "activated", "ended"]
        assert ended.state == "revoking"
        assert grant_work() == ["grant.withdraw"]
        seen[outcome] += 1
        OutboxItem.objects.filter(topic="grant.withdraw").delete()
        confirmed = grants.Attempt(1, active.ends_at, active.ends_at)
        grants.confirm_many([(request.request_id, confirmed)], now=active.ends_at)
    assert len(seen) == 2, seen
