"""Access reviews: people judge what was pinned, and what they don't vouch for is removed.

A campaign begins in `review_opening`. What has ended by itself since is written down as such and
asks nothing of anybody. Source: NIST AC-6(7), PCI DSS 7.2.4.
"""

import uuid
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

import structlog
from django.db import connection, transaction

from approvals.domain.refusals import Invalid, NotAllowed, Settled
from approvals.domain.states import EndReason
from approvals.models import (
    ReviewCampaign,
    ReviewDecision,
    ReviewItem,
    User,
)
from approvals.selectors import people, requests
from approvals.selectors import reviews as reads
from approvals.services import grants, recording, refused, review_notices, review_rules

log = structlog.get_logger(__name__)

#: Items that are decided at one stroke at most.
TOGETHER_MOST = 200
#: Items that are settled in one transaction.
BATCH = 50

Event = ReviewCampaign.Event
Relationship = ReviewItem.Relationship
Silence = ReviewCampaign.Silence
Verdict = ReviewDecision.Verdict


def show(*, actor: User, items: Iterable[ReviewItem], now: datetime) -> None:
    """Write down that items are on this person's screen; only the first time counts."""
    keys = [item.item_id for item in items]
    if not keys:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO approvals_reviewshown (item_id, person_id, occurred_at)"
            " SELECT key, %s, %s FROM unnest(%s::uuid[]) key ON CONFLICT DO NOTHING",
            [actor.pk, now, keys],
        )


class OwnWork(Settled):
    """Somebody would sign off what they opened or decided, and another person could."""


class Decided(NamedTuple):
    """What an act decided, and the items of it that had ended by themselves."""

    decisions: tuple[ReviewDecision, ...]
    gone: tuple[ReviewDecision, ...]


def decide(
    *, actor: User, items: Collection[uuid.UUID], verdict: str, reason: str, now: datetime
) -> Decided:
    """Keep or remove the access of one item, or of several with one reason; all or nothing.

    What is removed begins to end in the same transaction, with the reason. Access that has ended by
    itself is recorded as that. Raises: NotFound; NotAllowed for whoever is not asked, or holds the
    access, which is recorded; Settled when an item is decided or its campaign over; Invalid.
    """
    if verdict not in (Verdict.KEEP, Verdict.REMOVE):
        raise Invalid("Choose keep or remove.", field="verdict")
    reason = review_rules.text(
        reason, "reason", review_rules.REASON_MOST, "Say why, so that an auditor understands it."
    )
    if not items:
        raise Invalid("Choose what it is about.", field="items")
    if len(set(items)) > TOGETHER_MOST:
        raise Invalid(f"Decide at most {TOGETHER_MOST} at one stroke.", field="items")
    rows = reads.items(items)
    for row in rows:
        with refused.noted(actor, refused.Action(verdict), row.request_id, reason, now):
            _check(actor, row)
    return _decide(actor, rows, verdict, reason, now)


def _check(actor: User, item: ReviewItem) -> None:
    """Let through who is asked about an item. Raises: NotAllowed."""
    if item.subject_id == actor.pk:
        raise NotAllowed("Nobody reviews their own access.", code="own_access")
    if not reads.may_decide(actor, item):
        raise NotAllowed("Somebody else is asked about this.", code="not_yours")


@transaction.atomic
def _decide(
    actor: User, rows: Sequence[ReviewItem], verdict: str, reason: str, now: datetime
) -> Decided:
    campaigns = {key: _held(key) for key in sorted({row.campaign_id for row in rows})}
    _undecided(rows)
    live = _live(rows)
    shown = reads.first_shown([row.item_id for row in rows], to=actor)
    there = [row for row in rows if row.item_id in live]
    decisions = [
        ReviewDecision(
            item_id=row.item_id,
            campaign_id=row.campaign_id,
            request_id=live[row.item_id],
            actor=actor,
            actor_name=actor.get_full_name(),
            relationship=(
                row.relationship if row.reviewer_id == actor.pk else Relationship.COMPLIANCE
            ),
            verdict=verdict,
            reason=reason,
            shown_at=shown.get(row.item_id),
            seconds=_seconds(shown.get(row.item_id), now),
            together=len(there),
            occurred_at=now,
        )
        for row in there
    ]
    ReviewDecision.insert(decisions)
    if verdict == Verdict.REMOVE:
        ending = {live[row.item_id]: campaigns[row.campaign_id] for row in there}
        for request_id in sorted(ending):
            _remove(ending[request_id], request_id, actor=actor, reason=reason, now=now)
    ended = [row for row in rows if row.item_id not in live]
    gone = _gone(ended, now=now)
    for campaign_id in campaigns:
        review_notices.settled(campaign_id, now=now)
    return Decided(tuple(decisions), tuple(gone))


