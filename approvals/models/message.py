"""Questions about a pending request, and their answers."""

from typing import ClassVar

from django.db import models

from approvals.directory.models import User
from audit.models import AppendOnly, Said, sealed

TEXT_MOST = 2_000


class RequestMessage(AppendOnly):
    """One question of somebody who may decide, or one answer of the requester or the subject.

    Messages are numbered within their request. They make no revision: what an approver sees stays
    what it is. The database takes none on a request that is not pending.
    """

    ledger_name: ClassVar[str] = "request_message"

    class Kind(models.TextChoices):
        """Which of the two it is."""

        QUESTION = "question", "Question"
        ANSWER = "answer", "Answer"

    request_id = models.UUIDField()
    number = models.PositiveSmallIntegerField()
    kind = models.CharField(max_length=10, choices=Kind.choices)
    answers = models.PositiveSmallIntegerField(
        null=True, help_text="The number of the question that it answers."
    )
    actor = models.ForeignKey(User, models.PROTECT, related_name="+", db_index=False)
    actor_name = models.CharField(max_length=200)
    text = models.TextField()
    occurred_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["request_id", "number"], name="message_number"),
            models.CheckConstraint(
                condition=models.Q(kind="question", answers=None)
                | models.Q(kind="answer", answers__gte=1, answers__lt=models.F("number")),
                name="message_kind_known",
            ),
            models.CheckConstraint(
                condition=models.Q(number__gte=1) & ~models.Q(text=""),
                name="message_says_something",
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["actor", "-occurred_at"], name="message_actor"),
            models.Index(fields=["-occurred_at", "-id"], name="message_newest"),
        ]

    def __str__(self) -> str:
        return f"{self.actor_name}: {self.kind} {self.number}"

    def said(self) -> Said:
        """Return what the message says to the log, as an object of one revision."""
        return self.said_after(None, actor=str(self.actor.uid))

    def said_after(self, before: None, *, actor: str) -> Said:
        """Return it with the actor given."""
        return Said(
            model=self.ledger_name,
            object_id=f"{self.request_id}.{self.number}",
            revision=1,
            previous="",
            operation=self.kind,
            actor=actor,
            at=self.occurred_at,
            values=sealed.values(self, None, without=frozenset({"id", "recorded_at"})),
        )
