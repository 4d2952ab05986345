"""Every report that the portal has. A new one is added here."""

from approvals.domain.refusals import NotFound
from approvals.reports import approval_decisions, who_had_access
from approvals.reports.frame import Report

REPORTS: tuple[Report, ...] = (who_had_access.REPORT, approval_decisions.REPORT)


def report(name: str) -> Report:
    """Return the report of that id. Raises: NotFound."""
    for found in REPORTS:
        if found.id == name:
            return found
    raise NotFound("There is no such report.")
