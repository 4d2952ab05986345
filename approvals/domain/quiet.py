"""Quiet hours and the hour of the digest: local times of one person, as moments.

Local times are read as RFC 5545 reads them: one that a clock change skips is as far after the
change as it would have been, and of one that comes twice the first counts. But quiet hours last
until their end comes for the second time. Source: RFC 5545, 3.3.5.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

WEEK = frozenset(range(7))


class NeverEnds(ValueError):
    """Quiet hours that leave no moment of the week."""


@dataclass(frozen=True, slots=True)
class Hours:
    """From `begins` until `ends`, on the next day where that is not later; equal is a whole day.

    `weekdays` (Monday is 0) are those on which they begin. Raises: NeverEnds.
    """

    begins: time
    ends: time
    weekdays: frozenset[int]

    def __post_init__(self) -> None:
        if self.begins == self.ends and self.weekdays >= WEEK:
            raise NeverEnds("Quiet hours must end at some time of the week.")

    def on(self, day: date, zone: ZoneInfo) -> tuple[datetime, datetime] | None:
        """Return when those that begin on a day begin and end, None if none begin on it."""
        if day.weekday() not in self.weekdays:
            return None
        last = day if self.begins < self.ends else day + timedelta(days=1)
        return moment(day, self.begins, zone), _last_moment(last, self.ends, zone)


def moment(day: date, at: time, zone: ZoneInfo) -> datetime:
    """Return a local time as a moment; of two the first."""
    return datetime.combine(day, at, tzinfo=zone).astimezone(UTC)


def _last_moment(day: date, at: time, zone: ZoneInfo) -> datetime:
    second = datetime.combine(day, at.replace(fold=1), tzinfo=zone).astimezone(UTC)
    return max(moment(day, at, zone), second)


def put_off(hours: Hours | None, zone: ZoneInfo, now: datetime) -> datetime:
    """Return `now` where it is not quiet, else the end of the quiet hours that it falls into.

    Where others begin before those end, it is the end of the last of them.
    """
    if hours is None:
        return now
    until = now
    for _ in range(2 * len(WEEK)):
        end = _end(hours, zone, until)
        if end is None:
            break
        until = end
    return until


def _end(hours: Hours, zone: ZoneInfo, at: datetime) -> datetime | None:
    today = at.astimezone(zone).date()
    ends = [
        span[1]
        for day in (today - timedelta(days=1), today)
        if (span := hours.on(day, zone)) is not None and span[0] <= at < span[1]
    ]
    return max(ends, default=None)


def next_at_hour(hour: int, zone: ZoneInfo, after: datetime) -> datetime:
    """Return the next moment after `after` at which the local clock says this full hour (0–23)."""
    today = after.astimezone(zone).date()
    days = (today + timedelta(days=ahead) for ahead in range(3))
    return next(at for day in days if (at := moment(day, time(hour), zone)) > after)
