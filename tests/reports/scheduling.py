"""What the tests about scheduled reports share."""

import threading
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.core import mail
from django.db import connection

from approvals import handlers
from approvals.models import (
    ReportRun,
    ReportSchedule,
    SavedReport,
    User,
)
from approvals.reports import registry, saved, schedules
from approvals.reports.frame import Filters
from approvals.reports.schedules import Terms
from approvals.selectors import clock
from tests.world import World

BERLIN = ZoneInfo("Europe/Berlin")
real = pytest.mark.django_db(transaction=True)
NAME = "who-had-access"


def keep(
    who: User,
    *,
    name: str = "Weekly",
    report: str = NAME,
    period: str = "month_to_date",
    **more: Any,
) -> SavedReport:
    now = clock.now()
    chosen = Filters(now.date(), now.date(), BERLIN, **more)
    return saved.save(
        actor=who, name=name, report=registry.report(report), period=period, filters=chosen, now=now
    )


def terms(*to: User, **more: Any) -> Terms:
    given: dict[str, Any] = {
        "frequency": "daily", "weekday": None, "month_day": None, "hour": 8, "format": "csv",
        "recipients": tuple(person.pk for person in to),
    }  # fmt: skip
    return Terms(**given | more)


def scheduled(
    world: World, *to: User, at: datetime | None = None, period: str = "month_to_date", **more: Any
) -> ReportSchedule:
    """Return dora's schedule of a report; `at` is its next moment."""
    report = keep(world.dora, period=period)
    made = schedules.put(
        actor=world.dora, saved_id=report.pk, terms=terms(*(to or (world.dora,)), **more),
        now=clock.now(),
    )  # fmt: skip
    if at is not None:
        ReportSchedule.objects.filter(pk=made.pk).update(next_at=at)
        made.refresh_from_db()
    return made


def last_planned(made: ReportSchedule) -> datetime:
    """Return the schedule's latest moment that has passed."""
    now = clock.now()
    return list(made.rule.between(now - timedelta(days=2), now))[-1]


def events(made: ReportSchedule) -> list[str]:
    rows = ReportRun.objects.filter(schedule=made.uid).order_by("planned_at", "revision")
    return list(rows.values_list("event", flat=True))


def ended(world: World) -> None:
    """Let there be an access that has ended, of which everybody was told."""
    world.ended(minutes=1)
    handlers.work("notices")
    mail.outbox.clear()


def run(made: ReportSchedule) -> None:
    """Let the planned moment that has come be begun and its mails be sent."""
    schedules.start_due(now=clock.now())
    handlers.work("notices")


def race(calls: Sequence[Callable[[], Any]]) -> list[Any]:
    barrier = threading.Barrier(len(calls))
    results: list[Any] = [None] * len(calls)

    def one(index: int) -> None:
        try:
            connection.ensure_connection()
            barrier.wait(timeout=30)
            results[index] = calls[index]()
        except Exception as error:
            results[index] = error
        finally:
            connection.close()

    threads = [threading.Thread(target=one, args=(index,)) for index in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    return results