def _seconds(shown_at: datetime | None, now: datetime) -> int | None:
    return max(0, int((now - shown_at).total_seconds())) if shown_at else None


def _remove(
    campaign: ReviewCampaign, request_id: uuid.UUID, *, actor: User | None, reason: str,
    now: datetime,
) -> None:  # fmt: skip
    """End a grant because of a review.

    Where the pinned reviewer may not end it any more, as after a change of manager, the portal
    does it in their name: they were asked to judge it.
    """
    by = actor
    if actor is not None and not grants.may_end(actor, requests.current(request_id)):
        by, reason = None, f"{actor.get_full_name()}: {reason}"
    grants.end(
        actor=by,
        request_id=request_id,
        now=now,
        comment=f"Access review “{campaign.name}”: {reason}",
        reason=EndReason.REVOKED,
    )


def _by_portal(
    rows: Sequence[ReviewItem],
    *,
    verdict: str,
    reason: str,
    now: datetime,
    live: dict[uuid.UUID, uuid.UUID] | None = None,
) -> list[ReviewDecision]:
    made = [
        ReviewDecision(
            item_id=row.item_id,
            campaign_id=row.campaign_id,
            request_id=(live or {}).get(row.item_id, row.request_id),
            actor_name="portal",
            relationship=Relationship.PORTAL,
            verdict=verdict,
            reason=reason,
            occurred_at=now,
        )
        for row in rows
    ]
    ReviewDecision.insert(made)
    return made


def _gone(rows: Sequence[ReviewItem], *, now: datetime) -> list[ReviewDecision]:
    return _by_portal(
        rows, verdict=Verdict.GONE, reason="It had ended before anybody decided.", now=now
    )


def settle(*, campaign_id: uuid.UUID, now: datetime) -> int:
    """Record what ended by itself, and what follows from silence once it is due; return how many.

    In transactions of a few items, so that no request is held for long. Safe to repeat: what is
    decided stays as it is. Does nothing for a campaign that is over.
    """
    done, after = 0, 0
    while True:
        count, last = _settle(campaign_id, after=after, now=now)
        if not last:
            return done
        done, after = done + count, last


@transaction.atomic
def _settle(campaign_id: uuid.UUID, *, after: int, now: datetime) -> tuple[int, int]:
    """Settle the next items after a key; return how many were, and the last key (0: no more)."""
    campaign = _hold(campaign_id)
    if not campaign.is_open:
        return 0, 0
    left = reads.undecided().filter(campaign_id=campaign_id, id__gt=after).order_by("id")
    rows = list(left[:BATCH])
    if not rows:
        return 0, 0
    live = _live(rows)
    there = [row for row in rows if row.item_id in live]
    done = _gone([row for row in rows if row.item_id not in live], now=now)
    if campaign.due_at <= now:
        done += _silence(campaign, there, live=live, now=now)
    if done:
        review_notices.settled(campaign_id, now=now)
    return len(done), rows[-1].pk


def _silence(
    campaign: ReviewCampaign,
    rows: Sequence[ReviewItem],
    *,
    live: dict[uuid.UUID, uuid.UUID],
    now: datetime,
) -> list[ReviewDecision]:
    """Do with what nobody decided on what the campaign says."""
    if campaign.on_silence == Silence.REPORT:
        said = "Nobody decided in time. It was kept, and is reported as not reviewed."
        return _by_portal(rows, verdict=Verdict.UNREVIEWED, reason=said, now=now, live=live)
    said = "Nobody decided in time, and what nobody vouches for is removed."
    made = _by_portal(rows, verdict=Verdict.REMOVE, reason=said, now=now, live=live)
    for request_id in sorted(live.values()):
        _remove(campaign, request_id, actor=None, reason=said, now=now)
    return made


def _live(rows: Sequence[ReviewItem]) -> dict[uuid.UUID, uuid.UUID]:
    """Return the active request that holds each item's access, held until the transaction ends."""
    keys = [row.item_id for row in rows]
    recording.lock_many(reads.live(keys).values())
    return reads.live(keys)


