"""Who an access review asks about which access, and who may open one."""

from datetime import datetime
from typing import Any

import pytest

from approvals.domain.refusals import Invalid, NotAllowed
from approvals.models import (
    AccessRequest,
    ReviewCampaign,
    ReviewItem,
    User,
)
from approvals.selectors import reviews as reads
from approvals.services import reviews
from tests.services.reviewing import (
    decide,
    items,
    second,
    sign_off,
    start,
)
from tests.world import World


def test_what_is_active_is_pinned_with_the_manager(
    world: World, request_of_alice: AccessRequest, now: datetime
) -> None:
    world.ask(what=world.own, ticket="T-1")  # waits, so that there is nothing to review yet
    campaign = start(world, now)
    (item,) = items(campaign)
    assert (item.request_id, item.subject, item.entitlement) == (
        request_of_alice.request_id, world.alice, world.write,
    )  # fmt: skip
    assert (item.reviewer, item.relationship) == (world.bob, "manager")
    assert campaign.items == 1
    assert reads.waiting_count(person=world.bob) == 1
    assert reads.waiting_count(person=world.alice) == 0


@pytest.mark.parametrize("asked", ["manager", "owner"])
def test_nobody_is_asked_about_their_own_access(world: World, now: datetime, asked: str) -> None:
    second(world, world.carol)  # she owns the resource, and erin is her manager
    (item,) = items(start(world, now, reviewers=asked))
    if asked == "manager":
        assert (item.reviewer, item.relationship) == (world.erin, "manager")
    else:
        assert (item.reviewer, item.relationship) == (None, "compliance")
        with pytest.raises(NotAllowed):
            decide(world.carol, item)
        assert decide(world.dora, item).decisions[0].relationship == "compliance"


def test_it_falls_to_the_owner_where_the_manager_is_gone(
    world: World, request_of_alice: AccessRequest, now: datetime
) -> None:
    User.objects.filter(pk=world.bob.pk).update(is_active=False)
    (item,) = items(start(world, now))
    assert (item.reviewer, item.relationship) == (world.carol, "owner")


def test_compliance_takes_over_from_a_reviewer_who_leaves(
    world: World, request_of_alice: AccessRequest, now: datetime
) -> None:
    (item,) = items(start(world, now))
    with pytest.raises(NotAllowed):
        decide(world.dora, item)
    User.objects.filter(pk=world.bob.pk).update(is_active=False)
    assert reads.waiting_count(person=world.dora) == 1
    assert decide(world.dora, item).decisions[0].relationship == "compliance"


def test_a_scope_narrows_what_is_pinned(
    world: World, request_of_alice: AccessRequest, now: datetime
) -> None:
    low = second(world, world.dan)
    assert {i.request_id for i in items(start(world, now))} == {
        request_of_alice.request_id, low.request_id,
    }  # fmt: skip
    by_risk = start(world, now, scope="risk", risk="low")
    assert [i.request_id for i in items(by_risk)] == [low.request_id]
    assert len(items(start(world, now, scope="resource", resource=world.resource))) == 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": " "},
        {"name": "x" * 101},
        {"due_at": datetime.fromisoformat("2020-01-01T00:00:00+00:00")},
        {"scope": "resource"},
        {"scope": "risk", "risk": "none"},
        {"scope": "risk", "risk": "medium"},  # there is no active access of it
        {"reviewers": "nobody"},
        {"on_silence": "shrug"},
    ],
)
def test_a_wrong_opening_is_refused(
    world: World, request_of_alice: AccessRequest, now: datetime, wrong: dict[str, Any]
) -> None:
    with pytest.raises(Invalid):
        start(world, now, **wrong)
    assert not ReviewCampaign.objects.exists()
    assert not ReviewItem.objects.exists()


@pytest.mark.parametrize("who", ["alice", "bob", "admin", "carol"])
def test_only_compliance_runs_campaigns(
    world: World, request_of_alice: AccessRequest, now: datetime, who: str
) -> None:
    person = getattr(world, who)
    with pytest.raises(NotAllowed):
        start(world, now, actor=person)
    campaign = start(world, now)
    decide(world.bob, *items(campaign))
    with pytest.raises(NotAllowed):
        sign_off(campaign, person)
    with pytest.raises(NotAllowed):
        reviews.cancel(actor=person, campaign_id=campaign.campaign_id, reason="x", now=now)
