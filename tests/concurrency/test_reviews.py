"""Several people review at the same moment, and access ends while it is judged."""

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest

from approvals import handlers
from approvals.domain.refusals import Settled
from approvals.domain.states import State
from approvals.models import (
    AccessRequest,
    Group,
    Membership,
    ReviewCampaign,
    ReviewDecision,
    ReviewItem,
    User,
)
from approvals.selectors import clock
from approvals.services import grants, review_opening, reviews
from tests.world import World

Race = Callable[[Sequence[Callable[[], Any]]], list[Any]]

pytestmark = pytest.mark.django_db(transaction=True)
ROUNDS = 10


def opened(world: World) -> tuple[AccessRequest, ReviewCampaign, ReviewItem]:
    request = world.active(minutes=60)
    now = clock.now()
    campaign = review_opening.open_campaign(
        actor=world.dora, name="Q4", due_at=now + timedelta(days=1), reviewers="owner", now=now
    )
    return request, campaign, ReviewItem.objects.get(campaign_id=campaign.campaign_id)


def decide(who: User, item: ReviewItem, verdict: str) -> reviews.Decided:
    return reviews.decide(
        actor=who, items=[item.item_id], verdict=verdict, reason="x", now=clock.now()
    )


def test_an_item_is_decided_once_however_many_decide(world: World, race: Race) -> None:
    crowd = []
    for number in range(6):
        person = User.objects.create_user(f"c{number}", f"c{number}@example.com", None)
        Membership.objects.create(person=person, group=Group.objects.get(name="compliance"))
        crowd.append(person)
    for _ in range(ROUNDS):
        User.objects.filter(pk=world.carol.pk).update(is_active=True)
        request, _, item = opened(world)
        User.objects.filter(pk=world.carol.pk).update(is_active=False)  # compliance takes over
        results = race(
            [
                lambda who=who, how=how: decide(who, item, how)  # type: ignore[misc]
                for who, how in zip(crowd, ["keep", "remove"] * 3, strict=True)
            ]
        )
        assert Counter(type(each).__name__ for each in results) == {"Decided": 1, "Settled": 5}
        verdict = ReviewDecision.objects.get(item_id=item.item_id).verdict
        is_there = world.newest(request).state == State.ACTIVE
        assert is_there == (verdict == "keep")
        if is_there:
            grants.end(actor=world.alice, request_id=request.request_id, now=clock.now())
        handlers.work("provisioning")


def test_access_that_ends_meanwhile_is_removed_once_or_gone(world: World, race: Race) -> None:
    outcomes = Counter[str]()
    for _ in range(ROUNDS):
        request, _, item = opened(world)
        ends_at = request.ends_at
        assert ends_at is not None
        results = race(
            [
                lambda: decide(world.carol, item, "remove"),
                lambda at=ends_at: grants.end_due(now=at),  # type: ignore[misc]
            ]
        )
        assert not any(isinstance(each, Exception) for each in results), results
        verdict = ReviewDecision.objects.get(item_id=item.item_id).verdict
        newest = world.newest(request)
        assert newest.state == State.REVOKING
        assert newest.end_reason == ("time" if verdict == "gone" else "revoked")
        outcomes[verdict] += 1
        handlers.work("provisioning", now=ends_at)
    assert set(outcomes) <= {"gone", "remove"}


def test_no_decision_slips_past_the_close(world: World, race: Race) -> None:
    for _ in range(ROUNDS):
        request, campaign, item = opened(world)
        results = race(
            [
                lambda: decide(world.carol, item, "keep"),
                lambda: reviews.cancel(
                    actor=world.dora,
                    campaign_id=campaign.campaign_id,
                    reason="x",
                    now=clock.now(),
                ),
            ]
        )
        kept = ReviewDecision.objects.filter(item_id=item.item_id).count()
        assert isinstance(results[1], ReviewCampaign)
        assert isinstance(results[0], reviews.Decided if kept else Settled)
        grants.end(actor=world.alice, request_id=request.request_id, now=clock.now())
        handlers.work("provisioning")
