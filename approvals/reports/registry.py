"""Every report that the portal has. A new one is added here."""

from approvals.domain.refusals import NotFound
from approvals.reports import (
    access_reviews,
    active_as_of,
    approval_decisions,
    approver_patterns,
    configuration_changes,
    dormant_rights,
    failed_removals,
    handovers,
    leavers_movers,
    ledger_integrity,
    orphaned_access,
    privileged_access,
    refused_attempts,
    removal_timeliness,
    report_downloads,
    request_population,
    who_had_access,
)
from approvals.reports.frame import Report

REPORTS: tuple[Report, ...] = (
    who_had_access.REPORT,
    request_population.REPORT,
    approval_decisions.REPORT,
    approver_patterns.REPORT,
    handovers.REPORT,
    refused_attempts.REPORT,
    active_as_of.REPORT,
    removal_timeliness.REPORT,
    failed_removals.REPORT,
    orphaned_access.REPORT,
    leavers_movers.REPORT,
    privileged_access.REPORT,
    configuration_changes.REPORT,
    dormant_rights.REPORT,
    access_reviews.REPORT,
    ledger_integrity.REPORT,
    report_downloads.REPORT,
)


def report(name: str) -> Report:
    """Return the report of that id. Raises: NotFound."""
    for found in REPORTS:
        if found.id == name:
            return found
    raise NotFound("There is no such report.")
