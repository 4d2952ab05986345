"""CSV: plain, complete, and without a cell that a spreadsheet would run."""

import csv
import io
import uuid
import zoneinfo
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from approvals.reports import tables
from approvals.reports.frame import Column, Row
from approvals.selectors.requests import Cursor

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")


def line(*cells: object) -> list[str]:
    row = Row(Cursor(NOON, uuid.UUID(int=1)), uuid.UUID(int=1), cells)
    columns = tuple(Column(str(number), "") for number in range(len(cells)))
    text = "".join(tables.csv_lines(columns, [row], zone=BERLIN))
    header, read = csv.reader(io.StringIO(text, newline=""))
    assert header == [column.key for column in columns]
    return read


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠"])
def test_cells_that_begin_a_formula_are_neutralised(start: str) -> None:
    evil = f"{start}cmd|' /C calc'!A0"
    assert line(evil) == [f"'{evil}"]
    assert tables.restore(line(evil)[0]) == evil


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_any_text_comes_back_and_none_is_a_formula(text: str) -> None:
    (cell,) = line(text)
    assert not cell.startswith(tables.STARTS)
    assert tables.restore(cell) == text


def test_an_apostrophe_that_was_there_is_not_lost() -> None:
    assert tables.restore(line("'=1+1")[0]) == "'=1+1"


def test_numbers_stay_numbers_and_texts_are_quoted() -> None:
    row = Row(Cursor(NOON, uuid.UUID(int=1)), uuid.UUID(int=1), ("1;=2", -3, 0.5, None))
    columns = tuple(Column(key, "") for key in "abcd")
    lines = list(tables.csv_lines(columns, [row], zone=UTC))
    assert lines == ['"a","b","c","d"\r\n', '"1;=2",-3,0.5,""\r\n']


def test_moments_are_written_with_their_offset() -> None:
    assert line(NOON + timedelta(milliseconds=71)) == ["2026-11-24T13:00:00.071+01:00"]


def test_names_with_moments_make_one_cell() -> None:
    cell = (("Bob", NOON), ("=Carol", NOON.astimezone(timezone(timedelta(hours=5)))))
    assert line(cell) == ["Bob 2026-11-24T13:00:00.000+01:00; =Carol 2026-11-24T13:00:00.000+01:00"]
    assert line((("=Carol", None),)) == ["'=Carol"]
