"""Report downloads as records: what left the portal, for whom, as of which state of the log."""

from collections.abc import Mapping
from datetime import datetime

from approvals.models import ReportExport, User
from audit.selectors import log


def draft(
    *,
    actor: User,
    report: str,
    title: str,
    query: Mapping[str, str],
    rows: int,
    format: str,
    now: datetime,
) -> ReportExport:
    """Return the record, not written yet, with its id and the log's newest checkpoint.

    For a file that says both of itself before its own digest is known.
    """
    current = log.current()
    newest = log.newest_checkpoint(current) if current else None
    return ReportExport(
        actor=actor,
        actor_name=actor.get_full_name(),
        report=report,
        title=title,
        query=dict(query),
        rows=rows,
        format=format,
        checkpoint_origin=current.origin if current and newest else "",
        checkpoint_size=newest.size if newest else None,
        checkpoint_root=bytes(newest.root).hex() if newest else "",
        occurred_at=now,
    )


def record(
    *,
    actor: User,
    report: str,
    title: str,
    query: Mapping[str, str],
    rows: int,
    format: str,
    now: datetime,
) -> ReportExport:
    """Record that `actor` takes a report's `rows` rows away, with the log's newest checkpoint.

    It counts once the transaction around it is committed: nothing is sent before.
    """
    made = draft(
        actor=actor, report=report, title=title, query=query, rows=rows, format=format, now=now
    )
    made.save()
    return made


def record_made(export: ReportExport, *, digest: bytes) -> None:
    """Record a drafted download whose file is made, with the SHA-256 that vouches for it."""
    export.digest = digest
    export.save()
