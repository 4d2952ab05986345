"""Attempts to decide that the rules refused: who tried what on which request, and the rule."""

from typing import ClassVar

import uuid_utils.compat as uuid7
from django.db import models

from approvals.directory.models import User
from audit.models import AppendOnly, Said, sealed

COMMENT_MOST = 2_000
#: What is kept of one person on one request. Further attempts are refused all the same.
MOST = 20


class RefusedAttempt(AppendOnly):
    """One attempt, numbered per request and person, with what they gave as their reason.

    It changes nothing of the request. `code` names the rule; `rule` is what the person was told.
    """

    ledger_name: ClassVar[str] = "refused_attempt"

    class Action(models.TextChoices):
        """What was tried."""

        APPROVE = "approve", "approve"
        DENY = "deny", "deny"
        HAND_OVER = "hand_over", "hand over"
        KEEP = "keep", "keep in a review"
        REMOVE = "remove", "remove in a review"

    uid = models.UUIDField(default=uuid7.uuid7, unique=True, editable=False)
    request_id = models.UUIDField()
    actor = models.ForeignKey(User, models.PROTECT, related_name="+", db_index=False)
    actor_name = models.CharField(max_length=200)
    number = models.PositiveSmallIntegerField()
    action = models.CharField(max_length=10, choices=Action.choices)
    code = models.CharField(max_length=40)
    rule = models.CharField(max_length=300)
    comment = models.TextField(blank=True)
    occurred_at = models.DateTimeField()

    class Meta:
        verbose_name = "refused attempt"
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["request_id", "actor", "number"], name="refused_number"
            ),
            models.CheckConstraint(
                condition=models.Q(number__gte=1, number__lte=MOST) & ~models.Q(code=""),
                name="refused_by_a_rule",
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["-occurred_at", "-id"], name="refused_newest"),
            models.Index(fields=["actor", "-occurred_at", "-id"], name="refused_actor"),
        ]

    def __str__(self) -> str:
        return f"{self.actor_name}: {self.get_action_display()}"

    def said(self) -> Said:
        """Return what the attempt says to the log, as an object of one revision."""
        return self.said_after(None, actor=str(self.actor.uid))

    def said_after(self, before: None, *, actor: str) -> Said:
        """Return it with the actor given."""
        return Said(
            model=self.ledger_name,
            object_id=str(self.uid),
            revision=1,
            previous="",
            operation="refused",
            actor=actor,
            at=self.occurred_at,
            values=sealed.values(self, None, without=frozenset({"id", "recorded_at", "uid"})),
        )
