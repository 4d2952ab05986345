"""Reports that are one SQL query: rows by keyset, their number, and their number over time.

A `Query` says where the rows are and what orders them; the frame's paging, streaming and counting
come with it. Expensive columns belong into `select` as scalar subqueries: they are computed for the
rows that are given out alone.
"""

import itertools
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, NamedTuple

from django.db import connection

from approvals.models.request import reference
from approvals.reports.frame import Column, Figure, Filters, Report, Row, counted, selected
from approvals.selectors.requests import Cursor

#: Rows whose cells are made together.
BATCH = 500


class Raw(NamedTuple):
    """A row as the database gave it: its request if it is about one, and the selected columns."""

    request_id: uuid.UUID | None
    values: tuple[Any, ...]


#: From selected columns to cells, some rows at once and one for one.
Cells = Callable[[Sequence[Raw], Filters], Iterable[Sequence[Any]]]


def in_scope(column: str) -> str:
    """Return the condition that an entitlement's column is of the chosen resource."""
    return (
        f"(%(resource)s::bigint IS NULL OR {column} IN"  # noqa: S608 - a column's name
        " (SELECT id FROM approvals_entitlement WHERE resource_id = %(resource)s::bigint))"
    )


def of_person(*columns: str) -> str:
    """Return the condition that one of the columns is the chosen person."""
    return f"(%(person)s::bigint IS NULL OR %(person)s::bigint IN ({', '.join(columns)}))"


def login_of(column: str) -> str:
    """Return the login that a person has now: a name may be several people's, a login is one's."""
    return f"(SELECT p.username FROM approvals_user p WHERE p.id = {column})"  # noqa: S608


#: The logins of those who approved request `c`, as its decisions follow each other.
APPROVER_LOGINS = """coalesce((SELECT string_agg(p.username, '; ' ORDER BY d.revision)
        FROM approvals_decision d JOIN approvals_user p ON p.id = d.actor_id
        WHERE d.request_id = c.request_id AND d.verdict = 'approve'), '')"""


def in_period(column: str) -> str:
    """Return the condition that a moment lies in the period."""
    return f"{column} >= %(start)s AND {column} < %(end)s"


@dataclass(frozen=True)
class Query:
    """FROM and WHERE of the rows, the two columns that order them, and what is selected.

    `key` is a uuid, unique among rows of one `at`. All of them are constants of the code; values
    come as the parameters of `Filters`.
    """

    source: str
    at: str
    key: str
    select: str
    request: str = "NULL::uuid"

    def rows(self, filters: Filters, after: Cursor | None, limit: int | None) -> Iterator[Any]:
        """Yield rows of `at`, `key`, request and the selected columns, the newest first."""
        parameters, tail = filters.parameters, ""
        if after:
            tail = f"AND ({self.at}, {self.key}) < (%(after_at)s, %(after_id)s)"
            parameters |= {"after_at": after.at, "after_id": after.id}
        yield from selected(
            f"SELECT {self.at}, {self.key}, {self.request}, {self.select} {self.source} {tail}"
            f" ORDER BY {self.at} DESC, {self.key} DESC",
            parameters,
            limit=limit,
        )

    def count(self, filters: Filters) -> int:
        """Return how many rows there are."""
        return counted(f"SELECT count(*) {self.source}", filters)

    def buckets(self, filters: Filters, unit: str) -> dict[date, int]:
        """Return how many rows each `week` or `month` has, by its first day in the zone."""
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT date_trunc(%(unit)s, {self.at} AT TIME ZONE %(zone)s)::date, count(*)"
                f" {self.source} GROUP BY 1",
                filters.parameters | {"unit": unit},
            )
            return dict(cursor.fetchall())


def as_they_are(rows: Sequence[Raw], filters: Filters) -> Iterable[Sequence[Any]]:
    """Give the selected columns out as cells."""
    return [row.values for row in rows]


def report(
    *,
    id: str,
    title: str,
    answers: str,
    controls: tuple[str, ...],
    columns: tuple[Column, ...],
    query: Query,
    cells: Cells = as_they_are,
    as_of: bool = False,
    since: bool = False,
    charted: bool = True,
    without: frozenset[str] = frozenset(),
    summary: Callable[[Filters], tuple[Figure, ...]] | None = None,
) -> Report:
    """Return the report of a query.

    A first column of kind `reference` is the request's short name, a last one `request_id` its id:
    neither needs to be selected. Rows that lie in no week are not `charted`.
    """
    named = columns[0].kind == "reference"
    identified = columns[-1].key == "request_id"

    def rows(filters: Filters, after: Cursor | None, limit: int | None) -> Iterator[Row]:
        found = query.rows(filters, after, limit)
        while batch := list(itertools.islice(found, BATCH)):
            raw = [Raw(row[2], tuple(row[3:])) for row in batch]
            for row, made in zip(batch, cells(raw, filters), strict=True):
                short = (reference(row[2]) if row[2] else "",) if named else ()
                long = (str(row[2]) if row[2] else "",) if identified else ()
                yield Row(Cursor(row[0], row[1]), row[2], (*short, *made, *long))

    return Report(
        id=id,
        title=title,
        answers=answers,
        controls=controls,
        columns=columns,
        rows=rows,
        count=query.count,
        as_of=as_of,
        since=since,
        without=without,
        summary=summary,
        buckets=query.buckets if charted and not as_of else None,
    )
