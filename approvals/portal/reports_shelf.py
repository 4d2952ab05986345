"""Saved reports in lists, as the reports page shows them."""

from dataclasses import dataclass
from typing import Any

from approvals.domain.periods import TITLES, Frequency, Period
from approvals.domain.refusals import NotFound
from approvals.portal.views import PortalRequest
from approvals.reports import registry, saved
from approvals.selectors import clock
from approvals.selectors import report_schedules as reads

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
#: What periods a report can be saved with; those of one moment have none to choose.
PERIODS = [(str(each), TITLES[each]) for each in Period if each is not Period.MOMENT]
#: How the states of a run look.
TONES = {"started": "pending", "made": "pending", "sent": "active", "refused": "failed",
         "failed": "failed", "skipped": ""}  # fmt: skip


@dataclass(frozen=True)
class Shown:
    """A saved report as lists show it."""

    line: reads.Line
    title: str
    period: str
    link: str
    rhythm: str

    @property
    def tone(self) -> str:
        """Return how the state of its newest run looks."""
        return TONES[self.line.run.newest.event] if self.line.run else ""


def shelf(request: PortalRequest) -> dict[str, list[Shown]]:
    """Return what the reports page shows of saved reports (3 queries, 2 more for compliance)."""
    now = clock.now()

    def shown(line: reads.Line) -> Shown:
        return Shown(
            line=line,
            title=title_of(line.saved.report),
            period=saved.period_of(line.saved.query),
            link=saved.opened(report=line.saved.report, query=line.saved.query, now=now),
            rhythm=rhythm(line.schedule) if line.schedule else "",
        )

    me = request.user
    others = reads.of_others(person=me) if me.is_compliance else []
    return {
        "saved_reports": [shown(line) for line in reads.lines(person=me)],
        "saved_by_others": [shown(line) for line in others],
    }


def title_of(name: str) -> str:
    """Return a report's title, whether there still is one or not."""
    try:
        return registry.report(name).title
    except NotFound:
        return f"{name}, which there is no more"


def rhythm(schedule: Any) -> str:
    """Return when a schedule runs, as people say it."""
    day = ""
    if schedule.frequency == Frequency.WEEKLY:
        day = f"{WEEKDAYS[schedule.weekday]}s, "
    elif schedule.frequency == Frequency.MONTHLY:
        day = f"on day {schedule.month_day} of the month, "
    else:
        day = "daily, "
    return f"{day}{schedule.hour:02}:00 {schedule.query['timezone']}, {schedule.format.upper()}"
