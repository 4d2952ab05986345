"""Charts as numbers: where each bar stands. Pages draw SVG of them, documents their own shapes.

Every chart stands beside its numbers, so that nobody has to read it off a picture.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from approvals.reports.frame import Filters, Report

#: More weeks than these are told in months.
WEEKS_MOST = 60
WIDTH, HEIGHT, FLOOR, LEFT = 460, 120, 110, 12


@dataclass(frozen=True)
class Bar:
    """The rows of one week or month, and where its bar stands in the chart."""

    first: date
    count: int
    x: float
    y: float
    width: float
    height: float
    is_last: bool


@dataclass(frozen=True)
class Chart:
    """Rows over time: `unit` is week or month; sizes are in the drawing's units.

    `earlier` is how many rows lie before the period, of which there is no bar.
    """

    unit: str
    bars: tuple[Bar, ...]
    earlier: int = 0
    width: int = WIDTH
    height: int = HEIGHT
    floor: int = FLOOR

    @property
    def least(self) -> int:
        """Return the smallest bar's count."""
        return min((bar.count for bar in self.bars), default=0)

    @property
    def most(self) -> int:
        """Return the largest bar's count."""
        return max((bar.count for bar in self.bars), default=0)


@dataclass(frozen=True)
class Share:
    """One part of a whole: its count, and the length of its bar out of a hundred."""

    title: str
    count: int
    percent: float


def unit(filters: Filters) -> str:
    """Return what a period's bars are: weeks, or months of a long one."""
    return "week" if (filters.last - filters.first).days <= WEEKS_MOST * 7 else "month"


def of(report: Report, filters: Filters) -> Chart | None:
    """Return a report's rows over time; None for one that has no chart (one query)."""
    if report.buckets is None:
        return None
    chosen = unit(filters)
    return over_time(filters, unit=chosen, counts=report.buckets(filters, chosen))


def over_time(filters: Filters, *, unit: str, counts: Mapping[date, int]) -> Chart:
    """Return the bars of a period from the counts by each unit's first day."""
    firsts = _firsts(filters, unit)
    most = max((counts.get(first, 0) for first in firsts), default=0) or 1
    step = (WIDTH - LEFT) / len(firsts)
    width = min(20.0, step * 0.65)
    bars = []
    for index, first in enumerate(firsts):
        count = counts.get(first, 0)
        height = round((FLOOR - LEFT) * count / most, 1)
        bars.append(
            Bar(
                first,
                count,
                round(LEFT + index * step, 1),
                round(FLOOR - height, 1),
                round(width, 1),
                height,
                index == len(firsts) - 1,
            )
        )
    earlier = sum(count for first, count in counts.items() if first < firsts[0])
    return Chart(unit, tuple(bars), earlier)


def shares(counts: Mapping[str, int]) -> tuple[Share, ...]:
    """Return each part with its bar; the longest bar is a hundred."""
    most = max(counts.values(), default=0) or 1
    return tuple(
        Share(title, count, round(100 * count / most, 1)) for title, count in counts.items()
    )


def _firsts(filters: Filters, unit: str) -> list[date]:
    """Return the first day of each week (Monday) or month that the period touches."""
    found: list[date] = []
    if unit == "week":
        day = filters.first - timedelta(days=filters.first.weekday())
        while day <= filters.last:
            found.append(day)
            day += timedelta(days=7)
        return found
    day = filters.first.replace(day=1)
    while day <= filters.last:
        found.append(day)
        day = (day + timedelta(days=32)).replace(day=1)
    return found
