"""Letters with scheduled reports: here it is, it is too long for a file, it could not be made."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings

from approvals.models import ReportRun, User
from approvals.services import wording
from approvals.services.letters.letter import NAME_MOST, SUBJECT_MOST, Fact, Letter, zone
from approvals.services.wording import short

FIGURES_MOST = 12


@dataclass(frozen=True, kw_only=True)
class RunCase:
    """A run for one reader: the report's title, its period in words, and its page's address."""

    to: User
    now: datetime
    run: ReportRun
    title: str
    period: str
    url: str
    saved_id: int
    late_by: timedelta | None = None

    @property
    def clock(self) -> wording.Clock:
        """Return the reader's clock."""
        return wording.Clock(zone(self.to), self.now)

    @property
    def name(self) -> str:
        """Return the schedule's name."""
        return short(self.run.schedule_name, NAME_MOST)

    @property
    def eyebrow(self) -> str:
        """Return what it is, and for when it was planned."""
        planned = f"Scheduled report · planned for {self.clock.exactly(self.run.planned_at)}"
        return f"{planned}, late by {wording.about(self.late_by)}" if self.late_by else planned

    @property
    def why(self) -> str:
        """Return why the reader gets it."""
        if self.to.pk == self.run.owner_id:
            return f"You get this because you scheduled “{self.name}”."
        owner = short(self.run.owner_name, NAME_MOST)
        return f"You get this because {owner} scheduled “{self.name}” for you."


@dataclass(frozen=True, kw_only=True)
class MadeCase(RunCase):
    """A run whose file is made. `file` is its name, empty where it is too large for a mail."""

    figures: Sequence[tuple[str, str]]
    facts: Sequence[tuple[str, str]]
    rows: int
    size: int
    sha256: str
    checkpoint: str
    file: str


def made(case: MadeCase) -> Letter:
    """Hand over a report: its figures and rows, what the file is, and how to check it."""
    rows = f"{case.rows:,} row{'' if case.rows == 1 else 's'}"
    there = (
        f"The file is attached: {case.file}. The SHA-256 above is that of this very file."
        if case.file
        else f"The file has {_megabytes(case.size)}, too large for a mail. The page makes the "
        "same report for the same period; a file that is made anew has another SHA-256 where it "
        "says when it was made."
    )
    return Letter(
        subject=short(f"{case.title}, {case.period}: {rows}", SUBJECT_MOST),
        eyebrow=case.eyebrow,
        headline=f"{case.name}: {rows}",
        facts=(
            Fact("Report", case.title),
            Fact("Period", case.period),
            *(Fact(title, short(text, 200)) for title, text in case.facts),
            Fact("Rows", f"{case.rows:,}"),
            *(
                Fact(short(title, 60), short(text, 200))
                for title, text in case.figures[:FIGURES_MOST]
            ),
        ),
        steps=(
            ("SHA-256 of the file", case.sha256),
            ("Ledger checkpoint", case.checkpoint or "nothing is sealed yet"),
        ),
        paragraphs=(
            there,
            f"That it was made is on record as {case.run.export}, like any download.",
        ),
        why=case.why,
        action="Open the report",
        url=case.url,
        url_note="Opens the same report for the same period after sign-in.",
    )


def _megabytes(size: int) -> str:
    return f"{size / 1_000_000:,.1f} MB"


def refused(case: RunCase, *, reason: str) -> Letter:
    """Say that the report is too long for the format, and where it can be had."""
    return Letter(
        subject=short(f"Too long for a file: {case.title}, {case.period}", SUBJECT_MOST),
        eyebrow=case.eyebrow,
        headline=f"{case.name} is too long for {case.run.format.upper()}",
        facts=(Fact("Report", case.title), Fact("Period", case.period)),
        paragraphs=(
            reason,
            "The page shows all of it. Whoever owns the schedule can choose another format there.",
        ),
        why=case.why,
        action="Open the report",
        url=case.url,
        url_note="Opens the same report for the same period after sign-in.",
    )


def failed(case: RunCase, *, reason: str) -> Letter:
    """Tell the owner that a report could not be made or sent."""
    return Letter(
        subject=short(f"Not sent: {case.title}, {case.period}", SUBJECT_MOST),
        eyebrow=case.eyebrow,
        headline=f"{case.name} could not be sent",
        quote=reason,
        quoted="What went wrong",
        facts=(Fact("Report", case.title), Fact("Period", case.period)),
        paragraphs=("The schedule goes on with its next moment.",),
        why=f"You get this because you scheduled “{case.name}”.",
        action="See the schedule",
        url=f"{settings.PORTAL_URL}/reports/saved/{case.saved_id}/",
    )
