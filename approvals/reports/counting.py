"""How many rows each report has, for the list of them: in a bounded time, and kept for a minute.

A long history takes its time to be counted. What takes too long is not told there; the report's
own page and its files count it whatever it takes.
"""

import time
from collections.abc import Iterable
from hashlib import sha256

from django.core.cache import cache
from django.db import OperationalError, connection, transaction

from approvals.reports.frame import Filters, Report

#: The most that one report's count and all of them may take, in seconds.
EACH_SECONDS, ALL_SECONDS = 1.0, 5.0
KEPT_SECONDS = 60


def quickly(
    reports: Iterable[Report],
    filters: Filters,
    *,
    each_seconds: float = EACH_SECONDS,
    all_seconds: float = ALL_SECONDS,
) -> dict[str, int | None]:
    """Return the row count of each report by its id; None where that would take too long.

    What was counted lately for the same filters is told again: a period that goes on is counted up
    to a moment of the last minute.
    """
    key = _key(filters)
    known: dict[str, int | None] | None = cache.get(key)
    if known is not None:
        return known
    until = time.monotonic() + all_seconds
    found: dict[str, int | None] = {}
    for report in reports:
        left = min(each_seconds, until - time.monotonic())
        found[report.id] = _counted(report, filters, seconds=left) if left > 0 else None
    cache.set(key, found, KEPT_SECONDS)
    return found


def _counted(report: Report, filters: Filters, *, seconds: float) -> int | None:
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SHOW statement_timeout")
            before = cursor.fetchone()[0]
            _limit(f"{max(1, int(seconds * 1000))}ms")
            number = report.count(filters)
            _limit(before)  # for what else is in a transaction around this one
            return number
    except OperationalError as error:
        if getattr(error.__cause__, "sqlstate", "") == "57014":  # the statement was cancelled
            return None
        raise


def _limit(text: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('statement_timeout', %s, true)", [text])


def _key(filters: Filters) -> str:
    """Return what tells filters apart; when exactly a period that goes on is cut does not."""
    chosen = filters.parameters | {"first": filters.first, "last": filters.last}
    if filters.is_cut:
        chosen = {key: value for key, value in chosen.items() if key not in ("end", "moment")}
    return f"report-counts:{sha256(repr(sorted(chosen.items())).encode()).hexdigest()}"
