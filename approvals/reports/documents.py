"""Reports as PDF: a cover with what it is about, figures and a chart, then the table.

Set by Typst with the fonts that come with it; nothing is fetched. What people wrote goes in as data
and never as markup, so that no text can act as a command. The table has the columns of the page.
"""

import json
import tempfile
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from approvals.models import User
from approvals.reports import files, tables
from approvals.reports.files import Taken
from approvals.reports.frame import Filters, Report

CONTENT_TYPE = "application/pdf"
#: A document is for reading; longer reports are for CSV and XLSX.
ROWS_MOST = 2_000
TEXT_MOST = 300
TEMPLATE = Path(__file__).with_name("document.typ")


def make(
    report: Report, filters: Filters, *, actor: User, query: Mapping[str, str], now: datetime
) -> tuple[Taken, bytes]:
    """Return the report as a PDF, and its record. Raises: files.TooLong."""
    taken = files.take(
        report,
        filters,
        actor=actor,
        query=query,
        format="pdf",
        now=now,
        most=ROWS_MOST,
        illustrated=True,
    )
    try:
        data = content(taken)
    finally:
        taken.close()
    return taken, typeset(data)


def content(taken: Taken) -> dict[str, Any]:
    """Return all that the document shows."""
    zone = taken.filters.zone
    shown = [(at, each) for at, each in enumerate(taken.report.columns) if not each.wide]
    chart = None
    if taken.chart is not None and taken.chart.most:
        chart = {
            "title": f"Rows a {taken.chart.unit}",
            "earlier": taken.chart.earlier,
            "most": taken.chart.most,
            "bars": [
                {"count": bar.count, "first": f"{bar.first:%d %b %Y}"} for bar in taken.chart.bars
            ],
        }
    return {
        "title": taken.report.title,
        "answers": taken.report.answers,
        "about": taken.about,
        "figures": [list(each) for each in taken.figures],
        "chart": chart,
        "columns": [
            {
                "title": each.title,
                "number": each.kind == "number",
                "weight": _weight(each.kind),
                "mono": each.kind in ("mono", "reference"),
            }
            for _, each in shown
        ],
        "rows": [
            [tables.plain(row.cells[at], zone)[:TEXT_MOST] for at, _ in shown] for row in taken.rows
        ],
        "left_out": [each.title for each in taken.report.columns if each.wide],
    }


def _weight(kind: str) -> float:
    """Return how much of the page's width a column wants."""
    return {"number": 0.7, "moment": 1.1, "reference": 1.2, "signed": 1.6, "state": 0.8}.get(
        kind, 1.2
    )


def typeset(data: dict[str, Any]) -> bytes:
    """Return the PDF of a document's content."""
    import typst  # here, so that a process that makes no PDF does without it

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "document.typ").write_bytes(TEMPLATE.read_bytes())
        (root / "data.json").write_text(json.dumps(data), encoding="utf-8")
        made = typst.compile(root / "document.typ", root=root, ignore_system_fonts=True)
    assert isinstance(made, bytes)
    return made
