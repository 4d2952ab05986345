"""Reports that left the portal as files: what was asked for, how much it was, as of which log."""

from typing import ClassVar

import uuid_utils.compat as uuid7
from django.db import models

from approvals.directory.models import User
from audit.models import AppendOnly, Said, sealed


class ReportExport(AppendOnly):
    """One download of a report, committed before its first byte leaves.

    `rows` is the file's exact number. The checkpoint is the newest one at that moment; it is empty
    where nothing was sealed yet. `digest` is that of a pack's manifest, whose bytes are known by
    then; those of a file that is streamed are not.
    """

    ledger_name: ClassVar[str] = "report_export"

    uid = models.UUIDField(default=uuid7.uuid7, unique=True, editable=False)
    actor = models.ForeignKey(User, models.PROTECT, related_name="+", db_index=False)
    actor_name = models.CharField(max_length=200)
    report = models.CharField(max_length=100)
    title = models.CharField(max_length=200)
    query = models.JSONField(default=dict, help_text="The filters, as texts.")
    rows = models.PositiveBigIntegerField()
    format = models.CharField(max_length=10)
    checkpoint_origin = models.CharField(max_length=200, blank=True)
    checkpoint_size = models.PositiveBigIntegerField(null=True)
    checkpoint_root = models.CharField(max_length=64, blank=True, help_text="In hex.")
    digest = models.BinaryField(
        max_length=32, null=True, help_text="SHA-256 of an evidence pack's manifest."
    )
    occurred_at = models.DateTimeField()

    class Meta:
        verbose_name = "report download"
        indexes: ClassVar = [
            models.Index(fields=["-occurred_at", "-id"], name="report_export_newest"),
            models.Index(fields=["actor", "-occurred_at", "-id"], name="report_export_actor"),
        ]

    def __str__(self) -> str:
        return f"{self.actor_name}: {self.title}"

    @property
    def checkpoint(self) -> str:
        """Return the checkpoint in one line: origin, size and root; nothing where there is none."""
        if self.checkpoint_size is None:
            return ""
        return f"{self.checkpoint_origin} {self.checkpoint_size} {self.checkpoint_root}"

    def said(self) -> Said:
        """Return what the download says to the log, as an object of one revision."""
        return self.said_after(None, actor=str(self.actor.uid))

    def said_after(self, before: None, *, actor: str) -> Said:
        """Return it with the actor given."""
        return Said(
            model=self.ledger_name,
            object_id=str(self.uid),
            revision=1,
            previous="",
            operation="exported",
            actor=actor,
            at=self.occurred_at,
            values=sealed.values(self, None, without=frozenset({"id", "recorded_at", "uid"})),
        )
