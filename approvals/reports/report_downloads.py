"""Downloads of reports: what left the portal as a file, for whom, and as of which log."""

from collections.abc import Iterable, Sequence
from typing import Any

from approvals.reports.frame import Column, Filters
from approvals.reports.query import Query, Raw, in_period, report

QUERY = Query(
    source=f"""
        FROM approvals_reportexport x
        WHERE {in_period("x.occurred_at")}
          AND (%(person)s::bigint IS NULL OR x.actor_id = %(person)s::bigint)""",
    at="x.occurred_at",
    key="x.uid",
    select="""x.occurred_at, x.actor_name, x.title, x.format, x.rows, x.query::text,
        x.checkpoint_origin, x.checkpoint_size, x.checkpoint_root, x.uid,
        coalesce(encode(x.digest, 'hex'), '')""",
)

COLUMNS = (
    Column("at", "When", "moment"),
    Column("by", "By"),
    Column("report", "Report"),
    Column("format", "Format"),
    Column("rows", "Rows", "number"),
    Column("query", "Query", "mono"),
    Column("checkpoint_origin", "Log", "mono", wide=True),
    Column("checkpoint_size", "Checkpoint", "number"),
    Column("checkpoint_root", "Root", "mono", wide=True),
    Column("download_id", "Download", "mono", wide=True),
    Column("digest", "SHA-256 of a pack's manifest", "mono", wide=True),
)


def _cells(rows: Sequence[Raw], filters: Filters) -> Iterable[Sequence[Any]]:
    return [(*values[:9], str(values[9]), values[10]) for _, values in rows]


REPORT = report(
    id="report-downloads",
    title="Downloads of reports",
    answers="Which reports left the portal, who took them, with which filters",
    controls=("SOC 2 CC6.7", "NIST AU-6, AU-12"),
    columns=COLUMNS,
    query=QUERY,
    cells=_cells,
    without=frozenset({"resource"}),
)
