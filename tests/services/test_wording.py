"""Times, lengths and names as sentences say them."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from approvals.services import wording

NOW = datetime(2025, 11, 24, 13, 50, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 seconds"),
        (1, "1 second"),
        (60, "1 minute"),
        (5_400, "1 hour 30 minutes"),
        (7_200, "2 hours"),
        (90_061, "1 day 1 hour 1 minute 1 second"),
    ],
)
def test_a_length_is_said_exactly(seconds: int, said: str) -> None:
    assert wording.words(timedelta(seconds=seconds)) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (59.6, "1 minute"),
        (89, "1 minute 29 seconds"),
        (1_799, "30 minutes"),
        (3_599, "1 hour"),
        (7_230, "2 hours"),
        (100_000, "1 day 4 hours"),
    ],
)
def test_a_length_is_said_roughly(seconds: float, said: str) -> None:
    assert wording.about(timedelta(seconds=seconds)) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(-1, "less than 0.1 seconds"), (0.071, "0.1 seconds"), (9.94, "9.9 seconds"), (75, "1 minute 15 seconds")],
)  # fmt: skip
def test_a_lag_has_a_tenth_of_a_second(seconds: float, said: str) -> None:
    assert wording.lag(timedelta(seconds=seconds)) == said


@pytest.mark.parametrize(
    ("zone", "after", "said"),
    [
        ("Europe/Berlin", timedelta(minutes=30), "15:20 CET"),
        ("Europe/Berlin", timedelta(minutes=5), "14:55:00 CET"),
        ("Europe/Berlin", timedelta(minutes=-5), "14:45:00 CET"),
        ("Asia/Kolkata", timedelta(hours=6), "Tue 25 Nov 01:20 IST"),
        ("America/Sao_Paulo", timedelta(hours=1), "11:50 UTC-03"),
        ("UTC", timedelta(days=60), "Fri 23 Jan 2026 13:50 UTC"),
    ],
)
def test_a_moment_is_said_where_the_reader_is(zone: str, after: timedelta, said: str) -> None:
    assert wording.Clock(ZoneInfo(zone), NOW).at(NOW + after) == said


def test_how_far_away_a_moment_is() -> None:
    clock = wording.Clock(ZoneInfo("UTC"), NOW)
    assert clock.away(NOW + timedelta(minutes=30)) == "in 30 minutes"
    assert clock.away(NOW - timedelta(minutes=30)) == "30 minutes ago"
    assert clock.away(NOW) == "now"


def test_names_are_listed_and_counted_from_the_fifth_on() -> None:
    assert wording.listed([], "or") == ""
    assert wording.listed(["A"], "or") == "A"
    assert wording.listed(["A", "B", "C"], "or") == "A, B or C"
    assert wording.listed("ABCDEF", "and") == "A, B, C and 3 others"


def test_text_loses_what_could_deceive_and_keeps_its_lines() -> None:
    assert wording.clean(" a\u2028b\r\nc\x00\x1b\u202ed\u2066e\tf ") == "a\nb\ncde\tf"
    assert wording.short("a\nb " + "x" * 50, 10) == "a b xxxxx…"
