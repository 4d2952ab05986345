"""What happened at the target and what people were told: evidence beside the revisions."""

from typing import ClassVar

from django.db import models

from approvals.directory.models import User
from audit.domain.entries import SYSTEM
from audit.models import AppendOnly, Said, sealed


class GrantEvent(AppendOnly):
    """One attempt at the target: made or failed, with its duration and what the target said."""

    ledger_name: ClassVar[str] = "grant_event"

    class Kind(models.TextChoices):
        """What was tried, and how it went."""

        GRANTED = "granted", "Granted at the target"
        GRANT_FAILED = "grant_failed", "Granting failed"
        REMOVED = "removed", "Removed from the target"
        REMOVE_FAILED = "remove_failed", "Removing failed"
        FOUND = "found", "Found at the target after its end"
        LOST = "lost", "Not found at the target"
        GONE = "gone", "Gone from the target again"

    request_id = models.UUIDField()
    kind = models.CharField(max_length=20, choices=Kind.choices)
    attempt = models.PositiveIntegerField()
    started_at = models.DateTimeField()
    occurred_at = models.DateTimeField(help_text="When the target answered.")
    permanent = models.BooleanField(default=False)
    error = models.TextField(blank=True)
    detail = models.JSONField(default=dict)

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["request_id", "id"], name="grant_event_request"),
            models.Index(fields=["-occurred_at", "-id"], name="grant_event_newest"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.request_id}"

    def said(self) -> Said:
        """Return what the attempt says to the log, as an object of one revision."""
        return self.said_after(None, actor=SYSTEM)

    def said_after(self, before: None, *, actor: str) -> Said:
        """Return it; the actor is the portal."""
        began = sealed.plain_moment(self.started_at)
        return Said(
            model=self.ledger_name,
            object_id=f"{self.request_id}.{self.kind}.{began}",
            revision=1,
            previous="",
            operation=self.kind,
            actor=actor,
            at=self.occurred_at,
            values=sealed.values(self, None, without=frozenset({"id", "recorded_at"})),
        )


class Notice(AppendOnly):
    """A message that was handed to a channel for a person, written when it was accepted."""

    unsealed: ClassVar[str] = "It tells that a mail left, and decides nothing."

    request_id = models.UUIDField(null=True)
    kind = models.CharField(max_length=30)
    channel = models.CharField(max_length=20)
    recipient = models.ForeignKey(User, models.PROTECT, related_name="+", db_index=False)
    recipient_name = models.CharField(max_length=200)
    address = models.CharField(max_length=320)
    subject_line = models.CharField(max_length=300)
    once_key = models.CharField(max_length=200, unique=True)
    occurred_at = models.DateTimeField()

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["request_id", "id"], name="notice_request"),
            models.Index(fields=["recipient", "-occurred_at"], name="notice_recipient"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} to {self.recipient_name}"
