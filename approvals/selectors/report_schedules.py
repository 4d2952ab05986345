"""Saved reports with their schedules and runs, as pages and those that send them need them."""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from approvals.models import Group, ReportRun, ReportSchedule, SavedReport, User
from approvals.selectors import personal

#: A run that comes out so long after its moment is said to be late.
LATE_AFTER = timedelta(minutes=15)
RUNS_SHOWN = 30


class Line(NamedTuple):
    """A saved report with its schedule and the newest run of that, where there are any."""

    saved: SavedReport
    schedule: ReportSchedule | None
    run: "Run | None"


@dataclass(frozen=True)
class Run:
    """A run: its newest revision, when it began, the people of it by name."""

    newest: ReportRun
    started_at: datetime
    sent_to: tuple[str, ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()

    @property
    def late_by(self) -> timedelta | None:
        """Return how long after its moment it came out, None where that is not worth a word."""
        if self.newest.event == ReportRun.Event.SKIPPED:
            return None
        return late_by(self.newest.planned_at, self.newest.occurred_at)


def late_by(planned_at: datetime, at: datetime) -> timedelta | None:
    """Return how late a moment is for what was planned, None if it is in time."""
    return at - planned_at if at - planned_at >= LATE_AFTER else None


def readers() -> list[User]:
    """Return the active people who may see reports, by name (one query)."""
    people = User.objects.filter(is_active=True, memberships__group__role__in=Group.Role.values)
    return list(people.order_by("name", "pk").distinct())


def lines(*, person: User) -> list[Line]:
    """Return the person's saved reports by name, with their schedules and newest runs (3 queries).

    Nobody else's saved reports are among them.
    """
    saved = list(SavedReport.objects.filter(person=person).order_by("name"))
    found = {row.saved_id: row for row in ReportSchedule.objects.filter(owner=person)}
    newest = _newest(row.uid for row in found.values())
    return [
        Line(
            row,
            schedule := found.get(row.pk),
            newest.get(schedule.uid) if schedule else None,
        )
        for row in saved
    ]


def of_others(*, person: User) -> list[Line]:
    """Return everybody else's scheduled reports, by name (2 queries)."""
    rows = ReportSchedule.objects.exclude(owner=person).select_related("saved", "owner")
    found = list(rows.order_by("name", "pk"))
    newest = _newest(row.uid for row in found)
    return [Line(row.saved, row, newest.get(row.uid)) for row in found]


def _newest(uids: Iterable[uuid.UUID]) -> dict[uuid.UUID, Run]:
    """Return each schedule's newest run (one query)."""
    wanted = list(uids)
    if not wanted:
        return {}
    rows = (
        ReportRun.objects.filter(schedule__in=wanted)
        .order_by("schedule", "-planned_at", "-revision")
        .distinct("schedule")
    )
    return {row.schedule: Run(row, row.occurred_at) for row in rows}


def runs(schedule: uuid.UUID, *, limit: int = RUNS_SHOWN) -> list[Run]:
    """Return a schedule's newest runs, the newest first, with names (3 queries)."""
    rows = (
        ReportRun.objects.filter(schedule=schedule)
        .order_by("-planned_at", "-revision")
        .distinct("planned_at")[:limit]
    )
    found = list(rows)
    began = dict(
        ReportRun.objects.filter(run_id__in=[row.run_id for row in found], revision=1).values_list(
            "run_id", "occurred_at"
        )
    )
    names = personal.names(
        int(pk) for row in found for pk in (*row.sent_to, *(row.left_out or {}).keys())
    )
    return [
        Run(
            row,
            began[row.run_id],
            sent_to=tuple(names.get(pk, "?") for pk in row.sent_to),
            left_out=tuple(
                (names.get(int(pk), "?"), why) for pk, why in (row.left_out or {}).items()
            ),
        )
        for row in found
    ]


def newest(run_id: uuid.UUID) -> ReportRun:
    """Return a run's newest revision (one query). Raises: ReportRun.DoesNotExist."""
    found = ReportRun.objects.filter(run_id=run_id).select_related("owner", "actor")
    row: ReportRun = found.order_by("-revision")[:1].get()
    return row


def schedule_of(uid: uuid.UUID) -> ReportSchedule | None:
    """Return a schedule, None where it is gone (one query)."""
    return ReportSchedule.objects.filter(uid=uid).select_related("owner").first()


def people(ids: Sequence[int]) -> list[User]:
    """Return people by their numbers, in their order (one query)."""
    found = User.objects.in_bulk(ids)
    return [found[pk] for pk in ids if pk in found]
