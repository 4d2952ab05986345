"""Beat's schedule, in code: when the database says that something is due, and a few daily jobs.

Any number of beats may run; the one that holds an advisory lock in the database leads, the others
wait for it to go. PostgreSQL is the truth, so nothing is kept in a schedule file.
"""

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import structlog
from celery.beat import Scheduler
from celery.schedules import crontab, schedstate, schedule
from django.conf import settings
from django.db import DatabaseError, connection

from approvals.outbox import queue
from approvals.selectors import clock, due
from jitportal import watch

log = structlog.get_logger(__name__)

_LEADER_LOCK = 0x6A69_7462
_HOLDS = (
    "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted"
    " AND pid = pg_backend_pid() AND objid = %s)"
)
#: Seconds between two looks into the database for what is due.
LOOK_SECONDS = 0.5
#: Seconds after which a message is stale: long enough for clocks that are hours apart.
EXPIRES_SECONDS = 6 * 3600
#: Seconds after which the sweep is sent although nothing is due, so that a stopped one shows.
AT_LEAST_EVERY_SECONDS = 15.0
#: How often the ledger is looked at, and whether a mail of its checkpoint is due.
WATCH_EVERY = timedelta(minutes=1)
LATE_EVERY = timedelta(seconds=30)
MAIL_LOOK_EVERY = timedelta(minutes=10)
#: How often is looked which targets are to be compared with what was granted.
OBSERVE_LOOK_EVERY = timedelta(minutes=1)
#: How often is looked which scheduled reports are due.
REPORTS_LOOK_EVERY = timedelta(minutes=1)
#: How long after beat's start outside holders are asked for the first time.
HOLD_FIRST = timedelta(seconds=20)
#: When after beat's start, and then how often, is looked whether a night's verification is missing.
VERIFY_FIRST, VERIFY_LOOK_EVERY = timedelta(minutes=1), timedelta(minutes=10)


class WhenDue(schedule):
    """Due when the next moment in the database has come, and every few seconds besides.

    It keeps time by the monotonic clock, so that a host's clock that jumps changes nothing.
    """

    def __init__(self, next_moment: Callable[[], datetime | None], **options: Any) -> None:
        super().__init__(run_every=timedelta(seconds=AT_LEAST_EVERY_SECONDS), **options)
        self._next_moment = next_moment
        self._sent = -AT_LEAST_EVERY_SECONDS

    def is_due(self, last_run_at: datetime) -> schedstate:
        """Return whether to send the sweep now, and else how many seconds to wait at most."""
        silent_for = time.monotonic() - self._sent
        if silent_for >= AT_LEAST_EVERY_SECONDS:
            return self._send()
        try:
            next_at = self._next_moment()
            wait = (next_at - clock.now()).total_seconds() if next_at else LOOK_SECONDS
        except DatabaseError as error:
            connection.close()
            log.error("beat.database_away", error=type(error).__name__)
            return schedstate(is_due=False, next=LOOK_SECONDS)
        if wait <= 0.02 and silent_for >= LOOK_SECONDS / 2:
            return self._send()
        return schedstate(is_due=False, next=min(max(wait, 0.01), LOOK_SECONDS))

    def _send(self) -> schedstate:
        self._sent = time.monotonic()
        return schedstate(is_due=True, next=LOOK_SECONDS)


class Every(schedule):
    """Due `first` after the beat began, then every `each`, by the monotonic clock.

    A job that runs once an hour is not put off for another hour by every restart.
    """

    def __init__(self, each: timedelta, *, first: timedelta, **options: Any) -> None:
        super().__init__(run_every=each, **options)
        self._each = each.total_seconds()
        self._next = time.monotonic() + first.total_seconds()

    def is_due(self, last_run_at: datetime) -> schedstate:
        """Return whether to send it now, and else how many seconds to wait at most."""
        wait = self._next - time.monotonic()
        if wait > 0:
            return schedstate(is_due=False, next=min(wait, LOOK_SECONDS))
        self._next = time.monotonic() + self._each
        return schedstate(is_due=True, next=LOOK_SECONDS)


