"""Relative periods of saved reports, and the moments at which scheduled ones are planned.

Local times are read as `quiet` reads them: one that a clock change skips is as far after the change
as it would have been, and of one that comes twice the first counts.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from approvals.domain import quiet

#: A day that every month has.
MONTH_DAY_MOST = 28


class Period(StrEnum):
    """What a saved report is about, seen from the day on which it is made."""

    LAST_7 = "last_7"
    LAST_30 = "last_30"
    LAST_90 = "last_90"
    LAST_MONTH = "last_month"
    LAST_QUARTER = "last_quarter"
    MONTH_TO_DATE = "month_to_date"
    FIXED = "fixed"
    MOMENT = "moment"


TITLES = {
    Period.LAST_7: "Last 7 days",
    Period.LAST_30: "Last 30 days",
    Period.LAST_90: "Last 90 days",
    Period.LAST_MONTH: "Last calendar month",
    Period.LAST_QUARTER: "Last quarter",
    Period.MONTH_TO_DATE: "Month to date",
    Period.FIXED: "Always these days",
    Period.MOMENT: "As of the moment of the run",
}
_DAYS = {Period.LAST_7: 7, Period.LAST_30: 30, Period.LAST_90: 90}


class Frequency(StrEnum):
    """How often a schedule runs."""

    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"


def days(period: Period, *, today: date) -> tuple[date, date]:
    """Return the first and the last day of a relative period, both included.

    The last so many days are whole ones, so that they end yesterday and runs a week apart neither
    overlap nor leave a gap. The month to date, and a moment, end today.
    """
    month = today.replace(day=1)
    if period in _DAYS:
        return today - timedelta(days=_DAYS[period]), today - timedelta(days=1)
    if period is Period.LAST_MONTH:
        return _months(month, -1), month - timedelta(days=1)
    if period is Period.LAST_QUARTER:
        quarter = month.replace(month=(month.month - 1) // 3 * 3 + 1)
        return _months(quarter, -3), quarter - timedelta(days=1)
    if period is Period.MONTH_TO_DATE:
        return month, today
    if period is Period.MOMENT:
        return today, today
    raise ValueError("A fixed period has days of its own.")


def _months(first: date, number: int) -> date:
    """Return the first day of the month that is so many months away."""
    months = first.year * 12 + first.month - 1 + number
    return date(months // 12, months % 12 + 1, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """When a schedule runs: at a full hour (0–23) of the zone's clock, on the days it names.

    `weekday` (Monday is 0) is for weekly ones, `month_day` (1–28) for monthly ones.
    """

    frequency: Frequency
    hour: int
    zone: ZoneInfo
    weekday: int | None = None
    month_day: int | None = None

    def is_on(self, day: date) -> bool:
        """Return whether it runs on a day."""
        if self.frequency is Frequency.WEEKLY:
            return day.weekday() == self.weekday
        if self.frequency is Frequency.MONTHLY:
            return day.day == self.month_day
        return True

    def next_after(self, after: datetime) -> datetime:
        """Return the first planned moment after `after`, in UTC."""
        day = after.astimezone(self.zone).date()
        while True:
            if self.is_on(day) and (at := quiet.moment(day, time(self.hour), self.zone)) > after:
                return at
            day += timedelta(days=1)

    def between(self, after: datetime, until: datetime) -> Iterator[datetime]:
        """Yield the planned moments after `after`, up to and with `until`, in their order."""
        at = self.next_after(after)
        while at <= until:
            yield at
            at = self.next_after(at)
