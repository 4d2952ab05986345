"""Saved reports, their schedules, and the record of each scheduled run.

A saved report is its person's own and goes with them. A schedule is configuration with a history.
Runs are records.
"""

from datetime import datetime
from typing import Any, ClassVar, Self
from zoneinfo import ZoneInfo

import uuid_utils.compat as uuid7
from django.db import models
from simple_history.models import HistoricalRecords

from approvals.directory.models import User
from approvals.domain.periods import MONTH_DAY_MOST, Frequency, Rule
from audit.domain.entries import SYSTEM
from audit.models import AppendOnly, Said, sealed

_ROW = frozenset({"id", "recorded_at", "run_id", "revision", "event"})


class SavedReport(models.Model):
    """A report and its filters under a name, for one person."""

    person = models.ForeignKey(User, models.CASCADE, related_name="+", db_index=False)
    name = models.CharField(max_length=60)
    report = models.CharField(max_length=100)
    query = models.JSONField(default=dict, help_text="Each filter and what it is set to.")
    created_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["person", "name"], name="saved_report_once")
        ]

    def __str__(self) -> str:
        return self.name


class ReportSchedule(models.Model):
    """When a saved report is made, as what, and whom it is mailed to.

    It holds what the saved report says too, so that its history tells what was sent. `next_at` is
    no part of that; it is null while the schedule is paused.
    """

    class Format(models.TextChoices):
        """What file is made."""

        CSV = "csv", "CSV"
        XLSX = "xlsx", "XLSX"
        PDF = "pdf", "PDF"

    uid = models.UUIDField(default=uuid7.uuid7, unique=True, editable=False)
    saved = models.OneToOneField(SavedReport, models.PROTECT, related_name="schedule")
    owner = models.ForeignKey(User, models.PROTECT, related_name="+", db_index=False)
    name = models.CharField(max_length=60)
    report = models.CharField(max_length=100)
    query = models.JSONField(default=dict, help_text="Each filter and what it is set to.")
    frequency = models.CharField(
        max_length=10, choices=[(each.value, each.value.capitalize()) for each in Frequency]
    )
    weekday = models.PositiveSmallIntegerField(null=True, help_text="Monday is 0.")
    month_day = models.PositiveSmallIntegerField(null=True)
    hour = models.PositiveSmallIntegerField(help_text="Of the report's timezone.")
    format = models.CharField(max_length=10, choices=Format.choices)
    recipients = models.JSONField(default=list, help_text="People, by their numbers.")
    is_paused = models.BooleanField("paused", default=False)
    paused_because = models.CharField(max_length=300, blank=True)
    created_at = models.DateTimeField()
    next_at = models.DateTimeField(null=True)
    history = HistoricalRecords(excluded_fields=["next_at"])

    class Meta:
        verbose_name = "report schedule"
        indexes: ClassVar = [
            models.Index(
                fields=["next_at"],
                name="report_schedule_due",
                condition=models.Q(next_at__isnull=False),
            )
        ]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=models.Q(frequency="daily", weekday=None, month_day=None)
                | models.Q(
                    frequency="weekly", weekday__isnull=False, weekday__lte=6, month_day=None
                )
                | models.Q(
                    frequency="monthly",
                    weekday=None,
                    month_day__isnull=False,
                    month_day__gte=1,
                    month_day__lte=MONTH_DAY_MOST,
                ),
                name="report_schedule_days",
            ),
            models.CheckConstraint(
                condition=models.Q(hour__lte=23, format__in=["csv", "xlsx", "pdf"]),
                name="report_schedule_terms",
            ),
            models.CheckConstraint(
                condition=models.Q(is_paused=True, next_at=None)
                | models.Q(is_paused=False, next_at__isnull=False, paused_because=""),
                name="report_schedule_paused",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def rule(self) -> Rule:
        """Return when it runs. Raises: ZoneInfoNotFoundError where its timezone is no more."""
        return Rule(
            frequency=Frequency(self.frequency),
            hour=self.hour,
            zone=ZoneInfo(self.query["timezone"]),
            weekday=self.weekday,
            month_day=self.month_day,
        )


class ReportRun(AppendOnly):
    """One revision of a run: started, a file made (once for each try), and how it came out.

    A planned moment that was missed is one revision, skipped. The database takes one run for each
    moment of a schedule, and nothing after its outcome. `query` are the filters, fixed.
    """

    ledger_name: ClassVar[str] = "report_run"

    class Event(models.TextChoices):
        """How far it is."""

        STARTED = "started", "Started"
        SKIPPED = "skipped", "Skipped"
        MADE = "made", "File made"
        SENT = "sent", "Sent"
        REFUSED = "refused", "Too long"
        FAILED = "failed", "Failed"

    run_id = models.UUIDField(default=uuid7.uuid7)
    revision = models.PositiveIntegerField(default=1)
    event = models.CharField(max_length=10, choices=Event.choices)
    schedule = models.UUIDField(help_text="The schedule's `uid`: it may be gone.")
    schedule_name = models.CharField(max_length=60)
    planned_at = models.DateTimeField()
    report = models.CharField(max_length=100)
    query = models.JSONField(default=dict, help_text="The filters, fixed.")
    format = models.CharField(max_length=10)
    recipients = models.JSONField(default=list, help_text="Whom it was for, by their numbers.")
    owner = models.ForeignKey(User, models.PROTECT, related_name="+", db_index=False)
    owner_name = models.CharField(max_length=200)
    actor = models.ForeignKey(User, models.PROTECT, null=True, related_name="+", db_index=False)
    export = models.UUIDField(null=True, help_text="The record of the file.")
    rows = models.PositiveBigIntegerField(null=True)
    size = models.PositiveBigIntegerField(null=True, help_text="Of the file, in bytes.")
    sha256 = models.CharField(max_length=64, blank=True)
    sent_to = models.JSONField(default=list, help_text="Who got mail, by their numbers.")
    left_out = models.JSONField(default=dict, help_text="Who got none, and why.")
    reason = models.CharField(max_length=300, blank=True)
    occurred_at = models.DateTimeField()

    # In memory only: the revision that this one was made of.
    _before: "ReportRun | None" = None

    class Meta:
        verbose_name = "report run"
        indexes: ClassVar = [
            models.Index(fields=["schedule", "-planned_at", "-revision"], name="report_run_newest"),
            models.Index(fields=["-occurred_at", "-id"], name="report_run_when"),
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["run_id", "revision"], name="report_run_revision"),
            models.UniqueConstraint(
                fields=["schedule", "planned_at"],
                condition=models.Q(revision=1),
                name="report_run_once",
            ),
            models.CheckConstraint(
                condition=models.Q(revision=1, event__in=["started", "skipped"])
                | models.Q(revision__gt=1, event__in=["made", "sent", "refused", "failed"]),
                name="report_run_event",
            ),
            models.CheckConstraint(
                condition=~models.Q(event__in=["made", "sent"])
                | models.Q(export__isnull=False, rows__isnull=False, size__isnull=False)
                & ~models.Q(sha256=""),
                name="report_run_file",
            ),
            models.CheckConstraint(
                condition=~models.Q(event__in=["skipped", "refused", "failed"])
                | ~models.Q(reason=""),
                name="report_run_reason",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.schedule_name} #{self.revision}"

    @property
    def is_over(self) -> bool:
        """Return whether this revision says how the run came out."""
        return self.event in (
            self.Event.SKIPPED,
            self.Event.SENT,
            self.Event.REFUSED,
            self.Event.FAILED,
        )

    @property
    def actor_uid(self) -> str:
        """Return the random identity of who let it run; the portal's where that was its hour."""
        return str(self.actor.uid) if self.actor_id and self.actor else SYSTEM

    def next(self, *, event: str, now: datetime, **values: Any) -> Self:
        """Return the revision that follows, unsaved, with these values changed."""
        kept = {
            field.attname: getattr(self, field.attname)
            for field in self._meta.concrete_fields
            if field.attname not in {"id", "recorded_at"}
        }
        kept |= {"revision": self.revision + 1, "event": event, "occurred_at": now, **values}
        made = type(self)(**kept)
        made._before = self
        return made

    def said(self) -> Said:
        """Return what this revision says to the log, under the newest entry of its run."""
        _, previous = sealed.last(model=self.ledger_name, object_id=str(self.run_id))
        return self.said_after(self._before, actor=self.actor_uid, previous=previous)

    def said_after(self, before: "ReportRun | None", *, actor: str, previous: str = "") -> Said:
        """Return what this revision says as the one that follows `before`."""
        return Said(
            model=self.ledger_name,
            object_id=str(self.run_id),
            revision=self.revision,
            previous=previous,
            operation=self.event,
            actor=actor,
            at=self.occurred_at,
            values=sealed.values(self, before, without=_ROW),
        )
