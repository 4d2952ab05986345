"""What a report is: its columns, its rows in one order, its filters. Pages and downloads share it.

A new report is a module with a `Report`: an SQL query for the rows that carries its own order, and
what it answers. Rows come in chunks, so that a report of any length needs the same memory.
"""

import itertools
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, tzinfo
from typing import Any, Literal, NamedTuple

from django.db import DatabaseError, connection, transaction

from approvals.selectors.requests import Cursor

CHUNK = 2_000
DEFAULT_DAYS = 90

Kind = Literal["text", "mono", "moment", "number", "state", "reference", "signed"]


@dataclass(frozen=True)
class Column:
    """One column: its key in files, its title on pages, and what its cells are.

    Cells of kind `signed` are pairs of a name and a moment. `wide` columns are in the file and left
    out of the page's table.
    """

    key: str
    title: str
    kind: Kind = "text"
    wide: bool = False


@dataclass(frozen=True)
class Filters:
    """What a report is about: [`start`, `end`) in time, perhaps one resource, perhaps one person.

    `first` and `last` are the days that were chosen, both included, in `zone`.
    """

    first: date
    last: date
    zone: tzinfo
    resource_id: int | None = None
    resource_name: str = ""
    person_id: int | None = None
    person_login: str = ""

    @property
    def start(self) -> datetime:
        """Return the first moment of the period."""
        return datetime.combine(self.first, time(), self.zone)

    @property
    def end(self) -> datetime:
        """Return the first moment after the period."""
        return datetime.combine(self.last + timedelta(days=1), time(), self.zone)

    @property
    def parameters(self) -> dict[str, Any]:
        """Return the parameters that every report's query may use."""
        return {
            "start": self.start,
            "end": self.end,
            "resource": self.resource_id,
            "person": self.person_id,
        }


class Row(NamedTuple):
    """One row: where it stands in the order, the request that it is about, and its cells."""

    cursor: Cursor
    request_id: uuid.UUID
    cells: tuple[Any, ...]


@dataclass(frozen=True)
class Report:
    """One report. `rows` gives what comes after a cursor, at most `limit`, newest first."""

    id: str
    title: str
    answers: str
    controls: tuple[str, ...]
    columns: tuple[Column, ...]
    rows: Callable[[Filters, Cursor | None, int | None], Iterator[Row]]
    count: Callable[[Filters], int]

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
