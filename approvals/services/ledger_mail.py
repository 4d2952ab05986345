"""Mails the ledger's newest checkpoint to every compliance admin and to outside auditors.

A mailbox that a database administrator does not own is a holder: what was cut from the log, or
changed in it, does not agree with the mails. Each accepted mail is written down as a `Holding`.
"""

import re
from datetime import datetime
from functools import partial
from typing import Any

import structlog
from django.conf import settings
from django.db import connection, transaction

from approvals.models import OutboxItem, User
from approvals.outbox import queue
from approvals.selectors import people, telling
from approvals.services import notifications
from approvals.services.letters import ledger as letters
from audit.domain import note
from audit.models import Checkpoint
from audit.selectors import holders
from audit.selectors import log as reads
from audit.services import holding

log = structlog.get_logger(__name__)

TOPIC, LANE = "ledger.mail", "notices"
KIND = "ledger_checkpoint"
_LOCK = 0x6A69746D


@transaction.atomic
def put_due(*, now: datetime) -> int:
    """Put a mail for every reader who got none for LEDGER_MAIL; return how many.

    However often and wherever it runs: while one waits to be sent, there is no second.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
    readers: dict[str, Any] = {
        str(person.uid): {"recipient": person.pk} for person in people.compliance() if person.email
    }
    readers |= {name: {"auditor": name} for name in holders.auditors()}
    due = holding.due_mail(people=readers, now=now)
    waiting = [
        {key: payload[key] for key in ("recipient", "auditor") if key in payload}
        for payload in OutboxItem.objects.filter(topic=TOPIC).values_list("payload", flat=True)
    ]
    items = [
        queue.item(
            TOPIC,
            LANE,
            reader
            | {
                "at": now.isoformat(),
                "once_key": f"{KIND}:{next(iter(reader.values()))}:{now.isoformat()}",
            },
            now=now,
        )
        for reader in (readers[uid] for uid in due)
        if reader not in waiting
    ]
    return len(queue.put_many(items))


def send(item: OutboxItem, now: datetime) -> None:
    """Send one person the checkpoint that is the newest now, unless they are not to have it.

    Raises: notifications.DeliveryFailed, to be tried again later.
    """
    outside = item.payload.get("auditor")
    holder, person = _reader(item)
    fields = {"kind": KIND, "recipient": outside or item.payload["recipient"]}
    if person is None:
        log.info("notice.nobody", **fields)
        return
    if now - datetime.fromisoformat(item.payload["at"]) > settings.LEDGER_MAIL:
        log.info("notice.outdated", reason="the next one is due", **fields)
        return
    made = reads.current()
    checkpoint = reads.newest_checkpoint(made) if made else None
    if made is None or checkpoint is None:
        log.error("notice.no_checkpoint", **fields)
        return
    message = holders.cosigned_note(checkpoint)
    file = f"checkpoint-{checkpoint.size}.txt"
    case = letters.CheckpointCase(
        to=person,
        now=now,
        origin=made.origin,
        size=checkpoint.size,
        signed_at=checkpoint.signed_at,
        note=bytes(checkpoint.note).decode(),
        file=file,
        cosigners=len(note.read(message).signatures) - 1,
        is_outside=bool(outside),
    )
    try:
        notifications.deliver(
            kind=KIND,
            letter=letters.checkpoint(case),
            to=person,
            once_key=item.payload["once_key"],
            thread=f"ledger:{made.origin}",
            reference=made.origin,
            now=now,
            attachments=(notifications.Attachment(file, message),),
            also=partial(_accepted, checkpoint, holder, now),
        )
    except notifications.DeliveryFailed as error:
        # The row stays for ever, so it must not say the address, which may have to be erased.
        told = re.sub(re.escape(person.email), "the address", str(error), flags=re.IGNORECASE)
        holding.not_mailed(checkpoint=checkpoint, person=holder, error=told, now=now)
        raise


def _reader(item: OutboxItem) -> tuple[str, User | None]:
    """Return what rows call the reader, and the person; for an outside auditor an unsaved one."""
    if (name := item.payload.get("auditor")) is not None:
        address = holders.auditors().get(name)
        return name, User(email=address) if address else None
    person = telling.recipient(item.payload["recipient"])
    if person is None or not person.is_compliance or not person.email:
        return "", None
    return str(person.uid), person


def _accepted(checkpoint: Checkpoint, person: str, now: datetime, message_id: str) -> None:
    holding.mailed(
        checkpoint=checkpoint,
        person=person,
        message_id=message_id,
        outside=notifications.leaves_the_machine(),
        now=now,
    )
