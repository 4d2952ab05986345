"""Windows: the weekdays and times at which access may start.

Lives here: windows as values, their document form, and when the next one is open. Times are those
of a clock on the wall of the window's timezone, so that a change of its offset moves the window.
"""

from __future__ import annotations

import zoneinfo
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache

from approvals.domain.documents import Node

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
WINDOWS_MAX = 20
#: Days ahead that a common opening of several policies is looked for.
AHEAD_DAYS = 15
_DAY_MINUTES = 24 * 60


@dataclass(frozen=True, slots=True)
class Window:
    """From one minute of the day to another, on days that it begins on (0 is Monday).

    `closes` at or before `opens` lies on the following day.
    """

    days: frozenset[int]
    opens: int
    closes: int
    zone: str


def read(node: Node) -> tuple[Window, ...]:
    """Return the windows of a list. Raises: the node's error."""
    return tuple(_window(item) for item in node.items(least=1, most=WINDOWS_MAX))


def _window(node: Node) -> Window:
    fields = node.fields(required=("days", "from", "to", "timezone"))
    days: set[int] = set()
    for item in fields["days"].items(least=1, most=len(DAYS)):
        day = DAYS.index(item.choice(DAYS))
        if day in days:
            raise item.fail("is named twice")
        days.add(day)
    zone = fields["timezone"].name()
    if not is_zone(zone):
        raise fields["timezone"].fail("must be a timezone such as Europe/Berlin or UTC")
    return Window(
        days=frozenset(days),
        opens=_minute(fields["from"], most=_DAY_MINUTES - 1),
        closes=_minute(fields["to"], most=_DAY_MINUTES),
        zone=zone,
    )


def _minute(node: Node, *, most: int) -> int:
    text = node.text()
    hours, colon, minutes = text.partition(":")
    plain = all(len(part) == 2 and part.isascii() and part.isdigit() for part in (hours, minutes))
    if not colon or not plain or int(minutes) > 59 or int(hours) * 60 + int(minutes) > most:
        last = "24:00" if most == _DAY_MINUTES else "23:59"
        raise node.fail(f"must be a time from 00:00 to {last}, as in 22:30")
    return int(hours) * 60 + int(minutes)


@lru_cache(maxsize=256)
def is_zone(name: str) -> bool:
    """Say whether the timezone database knows this name."""
    try:
        zoneinfo.ZoneInfo(name)
    except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):
        return False
    return True


def dump(windows: Sequence[Window]) -> list[dict[str, object]]:
    """Return the list that `read` turns into these windows."""
    return [
        {
            "days": [DAYS[day] for day in sorted(window.days)],
            "from": _text(window.opens),
            "to": _text(window.closes),
            "timezone": window.zone,
        }
        for window in windows
    ]


def _text(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"


def next_open(alternatives: Sequence[Sequence[Window]], *, at: datetime) -> datetime | None:
    """Return the first moment from `at` on that lies in a window of every one of `alternatives`.

    An empty sequence among them limits nothing. None: there is no such moment within 15 days.
    """
    limits = [windows for windows in alternatives if windows]
    moment = at
    while moment <= at + timedelta(days=AHEAD_DAYS):
        found = [_first_open(windows, moment) for windows in limits]
        latest = moment
        for opening in found:
            if opening is None:
                return None
            latest = max(latest, opening)
        if latest == moment:
            return moment
        moment = latest
    return None


def _first_open(windows: Sequence[Window], at: datetime) -> datetime | None:
    """Return `at` if a window is open then, else when the next one opens."""
    openings: list[datetime] = []
    for window in windows:
        today = at.astimezone(zoneinfo.ZoneInfo(window.zone)).date()
        for ahead in range(-2, 9):
            day = today + timedelta(days=ahead)
            if day.weekday() not in window.days:
                continue
            opens, closes = _span(window, day)
            if opens <= at < closes:
                return at
            if opens > at:
                openings.append(opens)
                break
    return min(openings, default=None)


def _span(window: Window, day: date) -> tuple[datetime, datetime]:
    later = window.closes <= window.opens
    last = day + timedelta(days=1) if later else day
    return _moment(window, day, window.opens), _moment(window, last, window.closes)


def _moment(window: Window, day: date, minute: int) -> datetime:
    if minute == _DAY_MINUTES:
        day, minute = day + timedelta(days=1), 0
    wall = datetime.combine(day, time(minute // 60, minute % 60))
    return wall.replace(tzinfo=zoneinfo.ZoneInfo(window.zone)).astimezone(UTC)


def text(windows: Sequence[Window]) -> str:
    """Return the windows as people say them: `mon, tue 22:00–06:00 (Europe/Berlin)`."""
    return "; ".join(
        f"{', '.join(DAYS[day] for day in sorted(window.days))} "
        f"{_text(window.opens)}–{_text(window.closes)} ({window.zone})"
        for window in windows
    )