class LeadingScheduler(Scheduler):
    """A scheduler that works only while this beat leads."""

    def __init__(self, *args: Any, **options: Any) -> None:
        options["max_interval"] = LOOK_SECONDS
        super().__init__(*args, **options)
        self.leads = False
        self._heart = watch.BeatHeart()

    def tick(self, *args: Any, **options: Any) -> float:
        """Send what is due if this beat leads; return the seconds until the next look.

        Every entry is looked at every time: Celery's own queue of entries looks at the first alone,
        which is right only for schedules that know their times beforehand.
        """
        leads = self._lead()
        self._heart.beat(leads=leads)
        if not leads:
            return LOOK_SECONDS
        pause = LOOK_SECONDS
        for entry in list(self.schedule.values()):
            is_due, wait = entry.is_due()
            if is_due:
                self.reserve(entry)
                self.apply_entry(entry, producer=self.producer)
            pause = min(pause, wait)
        return pause

    def _lead(self) -> bool:
        """Hold or take the leader's lock; it goes with the connection that holds it."""
        try:
            with connection.cursor() as cursor:
                if self.leads:
                    # Ask for the lock itself: the connection that held it may be another's by now.
                    cursor.execute(_HOLDS, [_LEADER_LOCK])
                    self.leads = bool(cursor.fetchone()[0])
                if not self.leads:
                    cursor.execute("SELECT pg_try_advisory_lock(%s)", [_LEADER_LOCK])
                    self.leads = bool(cursor.fetchone()[0])
                    if self.leads:
                        log.info("beat.leads")
        except DatabaseError as error:
            self.leads = False
            connection.close()
            log.error("beat.database_away", error=type(error).__name__)
        return self.leads


def entries() -> dict[str, dict[str, Any]]:
    """Return beat's entries."""
    return {
        "ends": {
            "task": "work.ends",
            "schedule": WhenDue(due.next_end),
            "options": {"queue": "due", "expires": EXPIRES_SECONDS},
        },
        "due": {
            "task": "work.due",
            "schedule": WhenDue(due.next_moment),
            "options": {"queue": "due", "expires": EXPIRES_SECONDS},
        },
        **{
            f"pulse-{lane}": {
                "task": "watch.pulse",
                "args": (lane,),
                "schedule": Every(settings.WATCH_PULSE, first=settings.WATCH_PULSE),
                # As long as a sweep's message, so that it comes whenever theirs would.
                "options": {"queue": lane, "expires": EXPIRES_SECONDS},
            }
            for lane in queue.QUEUES
        },
        "late-removals": {
            "task": "removals.late",
            "schedule": Every(LATE_EVERY, first=LATE_EVERY),
            "options": {"queue": "due", "expires": EXPIRES_SECONDS},
        },
        "ledger-watch": {
            "task": "ledger.watch",
            "schedule": Every(WATCH_EVERY, first=WATCH_EVERY),
            "options": {"queue": "due", "expires": EXPIRES_SECONDS},
        },
        "ledger-hold": {
            "task": "ledger.hold",
            "schedule": Every(settings.LEDGER_HOLD, first=min(HOLD_FIRST, settings.LEDGER_HOLD)),
            "options": {"queue": "notices", "expires": EXPIRES_SECONDS},
        },
        "targets-observe": {
            "task": "targets.observe",
            "schedule": Every(OBSERVE_LOOK_EVERY, first=HOLD_FIRST),
            "options": {"queue": "notices", "expires": EXPIRES_SECONDS},
        },
        "ledger-mail": {
            "task": "ledger.mail",
            "schedule": Every(min(MAIL_LOOK_EVERY, settings.LEDGER_MAIL), first=HOLD_FIRST),
            "options": {"queue": "notices", "expires": EXPIRES_SECONDS},
        },
        "ledger-verify": {
            "task": "ledger.verify",
            "schedule": crontab(minute="23", hour="2"),
            "options": {"queue": "notices"},
        },
        "ledger-verify-missed": {
            "task": "ledger.verify_missed",
            "schedule": Every(VERIFY_LOOK_EVERY, first=VERIFY_FIRST),
            "options": {"queue": "notices", "expires": VERIFY_LOOK_EVERY.total_seconds()},
        },
        "reviews": {
            "task": "reviews.advance",
            "schedule": crontab(minute="7"),
            "options": {"queue": "notices"},
        },
        "reports": {
            "task": "reports.start",
            "schedule": Every(REPORTS_LOOK_EVERY, first=HOLD_FIRST),
            "options": {"queue": "notices", "expires": EXPIRES_SECONDS},
        },
        "repair-index": {
            "task": "index.repair",
            "schedule": crontab(minute="17"),
            "options": {"queue": "due"},
        },
        "clear-sessions": {
            "task": "sessions.clear",
            "schedule": crontab(minute="41", hour="3"),
            "options": {"queue": "due"},
        },
    }
