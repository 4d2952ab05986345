"""What the database refuses of reviews by itself, the ledger of them, and erasure."""

import uuid
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import IntegrityError, transaction

from approvals import handlers
from approvals.models import (
    AccessRequest,
    ReviewCampaign,
    ReviewDecision,
    ReviewItem,
    User,
)
from approvals.selectors import clock
from approvals.services import erasure as asking
from approvals.services import grants
from audit.models import Entry
from audit.services import erasing, verifying
from tests.audit.sealer import new_signer, seal, sealer
from tests.audit.tampering import tamper
from tests.services.reviewing import (
    decide,
    items,
    second,
    sign_off,
    start,
)
from tests.world import World


def decision(item: ReviewItem, who: User | None, **more: Any) -> ReviewDecision:
    values: dict[str, Any] = {
        "item_id": item.item_id, "campaign_id": item.campaign_id, "request_id": item.request_id,
        "actor": who, "actor_name": "x", "relationship": "manager", "verdict": "keep",
        "reason": "x", "occurred_at": clock.now(),
    }  # fmt: skip
    return ReviewDecision(**(values | more))


def test_the_database_refuses_what_the_code_would(
    world: World, request_of_alice: AccessRequest, now: datetime
) -> None:
    campaign = start(world, now)
    (item,) = items(campaign)
    closed = campaign.close(event="signed_off", actor=world.dora, comment="", now=now)
    renamed = campaign.close(event="cancelled", actor=world.dora, comment="", now=now)
    renamed.due_at += timedelta(days=1)
    for row in (
        decision(item, world.alice),
        decision(item, None),
        decision(item, world.bob, reason=""),
        decision(item, world.bob, verdict="unreviewed"),
        decision(item, world.bob, campaign_id=uuid.uuid4()),
        decision(item, world.bob, item_id=uuid.uuid4()),
        closed,
        renamed,
    ):
        with pytest.raises(IntegrityError), transaction.atomic():
            row.save()
    decision(item, world.bob).save()
    closed.save()
    with pytest.raises(IntegrityError, match=r"campaign is over|unique"), transaction.atomic():
        decision(item, world.bob).save()


@pytest.mark.django_db(transaction=True)
def test_all_of_it_is_in_the_ledger_and_verifies(
    world: World, request_of_alice: AccessRequest, now: datetime
) -> None:
    second(world, world.dan)
    campaign = start(world, now, scope="resource", resource=world.resource)
    mine, other = items(campaign)
    decide(world.bob, mine, verdict="remove")
    decide(world.carol, other)
    sign_off(campaign, world.dora)
    names = Entry.objects.filter(model__startswith="review").values_list("model", flat=True)
    assert sorted(names) == [
        "review_campaign", "review_campaign", "review_decision", "review_decision",
        "review_item", "review_item",
    ]  # fmt: skip
    seal(new_signer())
    report = verifying.run(by="a test")
    assert report.ok, [*report.as_text()]
    tamper("UPDATE approvals_reviewdecision SET verdict = 'keep' WHERE verdict = 'remove'")
    assert {row.model for row in verifying.run(by="a test").problems} == {"review_decision"}


CANARY = "Canarywren"


def told_of(word: str) -> set[str]:
    """Return which columns of the review tables a word stands in."""
    return {
        f"{model.__name__}.{name}"
        for model in (ReviewCampaign, ReviewItem, ReviewDecision)
        for row in model._default_manager.values()
        for name, value in row.items()
        if word in str(value)
    }


@pytest.mark.django_db(transaction=True)
def test_an_erasure_takes_a_person_out_of_the_reviews(world: World, now: datetime) -> None:
    world.alice.name, world.dan.manager = f"Alice {CANARY}", world.alice
    world.alice.save()
    world.dan.save()
    alice = User.objects.get(pk=world.alice.pk)
    hers = world.active(by=alice, minutes=400)
    second(world, User.objects.get(pk=world.dan.pk))
    campaign = start(world, now, name=f"About Alice {CANARY}")
    mine, other = items(campaign)
    decide(world.bob, mine, reason="She needs it.")
    decide(alice, other, reason="He needs it.")
    sign_off(campaign, world.dora)
    grants.end(actor=alice, request_id=hers.request_id, now=clock.now())
    handlers.work("provisioning")
    assert told_of(CANARY) == {
        "ReviewCampaign.name", "ReviewItem.subject_name", "ReviewItem.reviewer_name",
        "ReviewDecision.actor_name",
    }  # fmt: skip
    signer = new_signer()
    seal(signer)
    erasing._not_before.clear()
    made = asking.ask(
        actor=world.dora, login="alice", ground="objection", reference="DSR-1", now=clock.now()
    )
    asking.approve(actor=world.admin, erasure_id=made.erasure_id, comment="", now=clock.now())
    seal(signer)
    with sealer():
        assert erasing.carry_out(now=clock.now()) == 1
    seal(signer)
    assert told_of(CANARY) == set()
    assert {row.reason for row in ReviewDecision.objects.all()} == {"[erased]"}
    assert {row.name for row in ReviewCampaign.objects.all()} == {"[erased]"}
    assert {row.subject_name for row in ReviewItem.objects.all()} == {"[erased]", "Dan"}
    report = verifying.run(by="a test")
    assert report.ok, [*report.as_text()]
