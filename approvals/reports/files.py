"""Reports as files that leave the portal: recorded first, of one moment, in little memory."""

import itertools
from collections.abc import Generator, Iterator, Mapping
from datetime import datetime
from typing import cast

from approvals.models import ReportExport, User
from approvals.reports import frame, tables
from approvals.reports.frame import Filters, Report, Row
from approvals.services import exports

LINES_AT_ONCE = 500


class CsvFile:
    """A report that may be sent, piece by piece and once; it holds exactly `export.rows` rows."""

    def __init__(
        self, export: ReportExport, *, lines: Iterator[str], rows: Generator[Row, None, None]
    ) -> None:
        self.export = export
        self._lines = lines
        self._rows = rows

    def __iter__(self) -> Iterator[str]:
        """Yield the lines in larger pieces: one write for each line would be slow."""
        while piece := "".join(itertools.islice(self._lines, LINES_AT_ONCE)):
            yield piece

    def close(self) -> None:
        """Let the server forget the rows that were not read."""
        self._rows.close()


def csv(
    report: Report, filters: Filters, *, actor: User, query: Mapping[str, str], now: datetime
) -> CsvFile:
    """Return a report as CSV for `actor`; that they take it away is on record by then.

    One transaction counts the rows, opens the cursor that gives them, and writes the record. The
    cursor outlives its commit with the rows of that moment, so that the file and its record agree
    and a slow reader keeps no transaction open. Close the file when done.
    """
    with frame.snapshot():
        rows = cast(Generator[Row, None, None], report.rows(filters, None, None))
        try:
            first = list(itertools.islice(rows, 1))  # which opens the cursor
            export = exports.record(
                actor=actor,
                report=report.id,
                title=report.title,
                query=query,
                rows=report.count(filters),
                format="csv",
                now=now,
            )
        except BaseException:
            rows.close()
            raise
    found = itertools.chain(first, rows)
    lines = tables.csv_lines(report.columns, found, zone=filters.zone)
    return CsvFile(export, lines=lines, rows=rows)
