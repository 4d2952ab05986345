"""Report downloads as records: what left the portal, for whom, as of which state of the log."""

from collections.abc import Mapping
from datetime import datetime

from approvals.models import ReportExport, User
from audit.selectors import log


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
    current = log.current()
    newest = log.newest_checkpoint(current) if current else None
    made = ReportExport(
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
    made.save()
    return made
