"""Tells reviewers that they are asked, and reminds them; tells compliance when a review can close.

Each kind goes once to a person for a campaign (or for a reminder's number), and only while it is
true. Sending is `notifications`.
"""

import uuid
from collections.abc import Iterable
from datetime import datetime

import structlog
from django.db import transaction

from approvals.models import OutboxItem, ReviewCampaign, User
from approvals.outbox import queue
from approvals.selectors import people, telling
from approvals.selectors import reviews as reads
from approvals.services import notice_centre, notifications
from approvals.services.letters import reviews as letters

log = structlog.get_logger(__name__)

TOPIC, LANE = "review.notice", "notices"
#: The channel that reaches everybody, so that its record says who was told.
CENTRE = "portal"
ASKED, REMINDER, READY = "review_asked", "review_reminder", "review_ready"
#: Shares of a campaign's time after which those who still have items are reminded.
REMIND_AT = (0.5, 0.9)


def asked(campaign: ReviewCampaign, *, now: datetime) -> None:
    """Tell everybody who has items that they are asked, in the transaction of the opening."""
    _put(campaign, ASKED, _reviewers(campaign), number=0, now=now)


def reminders_due(campaign: ReviewCampaign, *, now: datetime) -> int:
    """Return how many reminders a campaign's time has seen so far."""
    share = (now - campaign.opened_at) / (campaign.due_at - campaign.opened_at)
    return sum(share >= each for each in REMIND_AT)


@transaction.atomic
def remind(campaign: ReviewCampaign, *, now: datetime) -> None:
    """Put the newest reminder for whoever has items; when nothing is left, tell compliance so.

    Safe to repeat: who was told, or is about to be, is not told again.
    """
    (found,) = reads.progress([campaign])
    if not found.left:
        _put(campaign, READY, people.compliance(), number=0, now=now)
    elif number := reminders_due(campaign, now=now):
        _put(campaign, REMINDER, _reviewers(campaign), number=number, now=now)


def settled(campaign_id: uuid.UUID, *, now: datetime) -> None:
    """Settle in people's centres what asked them about a review that needs them no more.

    In the transaction of what was decided, or of the campaign's end.
    """
    runs = reads.campaign(campaign_id).is_open
    still = reads.still_asked(campaign_id) if runs else None
    notice_centre.settle_review(campaign_id, still=still, now=now)


def _reviewers(campaign: ReviewCampaign) -> list[User]:
    """Return who may decide on what is undecided, by their numbers."""
    rows = reads.undecided().filter(campaign_id=campaign.campaign_id)
    pinned = User.objects.filter(pk__in=rows.values("reviewer"), is_active=True)
    found = {person.pk: person for person in pinned}
    found |= {
        person.pk: person
        for person in people.compliance()
        if rows.filter(reads.for_person(person)).exists()
    }
    return [found[pk] for pk in sorted(found)]


def _put(
    campaign: ReviewCampaign, kind: str, to: Iterable[User], *, number: int, now: datetime
) -> None:
    about = str(campaign.campaign_id)
    waiting = set(
        OutboxItem.objects.filter(topic=TOPIC, payload__campaign=about).values_list(
            "payload__once_key", flat=True
        )
    )
    keys = {
        person.pk: f"{telling.review_key(kind, campaign.campaign_id)}{number}:{person.pk}"
        for person in to
    }
    queue.put_many(
        queue.item(
            TOPIC,
            LANE,
            {"campaign": about, "kind": kind, "recipient": person, "once_key": key},
            now=now,
        )
        for person, key in keys.items()
        if key not in waiting and not telling.was_told(telling.key(CENTRE, key))
    )


def send(item: OutboxItem, now: datetime) -> None:
    """Send one person one notice about a review, unless it is not true any more.

    Raises: notifications.DeliveryFailed, to be tried again later.
    """
    kind, key = item.payload["kind"], item.payload["once_key"]
    person = telling.recipient(item.payload["recipient"])
    campaign = reads.campaign(uuid.UUID(item.payload["campaign"]))
    fields = {"kind": kind, "recipient": item.payload["recipient"], "campaign": campaign.pk}
    if person is None or not person.is_active:
        log.info("notice.nobody", **fields)
        return
    mine = reads.waiting(person).filter(campaign_id=campaign.campaign_id).count()
    if not campaign.is_open or (mine == 0 and kind != READY):
        log.info("notice.outdated", reason="nothing is left to decide", **fields)
        return
    if kind == READY and not person.is_compliance:
        log.info("notice.nobody", **fields)
        return
    case = letters.ReviewCase(to=person, now=now, campaign=campaign, items=mine)
    write = {ASKED: letters.asked, REMINDER: letters.reminder, READY: letters.ready}[kind]
    notifications.deliver(
        kind=kind,
        letter=write(case),
        to=person,
        once_key=key,
        thread=f"review:{campaign.campaign_id}",
        reference="access review",
        now=now,
        in_centre=True,
        as_chosen=item,
    )
