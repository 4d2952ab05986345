"""Celery's tasks. Each may run twice, late, or be killed: the database knows what is to be done."""

import time
from datetime import timedelta

import structlog
from celery import shared_task
from django.core.management import call_command
from django.db import connection

from approvals import handlers
from approvals.outbox import queue
from approvals.selectors import clock, due
from approvals.services import asked, escalation, grants

log = structlog.get_logger(__name__)

#: Seconds that one sweep stays and waits for what is due next, before it leaves it to the next one.
LINGER_SECONDS = 10.0
#: Seconds ahead that a sweep waits for rather than ends.
AHEAD_SECONDS = 1.5
_SWEEPER_LOCK = 0x6A69_7470


@shared_task(name="work.due")
def work_due() -> None:
    """Do what the clock asks for: ends, escalations, lapses, reminders; wake the other lanes.

    One sweep runs at a time. It stays while more is due within moments, so that access ends within
    hundredths of a second of its time however far apart beat's messages are.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [_SWEEPER_LOCK])
        if not cursor.fetchone()[0]:
            return
    try:
        _sweep()
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [_SWEEPER_LOCK])


def _sweep() -> None:
    leave_at = time.monotonic() + LINGER_SECONDS
    woken: dict[str, float] = {}
    while True:
        now = clock.now()
        ended = grants.end_due(now=now)
        for request_id in due.levels(now=now):
            escalation.advance(request_id, now=clock.now())
        handlers.work("due")
        for lane in due.lanes(now=now):
            if lane != "due" and time.monotonic() - woken.get(lane, 0) > 1:
                woken[lane] = time.monotonic()
                queue.wake(lane)
        if time.monotonic() >= leave_at:
            return
        if ended:
            continue
        next_at = due.next_moment(lanes=["due"])
        if next_at is None:
            return
        pause = (next_at - clock.now()) / timedelta(seconds=1)
        if pause > AHEAD_SECONDS:
            return
        time.sleep(max(pause, 0.005))


@shared_task(name="work.provisioning")
def work_provisioning() -> None:
    """Make and remove access at the targets until nothing is due."""
    handlers.work("provisioning")


@shared_task(name="work.notices")
def work_notices() -> None:
    """Send the notices that are due."""
    handlers.work("notices")


@shared_task(name="index.repair")
def repair_index() -> None:
    """Compare the index of who is asked with the directory, and mend and report what differs."""
    now = clock.now()
    for line in asked.differences(now=now):
        log.error("index.differs", what=line)
    asked.rebuild(now=now)


WAKE = {"due": work_due, "provisioning": work_provisioning, "notices": work_notices}


def wake(lane: str) -> None:
    """Send the lane's task to its workers."""
    WAKE[lane].apply_async(queue=lane, retry=False, ignore_result=True)


@shared_task(name="sessions.clear")
def clear_sessions() -> None:
    """Remove sign-ins that ran out."""
    call_command("clearsessions")
