"""How an access review begins: what is active is pinned, and each access gets its reviewer."""

from datetime import datetime, timedelta

from django.db import transaction

from approvals.domain.refusals import Invalid
from approvals.models import CurrentRequest, Resource, ReviewCampaign, ReviewItem, User
from approvals.models.catalogue import Risk
from approvals.selectors import reviews as reads
from approvals.services import review_notices, review_rules

NAME_MOST = 100
LONGEST = timedelta(days=366)

Relationship = ReviewItem.Relationship
Scope = ReviewCampaign.Scope
Silence = ReviewCampaign.Silence


@transaction.atomic
def open_campaign(
    *,
    actor: User,
    name: str,
    due_at: datetime,
    now: datetime,
    scope: str = Scope.ALL,
    resource: Resource | None = None,
    risk: str = "",
    reviewers: str = ReviewCampaign.Reviewers.MANAGER,
    on_silence: str = Silence.REMOVE,
) -> ReviewCampaign:
    """Pin what is active now, give each item its reviewer, and tell them.

    Raises: NotAllowed for others than compliance; Invalid.
    """
    review_rules.only_compliance(actor)
    name = review_rules.text(
        name, "name", NAME_MOST, "Give the review a name that people recognise."
    )
    if not now < due_at <= now + LONGEST:
        raise Invalid("Choose a due date in the coming year.", field="due_at")
    if (
        scope not in Scope
        or reviewers not in ReviewCampaign.Reviewers
        or on_silence not in Silence
        or (scope == Scope.RISK and risk not in Risk)
    ):
        raise Invalid("Choose one of what the form offers.", field="scope")
    if scope == Scope.RESOURCE and resource is None:
        raise Invalid("Choose the resource that it is about.", field="resource")
    about = resource if scope == Scope.RESOURCE else None
    campaign = ReviewCampaign(
        name=name,
        scope=scope,
        resource=about,
        resource_name=about.name if about else "",
        risk=risk if scope == Scope.RISK else "",
        reviewers=reviewers,
        on_silence=on_silence,
        opened_at=now,
        due_at=due_at,
        actor=actor,
        actor_name=actor.get_full_name(),
        occurred_at=now,
    )
    items = [_item(campaign, row, now=now) for row in reads.active(campaign)]
    if not items:
        raise Invalid("No access of that scope is active now, so there is nothing to review.")
    campaign.items = len(items)
    campaign.save()
    ReviewItem.insert(items)
    review_notices.asked(campaign, now=now)
    return campaign


def _item(campaign: ReviewCampaign, row: CurrentRequest, *, now: datetime) -> ReviewItem:
    record = row.record
    reviewer, relationship = _reviewer(campaign, row)
    return ReviewItem(
        campaign_id=campaign.campaign_id,
        request_id=row.request_id,
        subject=row.subject,
        subject_name=record.subject_name,
        entitlement=row.entitlement,
        resource_name=record.resource_name,
        entitlement_name=record.entitlement_name,
        risk=record.risk,
        reviewer=reviewer,
        reviewer_name=reviewer.get_full_name() if reviewer else "",
        relationship=relationship,
        activated_at=record.activated_at,
        ends_at=record.ends_at,
        occurred_at=now,
    )


def _reviewer(campaign: ReviewCampaign, row: CurrentRequest) -> tuple[User | None, str]:
    """Return who judges an access: never its holder, nobody inactive; None for compliance."""
    asked: list[tuple[User | None, str]] = [
        (row.entitlement.resource.owner, Relationship.OWNER),
        (None, Relationship.COMPLIANCE),
    ]
    if campaign.reviewers == ReviewCampaign.Reviewers.MANAGER and row.subject.manager:
        asked.insert(0, (row.subject.manager, Relationship.MANAGER))
    return next(
        (person, relationship)
        for person, relationship in asked
        if person is None or (person.is_active and person.pk != row.subject_id)
    )
