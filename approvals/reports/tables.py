"""Reports as CSV files: plain RFC 4180, in which no cell can act as a formula.

Spreadsheets run cells that begin with certain characters. Such texts get an apostrophe in front;
`restore` takes it off again, so that nothing is lost.
Source: OWASP, CSV Injection; RFC 4180.
"""

import csv
from collections.abc import Iterable, Iterator
from datetime import datetime, tzinfo
from typing import Any

from approvals.reports.frame import Column, Row

#: Characters that begin a formula, here and in the full-width forms that spreadsheets read alike.
STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
_MARK = "'"
#: By this in front spreadsheets know that a file is UTF-8.
BOM = "\ufeff"


class _Line:
    """A file that keeps nothing: `write` returns the line, which `csv.writer` hands on."""

    def write(self, text: str) -> str:
        return text


def neutral(text: str) -> str:
    """Return a text that no spreadsheet runs; one that begins with the mark is marked too."""
    return f"{_MARK}{text}" if text.startswith((*STARTS, _MARK)) else text


def restore(text: str) -> str:
    """Return what `neutral` was given."""
    return text.removeprefix(_MARK)


def csv_lines(columns: tuple[Column, ...], rows: Iterable[Row], *, zone: tzinfo) -> Iterator[str]:
    """Yield the header and one line for each row, as they come; texts are quoted, numbers not."""
    writer = csv.writer(_Line(), quoting=csv.QUOTE_NONNUMERIC, lineterminator="\r\n")
    yield str(writer.writerow([column.key for column in columns]))
    for row in rows:
        yield str(writer.writerow([_cell(value, zone) for value in row.cells]))


def cover_lines(about: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Yield a row of two cells for each fact, and an empty row after the last; none for none."""
    writer = csv.writer(_Line(), quoting=csv.QUOTE_NONNUMERIC, lineterminator="\r\n")
    lines = [str(writer.writerow([title, neutral(text)])) for title, text in about]
    yield from lines
    if lines:
        yield "\r\n"


def plain(value: Any, zone: tzinfo) -> str:
    """Return a cell as people read it, for formats that run nothing."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, tuple):
        return "; ".join(f"{name} {plain(at, zone)}".strip() for name, at in value)
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value)


def _cell(value: Any, zone: tzinfo) -> Any:
    """Return a number as it is, a moment in ISO 8601 with its offset, all else as a safe text."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.astimezone(zone).isoformat(timespec="milliseconds")
    if isinstance(value, int | float):
        return value
    if isinstance(value, tuple):  # names with their moments
        parts = (f"{name} {_cell(at, zone)}".strip() for name, at in value)
        return neutral("; ".join(parts))
    return neutral(str(value))
