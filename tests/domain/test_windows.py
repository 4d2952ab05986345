"""Windows in which access may start: strict documents, wall clocks, and common openings."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from approvals.domain import windows
from approvals.domain.documents import DocumentError, Node

NIGHT = {"days": ["mon", "wed"], "from": "22:00", "to": "06:00", "timezone": "Europe/Berlin"}
WORK = {"days": ["mon", "tue", "wed", "thu", "fri"], "from": "09:00", "to": "17:00",
        "timezone": "UTC"}  # fmt: skip


def read(*documents: Any) -> tuple[windows.Window, ...]:
    return windows.read(Node(list(documents), "windows", DocumentError))


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("documents", "now", "opens"),
    [
        ([WORK], "2026-11-24T09:00", "2026-11-24T09:00"),  # a Tuesday
        ([WORK], "2026-11-24T08:59", "2026-11-24T09:00"),
        ([WORK], "2026-11-24T16:59", "2026-11-24T16:59"),
        ([WORK], "2026-11-24T17:00", "2026-11-25T09:00"),
        ([WORK], "2026-11-27T17:00", "2026-11-30T09:00"),  # over the week-end
        ([NIGHT], "2026-11-23T21:00", "2026-11-23T21:00"),  # 22:00 in Berlin
        ([NIGHT], "2026-11-23T20:59", "2026-11-23T21:00"),
        ([NIGHT], "2026-11-24T04:59", "2026-11-24T04:59"),  # Monday's night lasts until Tuesday
        ([NIGHT], "2026-11-24T05:00", "2026-11-25T21:00"),
        ([NIGHT, WORK], "2026-11-24T05:00", "2026-11-24T09:00"),
        ([NIGHT], "2026-07-06T20:00", "2026-07-06T20:00"),  # in summer 22:00 is 20:00 UTC
        ([WORK | {"days": ["sun"], "from": "00:00", "to": "24:00"}],
         "2026-11-28T23:59", "2026-11-29T00:00"),
        ([WORK | {"days": ["sun"], "from": "08:00", "to": "08:00"}],
         "2026-11-30T07:59", "2026-11-30T07:59"),  # a whole day
    ],
)  # fmt: skip
def test_when_the_next_window_is_open(documents: list[Any], now: str, opens: str) -> None:
    assert windows.next_open([read(*documents)], at=at(now)) == at(opens)


@pytest.mark.parametrize(
    ("day", "opens", "closes"),
    [  # the clock is put forward at 2:00, and back at 3:00
        ("2026-03-29", "2026-03-29T01:00", "2026-03-29T02:00"),
        ("2026-10-25", "2026-10-25T00:30", "2026-10-25T03:00"),
    ],
)
def test_a_change_of_the_clock_moves_the_window(day: str, opens: str, closes: str) -> None:
    early = "03:00" if day == "2026-03-29" else "02:30"
    found = read({"days": ["sun"], "from": early, "to": "04:00", "timezone": "Europe/Berlin"})
    midnight = at(f"{day}T00:00") - timedelta(hours=3)
    assert windows.next_open([found], at=midnight) == at(opens)
    last = at(closes) - timedelta(seconds=1)
    assert windows.next_open([found], at=last) == last
    after = windows.next_open([found], at=at(closes))
    assert after is not None
    assert after >= at(closes) + timedelta(days=6)


def test_nothing_limits_nothing() -> None:
    now = at("2026-11-24T03:00")
    assert windows.next_open([], at=now) == now
    assert windows.next_open([(), ()], at=now) == now


def test_both_policies_must_let_it_start() -> None:
    late = read(WORK | {"from": "16:00", "to": "20:00"})
    assert windows.next_open([read(WORK), late, ()], at=at("2026-11-24T10:00")) == at(
        "2026-11-24T16:00"
    )


def test_windows_that_never_meet_have_no_opening() -> None:
    monday, friday = read(WORK | {"days": ["mon"]}), read(WORK | {"days": ["fri"]})
    assert windows.next_open([monday, friday], at=at("2026-11-24T10:00")) is None


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"days": []}, "windows[0].days: "),
        ({"days": ["mon", "mon"]}, "windows[0].days[1]: is named twice"),
        ({"days": ["Monday"]}, "windows[0].days[0]: "),
        ({"from": "24:00"}, "windows[0].from: must be a time from 00:00 to 23:59"),
        ({"to": "24:01"}, "windows[0].to: must be a time from 00:00 to 24:00"),
        ({"to": "7:00"}, "windows[0].to: "),
        ({"to": "07:60"}, "windows[0].to: "),
        ({"to": "²2:00"}, "windows[0].to: "),
        ({"to": 7}, "windows[0].to: must be a text"),
        ({"timezone": "Mars/Base"}, "windows[0].timezone: "),
        ({"timezone": "../etc/passwd"}, "windows[0].timezone: "),
        ({"timezone": ""}, "windows[0].timezone: "),
        ({"until": "x"}, "windows[0]: has the unknown key"),
    ],
)
def test_a_faulty_window_is_refused_by_its_path(change: dict[str, Any], path: str) -> None:
    with pytest.raises(DocumentError) as refused:
        read(WORK | change)
    assert str(refused.value).startswith(path)


minutes = st.integers(0, 1439)
some = st.builds(
    lambda days, opens, closes, zone: windows.Window(frozenset(days), opens, closes, zone),
    st.sets(st.integers(0, 6), min_size=1),
    minutes,
    st.integers(0, 1440),
    st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu"]),
)
moments = st.datetimes(datetime(2025, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC))


@given(st.lists(some, min_size=1, max_size=3), moments)
def test_it_is_never_early_and_the_opening_is_open(
    found: list[windows.Window], now: datetime
) -> None:
    opens = windows.next_open([found], at=now)
    if opens is None:  # a minute that a change of the clock leaves out may close before it opens
        return
    assert opens >= now
    assert windows.next_open([found], at=opens) == opens
    if opens > now:
        before = windows.next_open([found], at=opens - timedelta(microseconds=1))
        assert before == opens, "it was open before"


@given(st.lists(some, min_size=1, max_size=5))
def test_the_document_says_them_all(found: list[windows.Window]) -> None:
    assert list(read(*windows.dump(found))) == found
    assert windows.text(found)
