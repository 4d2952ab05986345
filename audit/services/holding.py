"""Writing down what outside holders hold. A failure is written when it begins or changes its kind.

Here too: whose mailbox is due a checkpoint. Sending it is not this room's: see `due_mail`.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import structlog
from django.conf import settings
from django.db import connection, transaction

from audit.models import Checkpoint, Holding
from audit.selectors import holders
from audit.selectors import log as reads

log = structlog.get_logger(__name__)

ERROR_MOST = 500


def took(
    *,
    checkpoint: Checkpoint,
    kind: Holding.Kind,
    holder: str,
    evidence: bytes,
    detail: dict[str, Any],
    now: datetime,
    state: Holding.State = Holding.State.HELD,
) -> Holding:
    """Write down that a holder took a checkpoint, and log when it had failed before.

    The note stays beside evidence that is signed: nobody can say later that it was of another one.
    """
    assert state in Holding.TOOK
    if kind != Holding.Kind.MAIL:
        detail = detail | {holders.NOTE: bytes(checkpoint.note).decode()}
    before = holders.newest(checkpoint.log, kind=kind, holder=holder)
    row = Holding(
        log=checkpoint.log,
        size=checkpoint.size,
        kind=kind,
        holder=holder,
        state=state,
        occurred_at=now,
        evidence=evidence,
        detail=detail,
    )
    row.save()
    if before is not None and before.state not in Holding.TOOK:
        log.info("ledger.holder_back", kind=kind, holder=holder, size=checkpoint.size)
    return row


def failed(
    *,
    checkpoint: Checkpoint,
    kind: Holding.Kind,
    holder: str,
    state: Holding.State,
    error: str,
    detail: dict[str, Any],
    now: datetime,
) -> Holding | None:
    """Write down that a holder did not take a checkpoint, if that is news; else return None.

    One at a time for each holder, so that two that fail at once make one row.
    """
    assert state not in Holding.TOOK
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_advisory_xact_lock(hashtextextended(%s, 5))", [f"{kind}:{holder}"]
            )
        before = holders.newest(checkpoint.log, kind=kind, holder=holder)
        if before is not None and before.state == state:
            return None
        row = Holding(
            log=checkpoint.log,
            size=checkpoint.size,
            kind=kind,
            holder=holder,
            state=state,
            occurred_at=now,
            detail=detail,
            error=error[:ERROR_MOST],
        )
        row.save()
    tell = log.error if state == Holding.State.FORK else log.warning
    event = "ledger.fork" if state == Holding.State.FORK else "ledger.holder_failed"
    tell(event, kind=kind, holder=holder, size=checkpoint.size, error=error[:ERROR_MOST])
    return row


# -- mailboxes


def due_mail(*, people: Iterable[str], now: datetime) -> list[str]:
    """Return who of `people` (by uid) took no checkpoint for LEDGER_MAIL; none before the first."""
    made = reads.current()
    last = reads.newest_checkpoint(made) if made else None
    if made is None or last is None:
        return []
    recent = Holding.objects.filter(
        log=made,
        kind=Holding.Kind.MAIL,
        state__in=Holding.TOOK,
        size__lte=last.size,
        recorded_at__gt=now - settings.LEDGER_MAIL,
    )
    served = set(recent.values_list("holder", flat=True))
    return [uid for uid in people if uid not in served]


def mailed(
    *, checkpoint: Checkpoint, person: str, message_id: str, outside: bool, now: datetime
) -> Holding:
    """Write down that a mail server took the checkpoint for a person (by uid).

    `outside` is whether it left this machine: the demo's folder and the log are no mailbox.
    """
    return took(
        checkpoint=checkpoint,
        kind=Holding.Kind.MAIL,
        holder=person,
        evidence=message_id.encode(),
        detail={},
        now=now,
        state=Holding.State.HELD if outside else Holding.State.INSIDE,
    )


def not_mailed(*, checkpoint: Checkpoint, person: str, error: str, now: datetime) -> None:
    """Write down that no mail server took the checkpoint for a person, if that is news."""
    failed(
        checkpoint=checkpoint,
        kind=Holding.Kind.MAIL,
        holder=person,
        state=Holding.State.UNREACHABLE,
        error=error,
        detail={},
        now=now,
    )
