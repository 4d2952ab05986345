"""Celery's tasks. Each may run twice, late, or be killed: the database knows what is to be done."""

import time
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta

import structlog
from celery import shared_task
from django.conf import settings
from django.core.management import call_command

from approvals import abreast, handlers
from approvals.outbox import queue
from approvals.reports import schedules
from approvals.selectors import clock, due
from approvals.services import (
    asked,
    counting,
    erasure_notices,
    escalation,
    grants,
    handover,
    ledger_mail,
    ledger_watch,
    overdue,
    process_watch,
    reconciliation,
    reviews,
)
from approvals.services.singly import alone as _alone
from audit.selectors import state as ledger_state
from audit.services import timestamping, verifying, witnessing

log = structlog.get_logger(__name__)

#: Seconds that one sweep stays and waits for what is due next, before it leaves it to the next one.
LINGER_SECONDS = 10.0
#: Seconds ahead that a sweep waits for rather than ends.
AHEAD_SECONDS = 1.5
#: Seconds between two steps while there is work: what comes due meanwhile shares a transaction.
PACE_SECONDS = 0.03
#: Access that ends within this time is as good as being removed.
SOON = timedelta(seconds=1)
#: A removal that is due for longer waits for its target, and nothing else waits for that.
HURRY = timedelta(seconds=10)
_ENDS_LOCK = 0x6A69_7465
_DUE_LOCK = 0x6A69_7464
_HOLD_LOCK = 0x6A69_7468
_VERIFY_LOCK = 0x6A69_7476
#: Seconds for which a request that can't be evaluated is left alone before it is tried again.
PAUSE_SECONDS = 60.0

_paused: dict[uuid.UUID, float] = {}


def _linger(step: Callable[[], bool], next_moment: Callable[[], datetime | None]) -> bool:
    """Repeat `step` while it finds work or more is due within moments, for a while.

    Returns whether it left because its time was up, so that another has to take over at once.
    """
    leave_at = time.monotonic() + LINGER_SECONDS
    while True:
        worked = step()
        if time.monotonic() >= leave_at:
            return True
        if worked:
            time.sleep(PACE_SECONDS)
            continue
        next_at = next_moment()
        pause = (next_at - clock.now()) / timedelta(seconds=1) if next_at else AHEAD_SECONDS + 1
        if not 0 < pause <= AHEAD_SECONDS:
            return False  # later, or something that can't be done now: beat looks again
        time.sleep(pause)


def sweep_ends() -> bool:
    """End the access whose time is up, and nothing else, so that nothing else can delay it.

    It stays while more ends within moments, so that access ends within hundredths of a second of
    its time however far apart two sweeps are begun. Returns whether another has to follow at once.
    """
    with _alone(_ENDS_LOCK) as alone:
        return alone and _linger(lambda: abreast.end_due() > 0, due.next_end)


def sweep_due() -> bool:
    """Do what else the clock asks for: escalations, lapses, reminders; wake the other lanes.

    Returns whether another has to follow at once.
    """
    woken: dict[str, float] = {}

    def step() -> bool:
        now = clock.now()
        worked = _advance_levels(now)
        worked = handlers.work("due") > 0 or worked
        for lane in due.lanes(now=now):
            if lane != "due" and time.monotonic() - woken.get(lane, 0) > 1:
                woken[lane] = time.monotonic()
                queue.wake(lane)
        return worked

    with _alone(_DUE_LOCK) as alone:
        return alone and _linger(step, lambda: due.next_moment(lanes=["due"]))


def sweep_provisioning() -> bool:
    """Make and remove access at the targets until nothing is due."""
    abreast.provision()
    return False


def sweep_notices() -> bool:
    """Send the notices that are due; news wait while access is being removed, but not for long."""
    while True:
        handlers.work("notices")  # anew before each claim of news: what asks waits for few of them
        if not handlers.work("news", until=_unhurried, claims=1):
            return False


def _unhurried(now: datetime) -> datetime:
    """Return by when what can wait has to have come due, to be done now.

    Its own age decides, so that it waits no longer however often removals pause and workers start.
    """
    return now - queue.PUT_OFF if _is_removing(now) else now


def _is_removing(now: datetime) -> bool:
    if due.is_there(grants.REMOVALS, lane="provisioning", since=now - HURRY, now=now):
        return True
    next_at = due.next_end()
    return next_at is not None and next_at <= now + SOON


@shared_task(name="work.ends")
def work_ends() -> None:
    """End the access whose time is up (`sweep_ends`)."""
    if sweep_ends():
        queue.wake("ends")


@shared_task(name="work.due")
def work_due() -> None:
    """Do what else the clock asks for (`sweep_due`)."""
    if sweep_due():
        queue.wake("due")


def _advance_levels(now: datetime) -> bool:
    """Escalate and lapse what is due; a request that can't be evaluated stops no other."""
    worked = False
    for request_id in due.levels(now=now):
        if _paused.get(request_id, 0) > time.monotonic():
            continue
        try:
            worked = bool(escalation.advance(request_id, now=clock.now())) or worked
            _paused.pop(request_id, None)
        except Exception:
            log.exception("level.unreadable", request=str(request_id))
            _paused[request_id] = time.monotonic() + PAUSE_SECONDS
    return worked


