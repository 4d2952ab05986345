"""When a schedule's moments are, across changes of the clocks, and which days a period names."""

from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from approvals.domain import periods
from approvals.domain.periods import Frequency, Period, Rule

BERLIN = ZoneInfo("Europe/Berlin")


def rule(frequency: str = "daily", hour: int = 2, **more: Any) -> Rule:
    return Rule(frequency=Frequency(frequency), hour=hour, zone=BERLIN, **more)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_an_hour_that_a_clock_change_skips_or_repeats_runs_once() -> None:
    spring = list(rule().between(utc("2026-03-27T12:00"), utc("2026-03-31T12:00")))
    assert spring == [
        utc("2026-03-28T01:00"), utc("2026-03-29T01:00"), utc("2026-03-30T00:00"),
        utc("2026-03-31T00:00"),
    ]  # fmt: skip
    autumn = list(rule().between(utc("2026-10-23T12:00"), utc("2026-10-26T12:00")))
    assert autumn == [utc("2026-10-24T00:00"), utc("2026-10-25T00:00"), utc("2026-10-26T01:00")]


def test_weekly_and_monthly_ones_run_on_their_day() -> None:
    week = rule("weekly", 8, weekday=0).between(utc("2026-10-19T06:00"), utc("2026-11-03T12:00"))
    assert [f"{at:%d %H}" for at in week] == ["26 07", "02 07"]  # winter time began on the 25th
    month = rule("monthly", 0, month_day=28).between(
        utc("2026-01-28T12:00"), utc("2026-04-28T12:00")
    )
    assert [f"{at:%m-%d %H}" for at in month] == ["02-27 23", "03-27 23", "04-27 22"]


@pytest.mark.parametrize(
    ("period", "first", "last"),
    [
        (Period.LAST_7, "2026-01-08", "2026-01-14"),
        (Period.LAST_30, "2025-12-16", "2026-01-14"),
        (Period.LAST_90, "2025-10-17", "2026-01-14"),
        (Period.LAST_MONTH, "2025-12-01", "2025-12-31"),
        (Period.LAST_QUARTER, "2025-10-01", "2025-12-31"),
        (Period.MONTH_TO_DATE, "2026-01-01", "2026-01-15"),
    ],
)
def test_relative_periods(period: Period, first: str, last: str) -> None:
    days = periods.days(period, today=date(2026, 1, 15))
    assert days == (date.fromisoformat(first), date.fromisoformat(last))
