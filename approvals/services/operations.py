"""What operators do to work that is stuck: have it tried again without waiting for its turn."""

from collections.abc import Iterable
from datetime import datetime

import structlog
from django.db import transaction
from django.db.models import Q

from approvals.domain.refusals import NotAllowed
from approvals.models import OutboxItem, User
from approvals.outbox import circuits, queue

log = structlog.get_logger(__name__)


@transaction.atomic
def try_again(*, items: Iterable[int], actor: User, now: datetime) -> int:
    """Let waiting work be tried at once and wake its workers; return how many that were.

    Work that a worker holds is left alone: it is being tried. Raises: NotAllowed for others than
    operators.
    """
    if not actor.is_operator:
        raise NotAllowed("Only operators may do this.", code="not_operator")
    waiting = (
        OutboxItem.objects.select_for_update()
        .filter(pk__in=list(items))
        .filter(Q(leased_until=None) | Q(leased_until__lte=now))
    )
    rows = list(waiting)
    for target in {row.target for row in rows}:
        circuits.retry(target, now=now)
    for row in rows:
        queue.retry_now(row.pk, now=now)
        log.info("outbox.try_again", item=row.pk, topic=row.topic, actor=actor.get_username())
    for lane in {row.lane for row in rows}:
        transaction.on_commit(lambda lane=lane: queue.wake(lane))  # type: ignore[misc]
    return len(rows)