def advance(*, now: datetime) -> None:
    """Settle every running campaign, and remind those who still have items; safe to repeat.

    One campaign that can't be settled holds up no other.
    """
    for campaign in list(reads.running()):
        try:
            settle(campaign_id=campaign.campaign_id, now=now)
            review_notices.remind(campaign, now=now)
        except Exception:
            log.exception("review.not_advanced", campaign=str(campaign.campaign_id))


def sign_off(
    *, actor: User, campaign_id: uuid.UUID, now: datetime, comment: str = ""
) -> ReviewCampaign:
    """Close a campaign of which every item is decided; what is overdue is settled first.

    Whoever opened it or decided about items of it signs it off only where nobody else of
    compliance could; the record says so then.
    Raises: NotFound; NotAllowed for others than compliance; OwnWork; Settled when it is over, or
    while items wait and it isn't due; Invalid.
    """
    review_rules.only_compliance(actor)
    comment = review_rules.text(comment, "comment", review_rules.REASON_MOST)
    settle(campaign_id=campaign_id, now=now)
    with transaction.atomic():
        campaign = _held(campaign_id)
        (found,) = reads.progress([campaign])
        if found.left:
            raise Settled(
                f"{found.left} of {campaign.items} items are not decided yet, and it is not due.",
                code="undecided",
            )
        comment = " ".join(filter(None, [_part_in(campaign, actor), comment]))
        closed = campaign.close(event=Event.SIGNED_OFF, actor=actor, comment=comment, now=now)
        closed.save()
        review_notices.settled(campaign_id, now=now)
    return closed


def _part_in(campaign: ReviewCampaign, actor: User) -> str:
    """Return what the signer had to do with what is signed off; nothing where that is nothing.

    Raises: OwnWork where another of compliance had nothing to do with it.
    """
    others = [each for each in people.compliance() if each.pk != actor.pk]
    share = reads.own_share(campaign.campaign_id, persons=[actor.pk, *(each.pk for each in others)])
    opener_id = reads.opening(campaign.campaign_id).actor_id
    many = share.get(actor.pk, 0)
    opened = actor.pk == opener_id
    if not many and not opened:
        return ""
    able = [each for each in others if each.pk != opener_id and each.pk not in share]
    parts = ["opened it"] if opened else []
    parts += [f"decided about {many} of its items"] if many else []
    if able:
        raise OwnWork(
            f"You {' and '.join(parts)}, so somebody else signs it off:"
            f" {', '.join(sorted(each.get_full_name() for each in able))}.",
            code="own_work",
        )
    roles = ["whoever opened it"] if opened else []
    roles += [f"a reviewer of {many} item{'' if many == 1 else 's'}"] if many else []
    return f"Signed off by {' and '.join(roles)}: nobody else of compliance could."


@transaction.atomic
def cancel(*, actor: User, campaign_id: uuid.UUID, reason: str, now: datetime) -> ReviewCampaign:
    """Close a campaign without its sign-off; what was decided stays decided.

    Raises: NotFound; NotAllowed for others than compliance; Settled when it is over; Invalid.
    """
    review_rules.only_compliance(actor)
    campaign = _held(campaign_id)
    reason = review_rules.text(
        reason, "comment", review_rules.REASON_MOST, "Say why it is cancelled."
    )
    closed = campaign.close(event=Event.CANCELLED, actor=actor, comment=reason, now=now)
    closed.save()
    review_notices.settled(campaign_id, now=now)
    return closed


def _hold(campaign_id: uuid.UUID) -> ReviewCampaign:
    """Hold a campaign until the transaction ends and return it as it stands. Raises: NotFound.

    Always before the requests' own locks, never after.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT approvals_review_hold(%s)", [campaign_id])
    return reads.campaign(campaign_id)


def _held(campaign_id: uuid.UUID) -> ReviewCampaign:
    """Hold a campaign that runs. Raises: NotFound; Settled."""
    campaign = _hold(campaign_id)
    if not campaign.is_open:
        raise Settled(f"This review is {campaign.get_event_display().lower()}.", code="closed")
    return campaign


def _undecided(rows: Sequence[ReviewItem]) -> None:
    """Raise Settled where anything was decided about one of the items."""
    earlier = ReviewDecision.objects.filter(item_id__in=[row.item_id for row in rows]).first()
    if earlier is not None:
        raise Settled(f"{earlier.actor_name} has decided on this already.", code="decided")
