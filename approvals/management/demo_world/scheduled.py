"""Reports that dora has saved, and the one that is mailed every week; its first run waits."""

from datetime import datetime
from zoneinfo import ZoneInfo

from django.conf import settings

from approvals.domain.periods import Frequency, Period
from approvals.models import ReportSchedule, User
from approvals.reports import registry, saved, schedules
from approvals.reports.frame import Filters


def save(*, cast: dict[str, User], now: datetime) -> ReportSchedule:
    """Save two reports for dora, schedule one of them, and let it run once."""
    dora = cast["dora"]
    zone = ZoneInfo(dora.timezone or settings.TIME_ZONE)
    today = now.astimezone(zone).date()
    chosen = Filters(first=today, last=today, zone=zone)
    kept = {
        name: saved.save(
            actor=dora, name=name, report=registry.report(report), period=str(period),
            filters=chosen, now=now,
        )
        for name, report, period in (
            ("Access of the last month", "who-had-access", Period.LAST_30),
            ("Removals of the quarter", "removal-timeliness", Period.LAST_QUARTER),
        )
    }  # fmt: skip
    weekly = kept["Access of the last month"]
    made = schedules.put(
        actor=dora,
        saved_id=weekly.pk,
        terms=schedules.Terms(
            frequency=Frequency.WEEKLY, weekday=0, month_day=None, hour=8, format="xlsx",
            recipients=(dora.pk, cast["admin"].pk),
        ),
        now=now,
    )  # fmt: skip
    schedules.run_now(actor=dora, saved_id=weekly.pk, now=now)
    return made
