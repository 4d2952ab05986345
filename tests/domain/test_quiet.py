"""Quiet hours and the digest's hour, also where clocks change and where there is no such time."""

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from approvals.domain import quiet
from approvals.domain.notices import SORTS, Chosen, Mode, sort_of
from approvals.domain.quiet import Hours

BERLIN = ZoneInfo("Europe/Berlin")
WEEKDAYS = frozenset(range(5))


def night(begins: str = "22:00", ends: str = "07:00", days: frozenset[int] = quiet.WEEK) -> Hours:
    return quiet.Hours(time.fromisoformat(begins), time.fromisoformat(ends), days)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


# 2025-11-24 is a Monday; Berlin is an hour before UTC in winter, two in summer.
@pytest.mark.parametrize(
    ("hours", "now", "until"),
    [
        (night(), "2025-11-24 20:59:59", "2025-11-24 20:59:59"),
        (night(), "2025-11-24 21:00", "2025-11-25 06:00"),
        (night(), "2025-11-25 02:00", "2025-11-25 06:00"),
        (night(), "2025-11-25 06:00", "2025-11-25 06:00"),
        (night("12:00", "13:00"), "2025-11-24 11:30", "2025-11-24 12:00"),
        # The night from Friday to Saturday begins on a Friday, that from Sunday on no weekday.
        (night(days=WEEKDAYS), "2025-11-28 23:00", "2025-11-29 06:00"),
        (night(days=WEEKDAYS), "2025-11-30 23:00", "2025-11-30 23:00"),
        # Whole days one after another end together.
        (night("00:00", "00:00", frozenset({5, 6})), "2025-11-29 10:00", "2025-11-30 23:00"),
        # The clock goes from 02:00 to 03:00 (2025-03-30): the night is an hour shorter.
        (night(), "2025-03-29 21:00", "2025-03-30 05:00"),
        # An end that the change skips is as far after it.
        (night("22:00", "02:30"), "2025-03-29 22:00", "2025-03-30 01:30"),
        # A beginning that it skips, too.
        (night("02:30", "04:00"), "2025-03-30 01:10", "2025-03-30 01:10"),
        (night("02:30", "04:00"), "2025-03-30 01:30", "2025-03-30 02:00"),
        # The clock goes from 03:00 to 02:00 (2025-10-26): quiet lasts until 02:30 comes again.
        (night("22:00", "02:30"), "2025-10-26 00:40", "2025-10-26 01:30"),
        (night("22:00", "02:30"), "2025-10-26 01:30", "2025-10-26 01:30"),
        # And it begins when 02:30 comes for the first time.
        (night("02:30", "04:00"), "2025-10-26 00:30", "2025-10-26 03:00"),
    ],
)
def test_mail_waits_for_the_end(hours: Hours, now: str, until: str) -> None:
    assert quiet.put_off(hours, BERLIN, utc(now)) == utc(until)


@pytest.mark.parametrize(
    ("hour", "after", "due"),
    [
        (8, "2025-11-24 06:59", "2025-11-24 07:00"),
        (8, "2025-11-24 07:00", "2025-11-25 07:00"),
        (8, "2025-03-29 12:00", "2025-03-30 06:00"),  # 23 hours after the one before
        (8, "2025-10-25 12:00", "2025-10-26 07:00"),  # 25 hours
        (2, "2025-03-29 12:00", "2025-03-30 01:00"),  # there is no 02:00
        (2, "2025-10-25 12:00", "2025-10-26 00:00"),  # there are two
        (2, "2025-10-26 00:00", "2025-10-27 01:00"),  # and only the first counts
    ],
)
def test_a_digest_is_due_at_its_hour_once_a_day(hour: int, after: str, due: str) -> None:
    assert quiet.next_at_hour(hour, BERLIN, utc(after)) == utc(due)


@given(
    begins=st.times(),
    ends=st.times(),
    days=st.frozensets(st.integers(0, 6)),
    zone=st.sampled_from(
        ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"]
    ),
    now=st.datetimes(datetime(2024, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC)),
)
def test_what_was_put_off_is_not_put_off_again(
    begins: time, ends: time, days: frozenset[int], zone: str, now: datetime
) -> None:
    if begins == ends and len(days) == 7:
        with pytest.raises(quiet.NeverEnds):
            quiet.Hours(begins, ends, days)
        return
    hours, place = quiet.Hours(begins, ends, days), ZoneInfo(zone)
    until = quiet.put_off(hours, place, now)
    assert until >= now
    assert quiet.put_off(hours, place, until) == until
    assert until - now < timedelta(days=8)


def test_a_digest_hour_in_quiet_hours_waits_for_their_end() -> None:
    chosen = Chosen(zone=BERLIN, modes={}, quiet=night(), digest_hour=6)
    assert chosen.next_digest_at(after=utc("2025-11-24 12:00")) == utc("2025-11-25 06:00")


def test_what_presses_comes_in_quiet_hours() -> None:
    chosen = Chosen(zone=BERLIN, modes={}, quiet=night())
    now = utc("2025-11-24 23:00")
    pressing = ("escalated", "stuck", "leftover", "missing", "ledger_stale")
    assert all(chosen.may_come_at(kind, now=now) == now for kind in pressing)
    assert chosen.may_come_at("approval_needed", now=now) == utc("2025-11-25 06:00")


def test_what_may_not_be_switched_off_is_not_by_an_older_choice() -> None:
    chosen = Chosen(zone=BERLIN, modes={sort.key: "portal" for sort in SORTS})
    assert chosen.mode(sort_of("approval_needed")) is Mode.NOW
    assert chosen.mode(sort_of("stuck")) is Mode.NOW
    assert chosen.mode(sort_of("decided")) is Mode.PORTAL
