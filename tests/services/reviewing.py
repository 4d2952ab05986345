"""What the tests about access reviews share."""

from datetime import datetime, timedelta
from typing import Any

from approvals import handlers
from approvals.domain.states import State
from approvals.models import (
    AccessRequest,
    OutboxItem,
    ReviewCampaign,
    ReviewItem,
    User,
)
from approvals.selectors import clock
from approvals.services import review_notices, review_opening, reviews
from tests.world import World

HOURS = 10


def start(world: World, now: datetime, **more: Any) -> ReviewCampaign:
    values: dict[str, Any] = {
        "actor": world.dora, "name": "Q4", "due_at": now + timedelta(hours=HOURS), "now": now,
    }  # fmt: skip
    return review_opening.open_campaign(**(values | more))


def items(campaign: ReviewCampaign) -> list[ReviewItem]:
    return list(ReviewItem.objects.filter(campaign_id=campaign.campaign_id).order_by("id"))


def decide(
    who: User, *chosen: ReviewItem, verdict: str = "keep", reason: str = "On call this week."
) -> reviews.Decided:
    return reviews.decide(
        actor=who,
        items=[item.item_id for item in chosen],
        verdict=verdict,
        reason=reason,
        now=clock.now(),
    )


def sign_off(campaign: ReviewCampaign, who: User, now: datetime | None = None) -> ReviewCampaign:
    return reviews.sign_off(
        actor=who, campaign_id=campaign.campaign_id, comment="Done.", now=now or clock.now()
    )


def second(world: World, who: User) -> AccessRequest:
    """Read access of somebody else's, which its rule approves at once."""
    made = world.ask(what=world.read, by=who, minutes=400)
    handlers.work("due")
    handlers.work("provisioning")
    found = world.newest(made)
    assert found.state == State.ACTIVE
    return found


def review_kinds() -> list[str]:
    rows = OutboxItem.objects.filter(topic=review_notices.TOPIC).order_by("id")
    return [row.payload["kind"] for row in rows]
