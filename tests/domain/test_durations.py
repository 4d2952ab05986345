"""Durations as they are typed and as they are said."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from approvals.domain import durations
from approvals.domain.durations import DurationError

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("90m", 90 * MINUTE),
        ("2h", 2 * HOUR),
        ("2 h", 2 * HOUR),
        (" 2H ", 2 * HOUR),
        ("1h30", 90 * MINUTE),
        ("1h 5", 65 * MINUTE),
        ("1h30m", 90 * MINUTE),
        ("1 h 30 min", 90 * MINUTE),
        ("1.5h", 90 * MINUTE),
        ("1,5 hours", 90 * MINUTE),
        ("1 day", DAY),
        ("2 days, 3 hours and 4 minutes", 2 * DAY + 3 * HOUR + 4 * MINUTE),
        ("1w", 7 * DAY),
        ("45 s", timedelta(seconds=45)),
        ("120 sec", 2 * MINUTE),
        ("1:30", 90 * MINUTE),
        ("0:02:30", timedelta(seconds=150)),
        ("PT2H", 2 * HOUR),
        ("pt90m", 90 * MINUTE),
        ("P1DT30M", DAY + 30 * MINUTE),
        ("P1W", 7 * DAY),
        ("PT30S", timedelta(seconds=30)),
    ],
)
def test_what_people_write_is_read(text: str, length: timedelta) -> None:
    assert durations.parse(text) == length


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "h", "banana", "two hours", "2", "90", "1.5", "-2h", "2h-", "2h 2h", "5m 1h",
        "1h and", "1h,", "1e3h", "0m", "0h0m", "PT", "P", "P1DT", "P1M", "P1Y", "1:75", "1h75",
        "0.5s", "1.0000001s", "99999999w", "9" * 400 + "h", "2h\0", "٢h", "2h; drop", "∞h", "1 month",
        "24:00:00:00", "nan h", "inf", "2\u202eh",
    ],
)  # fmt: skip
def test_nonsense_is_refused_with_a_hint(text: str) -> None:
    with pytest.raises(DurationError) as refusal:
        durations.parse(text)
    assert str(refusal.value).endswith(".")


def test_a_bare_number_is_asked_for_its_unit() -> None:
    with pytest.raises(DurationError, match="Add a unit"):
        durations.parse("90")


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 s"), (-5, "0 s"), (0.9, "0 s"), (45, "45 s"), (60, "1 m"), (90, "1 m 30 s"),
        (599, "9 m 59 s"), (660, "11 m"), (689, "11 m"), (3_600, "1 h"), (4_320, "1 h 12 m"),
        (86_400, "1 d"), (93_600, "1 d 2 h"), (86_460, "1 d"), (700_000, "8 d 2 h"),
    ],
)  # fmt: skip
def test_lengths_are_said_in_two_units(seconds: float, said: str) -> None:
    assert durations.words(seconds) == said


@given(st.integers(1, 599) | st.integers(10, 1_439).map(lambda minutes: minutes * 60))
def test_what_is_said_is_read_back(seconds: int) -> None:
    assert durations.parse(durations.words(seconds)) == timedelta(seconds=seconds)


@given(st.text(max_size=80))
def test_any_text_is_a_duration_or_a_refusal(text: str) -> None:
    try:
        length = durations.parse(text)
    except DurationError:
        return
    assert timedelta(0) < length <= durations.LONGEST
    assert length.microseconds == 0
