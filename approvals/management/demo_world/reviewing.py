"""The demo's access reviews: one of the past, from its opening to its sign-off, and one that runs.

Both through the services. What is judged in the running one is real: access to this portal's own
reports, so that removing it takes somebody out of a group.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta

from approvals.management.demo_world import words
from approvals.management.demo_world.plans import HOUR, MINUTE
from approvals.management.demo_world.stories import Stage
from approvals.models import AccessRequest, Entitlement, OutboxItem, ReviewItem, User
from approvals.selectors import clock
from approvals.services import grants, requests, review_notices, review_opening, reviews
from approvals.services.memberships import MembershipStore

#: Who holds access that the running review is about: each has another manager.
REVIEWED_NOW = ("mei", "priya", "nadia")
SECOND = timedelta(seconds=1)


def past(stage: Stage) -> Iterator[datetime]:
    """Open a review of all access, let managers judge it, and sign it off the day after.

    Yields the moment of each act, as stories do. What is removed ends by that.
    """
    dora, opened_at = stage.people["dora"], stage.reviewed_at
    yield opened_at
    campaign = review_opening.open_campaign(
        actor=dora,
        name="Access in working hours, spot check",
        due_at=opened_at + timedelta(days=7),
        now=opened_at,
    )
    items = list(
        ReviewItem.objects.filter(campaign_id=campaign.campaign_id)
        .select_related("reviewer")
        .order_by("reviewer_id", "id")
    )
    asked: dict[User, list[ReviewItem]] = {}
    for item in items:
        if item.reviewer is not None:
            asked.setdefault(item.reviewer, []).append(item)
    removed = [item for item in items if stage.is_reviewed_away(item)]
    at = opened_at + 20 * MINUTE
    for number, (reviewer, theirs) in enumerate(asked.items()):
        kept = [item for item in theirs if item not in removed]
        if not kept:
            continue
        yield at
        reviews.show(actor=reviewer, items=kept, now=at)
        at += (25 + 50 * number % 90) * SECOND
        yield at
        reviews.decide(
            actor=reviewer,
            items=[item.item_id for item in kept],
            verdict="keep",
            reason=words.KEPT[number % len(words.KEPT)],
            now=at,
        )
        at += 11 * MINUTE
    shown_at = stage.removed_at - 2 * MINUTE
    for item in removed:
        assert item.reviewer is not None
        yield shown_at
        reviews.show(actor=item.reviewer, items=[item], now=shown_at)
        yield stage.removed_at
        reviews.decide(
            actor=item.reviewer,
            items=[item.item_id],
            verdict="remove",
            reason=words.REMOVED,
            now=stage.removed_at,
        )
    signed_at = opened_at + 23 * HOUR
    yield signed_at
    reviews.sign_off(
        actor=dora,
        campaign_id=campaign.campaign_id,
        comment="Everybody answered the same day; one access was removed.",
        now=signed_at,
    )


def forget_notices() -> None:
    """Remove the mails of the past's review from the outbox."""
    OutboxItem.objects.filter(topic=review_notices.TOPIC).delete()


def present(*, cast: dict[str, User], entitlements: dict[str, Entitlement]) -> list[AccessRequest]:
    """Give some people access to the portal's reports, and open a review of it; return the former.

    The mails about it are real.
    """
    held = [
        _hold(cast[login], entitlements["report-reader"], reason=reason, approver=cast["erin"])
        for login, reason in zip(REVIEWED_NOW, words.REASONS_TODAY, strict=True)
    ]
    now = clock.now()
    review_opening.open_campaign(
        actor=cast["dora"],
        name="Quarterly review: who reads reports",
        scope="resource",
        resource=entitlements["report-reader"].resource,
        due_at=now + timedelta(days=5),
        now=now,
    )
    return held


def _hold(person: User, entitlement: Entitlement, *, reason: str, approver: User) -> AccessRequest:
    """Return an active request whose access stands in the portal's own directory.

    Written as the connector "portal" does; commands may not call connectors themselves.
    """
    record = requests.submit(
        actor=person,
        subject=person,
        entitlement=entitlement,
        duration=24 * HOUR,
        reason=reason,
        now=clock.now(),
    )
    record = requests.decide(
        actor=approver,
        request_id=record.request_id,
        verdict="approve",
        seen_revision=record.revision,
        comment="Agreed.",
        now=clock.now(),
    )
    started_at = clock.now()
    group = entitlement.settings["group"]
    carried = MembershipStore().add(
        login=person.username,
        group=group,
        request_id=str(record.request_id),
        reason=f"granted by request {record.request_id}",
    )
    finished_at = clock.now()
    detail = {
        "group": group, "login": person.username, "granted": True, "pre_existing": not carried,
    }  # fmt: skip
    attempt = grants.Attempt(1, started_at, finished_at, detail=detail)
    active = grants.activate(request_id=record.request_id, attempt=attempt, now=finished_at)
    assert active is not None
    OutboxItem.objects.filter(
        topic__startswith="grant.", payload__request_id=str(record.request_id)
    ).delete()
    return active
