"""Sends digests: at most one mail a day to a person, with all that waits, none when empty."""

from datetime import datetime
from functools import partial

import structlog
from django.db import transaction

from approvals.models import NoticeEntry, OutboxItem
from approvals.selectors import noticing, telling
from approvals.services import notice_centre, notifications
from approvals.services.letters import digest as letters

log = structlog.get_logger(__name__)

KIND = "digest"


def send(item: OutboxItem, now: datetime) -> None:
    """Send one person what waits for a digest, unless nothing does or today's was sent.

    May run twice and side by side. Raises: notifications.DeliveryFailed, to be tried again later.
    """
    fields = {"kind": KIND, "recipient": item.payload["recipient"]}
    person = telling.recipient(item.payload["recipient"])
    if person is None or not person.is_active or not person.email:
        log.info("notice.nobody", **fields)
        return
    chosen = noticing.chosen(person)
    once_key = f"{notice_centre.DIGEST}:{person.pk}:{now.astimezone(chosen.zone).date()}"
    if telling.was_told(once_key):
        with transaction.atomic():
            due = chosen.next_digest_at(after=now)
            if NoticeEntry.objects.filter(person=person, digest_at__isnull=False).exists():
                notice_centre.put_digest(person.pk, due=due, now=now)
        return
    entries = noticing.waiting_for_digest(person.pk)
    if entries:
        notifications.deliver(
            kind=KIND,
            letter=letters.write(letters.DigestCase(to=person, entries=entries, now=now)),
            to=person,
            once_key=once_key,
            thread=f"{notice_centre.DIGEST}:{person.pk}",
            reference="digest",
            now=now,
            also=partial(_went, entries),
        )
    else:
        log.info("notice.outdated", reason="nothing waits", **fields)
    notice_centre.past_digest(person.pk, now=now)


def _went(entries: list[NoticeEntry], message_id: str) -> None:
    notice_centre.sent_in_digest(entries)
