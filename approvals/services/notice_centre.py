"""Writes people's notice centres: what enters, is read, is settled, and waits for a digest.

Sending is `notifications`, the digest's own mail is `digests`.
"""

import uuid
from datetime import datetime

from django.db import transaction
from django.db.models import Q

from approvals.domain.notices import ASKING, QUESTIONS, REVIEW_ASKS, Chosen
from approvals.domain.refusals import NotFound
from approvals.models import Asked, Notice, NoticeEntry, OutboxItem, User
from approvals.outbox import queue
from approvals.selectors import noticing, telling

LANE = "notices"
DIGEST = "notice.digest"


def enter(notice: Notice, *, digest: Chosen | None, now: datetime) -> None:
    """Let a notice of the portal's channel stand in its recipient's centre, unread.

    With `digest`, the choices of somebody who wants it in the next digest. In the transaction that
    writes the notice.
    """
    NoticeEntry.objects.create(
        notice=notice,
        person_id=notice.recipient_id,
        request_id=notice.request_id,
        asks=notice.kind in ASKING,
    )
    if digest is not None:
        wait_for_digest(notice.once_key, person_id=notice.recipient_id, chosen=digest, now=now)


@transaction.atomic
def wait_for_digest(once_key: str, *, person_id: int, chosen: Chosen, now: datetime) -> None:
    """Let an unread line wait for the next digest, and see to it that one comes."""
    due = chosen.next_digest_at(after=now)
    waiting = NoticeEntry.objects.filter(notice__once_key=once_key, read_at__isnull=True)
    if waiting.update(digest_at=due):
        put_digest(person_id, due=due, now=now)


def put_digest(person_id: int, *, due: datetime, now: datetime) -> None:
    """Put the work of a digest, unless one that nobody has begun waits already.

    One that waits is locked, so that no worker begins it before the transaction's lines are there.
    """
    key = f"{DIGEST}:{person_id}"
    waiting = OutboxItem.objects.filter(key=key, leased_until__isnull=True)
    if not waiting.select_for_update().exists():
        payload = {"recipient": person_id, "due": due.isoformat()}
        queue.put(topic=DIGEST, lane=LANE, payload=payload, now=now, key=key, not_before=due)


@transaction.atomic
def reschedule(person_id: int, *, chosen: Chosen, now: datetime) -> None:
    """Move what waits for a digest to the hour that was chosen anew."""
    due = chosen.next_digest_at(after=now)
    if NoticeEntry.objects.filter(person_id=person_id, digest_at__isnull=False).update(
        digest_at=due
    ):
        OutboxItem.objects.filter(
            key=f"{DIGEST}:{person_id}", leased_until__isnull=True, first_failed_at__isnull=True
        ).delete()
        put_digest(person_id, due=due, now=now)


def settle(request_id: uuid.UUID, *, now: datetime) -> int:
    """Mark questions about a request as read for those who are not asked any more; return how many.

    Counts and digests leave them out before that already: it keeps what they look through small.
    """
    asked = Asked.objects.filter(request_id=request_id).values("person_id")
    return (
        NoticeEntry.objects.filter(request_id=request_id, asks=True, read_at__isnull=True)
        .exclude(person_id__in=asked)
        .update(read_at=now)
    )


def settle_review(campaign_id: uuid.UUID, *, still: Q | None, now: datetime) -> int:
    """Mark what asks about a review as read for those whom it needs no more; return how many.

    `still` is the condition that a line's person has something to decide; None when the review is
    over, and with it what asks to sign it off.
    """
    lines = NoticeEntry.objects.filter(read_at__isnull=True)
    if still is None:
        return lines.filter(noticing.about_review(campaign_id, REVIEW_ASKS)).update(read_at=now)
    asks = noticing.about_review(campaign_id, REVIEW_ASKS - {"review_ready"})
    return lines.filter(asks).exclude(still).update(read_at=now)


def settle_questions(request_id: uuid.UUID, *, number: int | None = None, now: datetime) -> int:
    """Mark the question of a number, or all about a request, as read; return how many were not."""
    which = "" if number is None else f"{number}:"
    key = telling.key("portal", f"{request_id}:question:{which}")
    lines = NoticeEntry.objects.filter(read_at__isnull=True, notice__once_key__startswith=key)
    return lines.update(read_at=now)


def read(*, actor: User, notice_id: int, now: datetime) -> None:
    """Mark one of the actor's own lines as read; again changes nothing. Raises: NotFound."""
    mine = NoticeEntry.objects.filter(person_id=actor.pk, notice_id=notice_id)
    if not mine.exists():
        raise NotFound("There is no such notice.")
    mine.filter(read_at__isnull=True).update(read_at=now)


def read_about(request_id: uuid.UUID, *, actor: User, now: datetime) -> int:
    """Mark what told the actor about a request as read; return how many were not.

    What asks something of them stays: it is settled by what they do, not by their looking at it.
    """
    told = NoticeEntry.objects.filter(
        person_id=actor.pk, request_id=request_id, asks=False, read_at__isnull=True
    )
    return told.exclude(notice__kind__in=QUESTIONS).update(read_at=now)


def read_all(*, actor: User, up_to: int, now: datetime) -> int:
    """Mark the actor's lines up to the number `up_to` as read; return how many were not.

    What came after the page that they saw stays unread.
    """
    return NoticeEntry.objects.filter(
        person_id=actor.pk, notice_id__lte=up_to, read_at__isnull=True
    ).update(read_at=now)


def past_digest(person_id: int, *, now: datetime) -> None:
    """Let what was due in a digest by now, but was read or settled before, wait for no other."""
    NoticeEntry.objects.filter(person_id=person_id, digest_at__lte=now).update(digest_at=None)


def sent_in_digest(entries: list[NoticeEntry]) -> None:
    """Let lines wait for no digest any more: it was sent."""
    ids = [entry.pk for entry in entries]
    NoticeEntry.objects.filter(pk__in=ids).update(digest_at=None)
