"""Reports as XLSX: what it is about on the first sheet, the rows on the second.

Texts are written as texts, so that none is a formula or a link whatever it begins with. Moments are
in the report's timezone, which the first sheet names: spreadsheets know none. Rows go through a
file on disk, not through memory.
"""

import re
import tempfile
from collections.abc import Mapping
from datetime import datetime
from typing import IO, Any

from approvals.models import User
from approvals.reports import files, tables
from approvals.reports.files import Taken
from approvals.reports.frame import Filters, Report

CONTENT_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
#: A sheet's rows, less the one with the titles.
ROWS_MOST = 1_048_576 - 1
CHARACTERS_MOST = 32_767
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\ud800-\udfff]")
_WIDTHS = {"number": 12, "moment": 24, "mono": 30, "signed": 40}


def make(
    report: Report, filters: Filters, *, actor: User, query: Mapping[str, str], now: datetime
) -> tuple[Taken, IO[bytes]]:
    """Return the report's workbook as a file on disk that is gone when closed, and its record.

    Raises: files.TooLong.
    """
    taken = files.take(
        report,
        filters,
        actor=actor,
        query=query,
        format="xlsx",
        now=now,
        most=ROWS_MOST,
        illustrated=True,
    )
    made = tempfile.TemporaryFile(suffix=".xlsx")  # noqa: SIM115 - the caller closes it
    try:
        write(taken, made)
    except BaseException:
        made.close()
        raise
    finally:
        taken.close()
    made.seek(0)
    return taken, made


def write(taken: Taken, file: IO[bytes]) -> None:
    """Write the workbook to a file."""
    import xlsxwriter  # here, so that a process that sends CSV alone does without it

    options = {
        "constant_memory": True,
        "strings_to_formulas": False,
        "strings_to_urls": False,
        "strings_to_numbers": False,
    }
    with xlsxwriter.Workbook(file, options) as book:
        bold = book.add_format({"bold": True})
        moment = book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss.000"})
        about = book.add_worksheet("About")
        about.set_column(0, 0, 24)
        about.set_column(1, 1, 90)
        lines = [*taken.about, *((each.title, each.value) for each in taken.figures)]
        for number, (title, text) in enumerate(lines):
            about.write_string(number, 0, title, bold)
            about.write_string(number, 1, _text(text))
        sheet = book.add_worksheet("Rows")
        sheet.freeze_panes(1, 1)
        for number, column in enumerate(taken.report.columns):
            sheet.set_column(number, number, _WIDTHS.get(column.kind, 22))
            sheet.write_string(0, number, column.key, bold)
        last = max(taken.export.rows, 1)
        sheet.autofilter(0, 0, last, len(taken.report.columns) - 1)
        zone = taken.filters.zone
        for at, row in enumerate(taken.rows, 1):
            for number, value in enumerate(row.cells):
                if value is None or value == "":
                    continue
                if isinstance(value, datetime):
                    sheet.write_datetime(
                        at, number, value.astimezone(zone).replace(tzinfo=None), moment
                    )
                elif isinstance(value, int | float) and not isinstance(value, bool):
                    sheet.write_number(at, number, value)
                else:
                    sheet.write_string(at, number, _text(_words(value, zone)))


def _words(value: Any, zone: Any) -> str:
    return tables.plain(value, zone) if isinstance(value, tuple) else str(value)


def _text(text: str) -> str:
    """Return a text that XML can hold and a cell has room for; what is cut off says so."""
    clean = _NOT_XML.sub("�", text)
    return clean if len(clean) <= CHARACTERS_MOST else f"{clean[: CHARACTERS_MOST - 1]}…"
