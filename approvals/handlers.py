"""The event map: which topic of the outbox causes what. All side effects are on this page."""

import itertools
import uuid
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import datetime

import structlog
from django.db import transaction

from approvals.models import OutboxItem
from approvals.outbox import circuits, holding, queue, turns
from approvals.reports import sending
from approvals.selectors import clock
from approvals.services import (
    digests,
    directory,
    erasure_notices,
    escalation,
    grants,
    ledger_mail,
    ledger_watch,
    notifications,
    provisioning,
    removals,
    review_notices,
    starts,
)

log = structlog.get_logger(__name__)

#: Items that one task claims at a time, per lane whose work calls no target.
CLAIM = {"due": 50, "notices": 20, "news": 20}


def _remind(item: OutboxItem, now: datetime) -> None:
    escalation.remind(
        request_id=uuid.UUID(item.payload["request_id"]),
        level=item.payload["level"],
        escalations=item.payload["escalations"],
        at=datetime.fromisoformat(item.payload["at"]),
        now=now,
    )


def _directory_changed(item: OutboxItem, now: datetime) -> None:
    directory.changed(keys=item.payload["keys"], now=now)


def _start(item: OutboxItem, now: datetime) -> None:
    starts.begin(
        request_id=uuid.UUID(item.payload["request_id"]),
        is_ready=item.payload["is_ready"],
        now=now,
    )


Clock = Callable[[], datetime]
Handler = Callable[[Sequence[OutboxItem], Clock], None]


def each(handle: Callable[[OutboxItem, datetime], None], *, atomic: bool) -> Handler:
    """Return a handler that does items one by one; a failing one is tried again later.

    `atomic` handlers commit together with the removal of their item, so they happen exactly once.
    """

    def run(items: Sequence[OutboxItem], tell: Clock) -> None:
        for item in items:
            now = tell()
            try:
                if atomic:
                    with transaction.atomic():
                        handle(item, now)
                        queue.done([item])
                else:
                    handle(item, now)
                    queue.done([item])
            except Exception as error:
                log.exception("outbox.failed", topic=item.topic, item=item.pk)
                queue.failed(item, error=f"{type(error).__name__}: {error}", now=now)

    return run


def together(handle: Callable[[Sequence[OutboxItem]], None]) -> Handler:
    """Return a handler that is given all items of a claim, and keeps time and errors itself."""

    def run(items: Sequence[OutboxItem], tell: Clock) -> None:
        handle(items)

    return run


HANDLERS: dict[str, Handler] = {
    "request.remind": each(_remind, atomic=True),
    "directory.changed": each(_directory_changed, atomic=False),
    "notice.send": each(notifications.send, atomic=False),
    "notice.digest": each(digests.send, atomic=False),
    "ledger.mail": each(ledger_mail.send, atomic=False),
    "ledger.alarm": each(ledger_watch.send, atomic=False),
    "erasure.approved": each(erasure_notices.send, atomic=False),
    "review.notice": each(review_notices.send, atomic=False),
    "report.run": each(sending.send, atomic=False),
    "grant.start": each(_start, atomic=True),
    "grant.ready": together(provisioning.ready),
    "grant.apply": together(provisioning.apply),
    "grant.withdraw": together(removals.withdraw),
    "grant.cleanup": together(removals.cleanup),
}


def work(
    lane: str,
    *,
    now: datetime | None = None,
    until: Callable[[datetime], datetime] = lambda now: now,
    claims: int | None = None,
) -> int:
    """Do what is due in a lane until nothing is; return how many items were worked on.

    Before each claim `until` turns the moment into the one by which an item has to have come due;
    there are at most `claims`. Targets are called one after another; a worker calls them side by
    side (`approvals.abreast`). `now` is for those who ask what will be due; else it is the
    database's clock, ever anew.
    """
    tell: Clock = (lambda: now) if now else clock.now
    if lane == "provisioning":
        return _work_targets(tell)
    total = 0
    for _ in itertools.count() if claims is None else range(claims):
        at = tell()
        items = queue.claim(lane=lane, limit=CLAIM[lane], now=at, due=until(at))
        if not items:
            break
        total += _hand_out(items, tell)
    return total


def _work_targets(tell: Clock) -> int:
    total = 0
    while True:
        due = circuits.due_targets(lane="provisioning", now=tell())
        worked = sum(work_target(target, tell) for target in due)
        if not worked:
            return total
        total += worked


def work_target(target: str, tell: Clock = clock.now) -> int:
    """Do what is due at one target until nothing is; return how many items were worked on."""
    total = 0
    while worked := work_batch(target, tell):
        total += worked
    return total


def work_batch(
    target: str, tell: Clock = clock.now, called: Callable[[], None] | None = None
) -> int:
    """Do what one claim at a target brings; return how many items that were.

    `called` is told when all calls are made: the next batch may begin while this one is recorded.
    """
    claim = circuits.claim(target, lane="provisioning", now=tell())
    _hand_out(claim.items, tell, called)
    if claim.probe_until is not None:
        circuits.probed(target, probe_until=claim.probe_until, now=tell())
    return len(claim.items)


def _hand_out(
    items: Sequence[OutboxItem], tell: Clock, called: Callable[[], None] | None = None
) -> int:
    """Do what was claimed together, removals first.

    Access must not stay for as long as a slow target takes to make others.
    """
    if not items:
        return 0
    by_topic: dict[str, list[OutboxItem]] = defaultdict(list)
    for item in items:
        by_topic[item.topic].append(item)
    topics = sorted(by_topic, key=lambda topic: topic not in grants.REMOVALS)
    with holding.held(items, tell=tell):
        for topic in topics:
            try:
                with turns.taken(called if topic == topics[-1] else None):
                    HANDLERS[topic](by_topic[topic], tell)
            except Exception as error:
                log.exception("outbox.batch_failed", topic=topic)
                _give_back(by_topic[topic], error)
    return len(items)


def _give_back(batch: Sequence[OutboxItem], error: Exception) -> None:
    """Let the items of a broken batch be tried again; those that were done are gone already."""
    now = clock.now()
    for item in batch:
        queue.failed(item, error=f"{type(error).__name__}: {error}", now=now)
