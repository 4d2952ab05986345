"""What a report is: its columns, its rows in one order, its filters. Pages and downloads share it.

A new report is a module with a `Report`: what it answers, its columns, and its rows, which most
take from one `query.Query`. Rows come in chunks, so that a report of any length needs the same
memory.
"""

import itertools
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta, tzinfo
from typing import Any, Literal, NamedTuple

from django.db import DatabaseError, connection, transaction

from approvals.selectors.requests import Cursor

#: Rows that are fetched at once: of long texts, more of them would be most of a file's memory.
CHUNK = 500
DEFAULT_DAYS = 90

Kind = Literal["text", "mono", "moment", "number", "state", "reference", "signed"]


@dataclass(frozen=True)
class Column:
    """One column: its key in files, its title on pages, and what its cells are.

    Cells of kind `signed` are pairs of a name and a moment. `wide` columns are in the file and left
    out of the page's table. A `note` says what a reader must know of it, and is in the file too.
    """

    key: str
    title: str
    kind: Kind = "text"
    wide: bool = False
    note: str = ""


#: What nobody tells the portal.
LAST_USED = Column(
    "last_used", "Last used", wide=True, note="empty: targets don't tell when access was used"
)


@dataclass(frozen=True)
class Filters:
    """What a report is about: [`start`, `end`) in time, perhaps one resource, perhaps one person.

    `first` and `last` are the days that were chosen, both included, in `zone`. Nothing after `at`
    is told: it cuts off a period that goes on, and is the `moment` that reports of one are as of.
    """

    first: date
    last: date
    zone: tzinfo
    resource_id: int | None = None
    resource_name: str = ""
    person_id: int | None = None
    person_login: str = ""
    at: datetime | None = None

    @property
    def start(self) -> datetime:
        """Return the first moment of the period."""
        return datetime.combine(self.first, time(), self.zone)

    @property
    def end(self) -> datetime:
        """Return the first moment after the period, or after what can be told of it."""
        return self.moment if self.is_cut else self._whole_end

    @property
    def is_cut(self) -> bool:
        """Return whether the period goes on after the moment up to which it is told."""
        return self.at is not None and self.at < self._whole_end

    @property
    def _whole_end(self) -> datetime:
        return datetime.combine(self.last + timedelta(days=1), time(), self.zone)

    @property
    def moment(self) -> datetime:
        """Return the moment that reports of one moment are as of: `at`, or the period's end."""
        return self.at or self._whole_end

    @property
    def parameters(self) -> dict[str, Any]:
        """Return the parameters that every report's query may use."""
        return {
            "start": self.start,
            "end": self.end,
            "moment": self.moment,
            "zone": str(self.zone),
            "resource": self.resource_id,
            "person": self.person_id,
        }


def at(filters: Filters, moment: datetime) -> Filters:
    """Return the filters with a moment for the reports of one."""
    return replace(filters, at=moment)


class Row(NamedTuple):
    """One row: where it stands in the order, the request that it is about if any, its cells."""

    cursor: Cursor
    request_id: uuid.UUID | None
    cells: tuple[Any, ...]


class Figure(NamedTuple):
    """One figure above a report's rows: what it is, and its value as people read it."""

    title: str
    value: str


@dataclass(frozen=True)
class Report:
    """One report. `rows` gives what comes after a cursor, at most `limit`, newest first.

    `as_of` ones are of one moment and not of a period, and with `since` look back from it to the
    period's first day; `without` names the filters that mean nothing to it. `summary` are the
    figures above its rows. `buckets` counts its rows by the day that their week or month begins
    with; the chart is made of that.
    """

    id: str
    title: str
    answers: str
    controls: tuple[str, ...]
    columns: tuple[Column, ...]
    rows: Callable[[Filters, Cursor | None, int | None], Iterator[Row]]
    count: Callable[[Filters], int]
    as_of: bool = False
    since: bool = False
    without: frozenset[str] = frozenset()
    summary: Callable[[Filters], tuple[Figure, ...]] | None = None
    buckets: Callable[[Filters, str], dict[date, int]] | None = None

    def figures(self, filters: Filters) -> tuple[Figure, ...]:
        """Return the figures above the rows; none where the report has none."""
        return self.summary(filters) if self.summary else ()

    def page(self, filters: Filters, *, after: Cursor | None, limit: int) -> list[Row]:
        """Return at most `limit` rows after the cursor (one query)."""
        return list(itertools.islice(self.rows(filters, after, limit), limit))


def stream(sql: str, parameters: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    """Yield a query's rows in chunks from a cursor on the server; the memory stays the same.

    The cursor outlives the transaction that it is opened in, and then gives what was there at its
    commit's beginning, from a copy on the server. Close the generator when done.
    """
    name = f"report_{uuid.uuid4().hex}"
    with connection.cursor() as cursor:
        cursor.execute(f"DECLARE {name} NO SCROLL CURSOR WITH HOLD FOR {sql}", parameters)
        try:
            while True:
                cursor.execute(f"FETCH {CHUNK} FROM {name}")
                if not (rows := cursor.fetchall()):
                    return
                yield from rows
        finally:
            with suppress(DatabaseError):  # it is gone with a transaction that failed
                cursor.execute(f"CLOSE {name}")


def selected(
    sql: str, parameters: dict[str, Any], *, limit: int | None
) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of a query: a few at once for a page, streamed where there is no limit."""
    if limit is None:
        yield from stream(sql, parameters)
        return
    with connection.cursor() as cursor:
        cursor.execute(f"{sql} LIMIT %(limit)s", parameters | {"limit": limit})
        yield from cursor.fetchall()


def counted(sql: str, filters: Filters) -> int:
    """Return the number that a query of one number gives."""
    with connection.cursor() as cursor:
        cursor.execute(sql, filters.parameters)
        number: int = cursor.fetchone()[0]
    return number


@contextmanager
def snapshot() -> Iterator[None]:
    """Read everything as of one moment, so that a report's count and its rows agree.

    Inside another transaction it is that one's view of the data.
    """
    if connection.in_atomic_block:
        yield
        return
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        yield
