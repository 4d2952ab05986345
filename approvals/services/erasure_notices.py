"""Tells everybody who may withdraw an erasure that one was approved, while there is time to.

Whoever has the application's database role could insert an approval that nobody gave; what is told
of is the row, whoever wrote it.
"""

import uuid
from datetime import datetime

import structlog
from django.db import connection, transaction

from approvals.models import Notice, OutboxItem, User
from approvals.outbox import queue
from approvals.selectors import people, personal, telling
from approvals.services import notifications
from approvals.services.letters import erasing as letters
from audit.models import Erasure
from audit.selectors import erasures
from audit.services import vouching

log = structlog.get_logger(__name__)

TOPIC, LANE = "erasure.approved", "notices"
KIND = "erasure_approved"
_LOCK = 0x6A69_7465_61


@transaction.atomic
def announce(*, now: datetime) -> int:
    """Put a mail for each reader and each approved erasure that has none yet; return how many."""
    approved = erasures.approved()
    if not approved:
        return 0
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
    due = [(each, person) for each in approved for person in _readers()]
    keys = {_once_key(each.erasure_id, person.pk) for each, person in due}
    told = set(Notice.objects.filter(once_key__in=keys).values_list("once_key", flat=True))
    told |= set(OutboxItem.objects.filter(topic=TOPIC).values_list("payload__once_key", flat=True))
    items = [
        queue.item(
            TOPIC,
            LANE,
            {
                "erasure": str(each.erasure_id),
                "recipient": person.pk,
                "once_key": _once_key(each.erasure_id, person.pk),
            },
            now=now,
        )
        for each, person in due
        if _once_key(each.erasure_id, person.pk) not in told
    ]
    return len(queue.put_many(items))


def _readers() -> list[User]:
    found = {person.pk: person for person in [*people.operators(), *people.compliance()]}
    return [found[pk] for pk in sorted(found)]


def send(item: OutboxItem, now: datetime) -> None:
    """Send one person one approved erasure, unless it is over already.

    Raises: notifications.DeliveryFailed, to be tried again later.
    """
    person = telling.recipient(item.payload["recipient"])
    revisions = erasures.one(uuid.UUID(item.payload["erasure"]))
    fields = {"kind": KIND, "recipient": item.payload["recipient"]}
    if person is None or person not in _readers():
        log.info("notice.nobody", **fields)
        return
    if not revisions or revisions[-1].event != Erasure.Event.APPROVED:
        log.info("notice.outdated", reason="it is over", **fields)
        return
    approved = revisions[-1]
    names = personal.names([approved.person_id])
    case = letters.ApprovedCase(
        to=person,
        now=now,
        erasure_id=approved.erasure_id,
        whose=names.get(approved.person_id, "nobody"),
        asked_by=approved.asked_by_name,
        approved_by=approved.decided_by_name,
        reference=approved.reference,
        due_at=vouching.due(approved) or now,
    )
    notifications.deliver(
        kind=KIND,
        letter=letters.approved(case),
        to=person,
        once_key=item.payload["once_key"],
        thread=f"{TOPIC}:{approved.erasure_id}",
        reference="erasure",
        now=now,
        in_centre=True,
    )


def _once_key(erasure_id: uuid.UUID, person: int) -> str:
    return f"{TOPIC}:{erasure_id}:{person}"
