"""The audit search: everything that ever happened, newest first, from all the tables that keep it.

Each source gives its newest few by its own index and the database merges them, so that a page costs
the same however long the history is. Nothing is counted. A search that has to read too much is
stopped by the database and refused with advice.
"""

from typing import Any, NamedTuple

from django.db import OperationalError, connection, transaction

from approvals.domain.refusals import Invalid
from approvals.selectors.history_entries import Entry, entries_of
from approvals.selectors.history_sources import SOURCES, Arm, Criteria, Position

PAGE = 50
#: Read at once: half of them may be decisions that their revisions tell already.
_RAW = 2 * PAGE + 1
LONGEST_SECONDS = 8

KINDS = {
    "requests": "Requests",
    "decisions": "Decisions",
    "questions": "Questions",
    "grants": "Grants",
    "reviews": "Reviews",
    "configuration": "Configuration",
    "signins": "Sign-ins",
    "downloads": "Downloads",
    "erasures": "Erasures",
}


class Page(NamedTuple):
    """Entries, newest first, and where the next page begins (None: there is none)."""

    entries: list[Entry]
    next: Position | None


def find(*, criteria: Criteria, before: Position | None = None) -> Page:
    """Return what matches, newest first, after the position `before` (at most 40 queries).

    Raises: Invalid when looking takes longer than the database is allowed to.
    """
    if criteria.impossible:
        return Page([], None)
    keys = _keys(criteria, before)
    entries = entries_of(keys)
    shown = entries[:PAGE]
    more = len(entries) > PAGE or len(keys) == _RAW
    if not more:
        return Page(shown, None)
    return Page(shown, shown[-1].position if shown else keys[-1])


def statement(criteria: Criteria, before: Position | None = None) -> tuple[str, list[Any]]:
    """Return the SQL that finds a page's keys, and its parameters."""
    arms: list[Arm] = [arm for source in SOURCES for arm in source.arms(criteria, before)]
    if not arms:
        return "", []
    union = " UNION " if criteria.people else " UNION ALL "  # only people have overlapping arms
    one = union.join(f"({arm.sql} LIMIT {_RAW})" for arm in arms)
    parameters = [value for arm in arms for value in arm.parameters]
    return (
        f"SELECT rank, at, id FROM ({one}) found"  # noqa: S608 - only constants are put in
        f" ORDER BY at DESC, rank DESC, id DESC LIMIT {_RAW}",
        parameters,
    )


def _keys(criteria: Criteria, before: Position | None) -> list[Position]:
    sql, parameters = statement(criteria, before)
    if not sql:
        return []
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            if criteria.is_narrowed:
                cursor.execute(f"SET LOCAL statement_timeout = '{LONGEST_SECONDS}s'")
            cursor.execute(sql, parameters)
            return [Position(at, rank, pk) for rank, at, pk in cursor.fetchall()]
    except OperationalError as error:
        if getattr(error.__cause__, "sqlstate", None) != "57014":
            raise
        raise Invalid(
            f"That search reads more than {LONGEST_SECONDS} seconds allow. Choose a shorter "
            "period, or name a person, a system or a request.",
            field="q",
            code="too_much",
        ) from error