@shared_task(name="work.provisioning")
def work_provisioning() -> None:
    """Make and remove access at the targets until nothing is due."""
    sweep_provisioning()


@shared_task(name="work.notices")
def work_notices() -> None:
    """Send the notices that are due."""
    sweep_notices()


@shared_task(name="index.repair")
def repair_index() -> None:
    """Compare the index of who is asked with the directory, and mend and report what differs."""
    now = clock.now()
    for line in asked.differences(now=now):
        log.error("index.differs", what=line)
    asked.rebuild(now=now)


def sweep_late_removals() -> bool:
    """Record and alarm removals that are late though nobody could try them."""
    return overdue.note(now=clock.now()) > 0


@shared_task(name="removals.late")
def note_late_removals() -> None:
    """Record and alarm removals that are late though nobody could try them."""
    while sweep_late_removals():
        pass


@shared_task(name="ledger.hold")
def ledger_hold() -> None:
    """Have witnesses and timestamp authorities take the newest checkpoint, one task at a time."""
    with _alone(_HOLD_LOCK) as alone:
        if alone:
            witnessing.hold(now=clock.now())
            timestamping.hold(now=clock.now())


@shared_task(name="ledger.mail")
def ledger_mail_due() -> None:
    """Put the mails of the newest checkpoint that are due; the lane sends them."""
    ledger_mail.put_due(now=clock.now())


# Acknowledged at once: it takes longer than a broker waits, and a lost one is done the next night.
@shared_task(name="ledger.verify", acks_late=False)
def ledger_verify() -> None:
    """Compare the database with its log, and keep the outcome for the audit page.

    It is held to what this process was told from outside the database: the key, if it has one, and
    what witnesses and timestamp authorities signed.
    """
    _verify(by="nightly")


@shared_task(name="ledger.verify_missed", acks_late=False)
def ledger_verify_missed() -> None:
    """Verify as in the night where no night has: after the first seal, or after days switched off.

    So that nobody has to wait for the next night to see whether the records are what was sealed.
    """
    with _alone(_VERIFY_LOCK) as alone:
        if alone and ledger_state.is_verification_missed():
            _verify(by="the portal, as no night had")


def _verify(*, by: str) -> None:
    vkeys = [settings.LEDGER_VKEY] if settings.LEDGER_VKEY else []
    verifying.run(by=by, vkeys=vkeys, vouched=True)


@shared_task(name="ledger.watch")
def ledger_watch_now() -> None:
    """Raise the alarm when the ledger stands still or is contradicted, and tell when it is over.

    Approved erasures are told of too, while they can be withdrawn.
    """
    ledger_watch.watch(now=clock.now())
    erasure_notices.announce(now=clock.now())


@shared_task(name="watch.pulse")
def watch_pulse(lane: str) -> None:
    """Say that a message of beat has come through the broker to a worker of the queue."""
    process_watch.pulsed(queue=lane)


@shared_task(name="reviews.advance")
def advance_reviews() -> None:
    """Settle access reviews that are due, and remind those who have not decided."""
    reviews.advance(now=clock.now())


@shared_task(name="reports.start")
def start_reports() -> None:
    """Begin the runs of scheduled reports whose moment has come; the lane makes and mails them."""
    schedules.start_due(now=clock.now())


@shared_task(name="targets.observe")
def observe_targets() -> None:
    """Compare what targets hold with what was granted, those that are due.

    While access is being removed they wait, but not for long.
    """
    reconciliation.look_around(until=_unhurried)


WAKE = {
    "ends": (work_ends, "due"),
    "due": (work_due, "due"),
    "provisioning": (work_provisioning, "provisioning"),
    "notices": (work_notices, "notices"),
    "news": (work_notices, "notices"),
    "targets": (observe_targets, "notices"),
}


#: What the workers of each queue do by themselves while no message comes, side by side, and the
#: seconds between two looks.
SWEEPS: dict[str, tuple[tuple[Callable[[], bool], float], ...]] = {
    "due": ((sweep_ends, 1.0), (sweep_due, 1.0), (sweep_late_removals, 30.0)),
    "provisioning": ((sweep_provisioning, 1.0),),
    "notices": ((sweep_notices, 1.0),),
}

#: Seconds between two messages to a lane: what comes meanwhile is found by whom the first woke.
WAKE_PAUSES = {"provisioning": 0.05, "notices": 0.25, "news": 1.0}


def wake(lane: str) -> None:
    """Send the lane's task to its workers."""
    task, where = WAKE[lane]
    task.apply_async(queue=where, retry=False, ignore_result=True)


@shared_task(name="sessions.clear")
def clear_sessions() -> None:
    """Remove sign-ins that ran out, and what targets gave for accesses that have ended.

    So goes what is over in the cache, whose keys hold the addresses that people came from.
    """
    call_command("clearsessions")
    handover.clear()
    counting.clear(now=clock.now())
