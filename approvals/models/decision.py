"""A person's decision at one level of one request."""

from typing import ClassVar

from django.db import models

from approvals.directory.models import User
from approvals.domain.documents import NAME_MAX_CHARS
from audit.models import AppendOnly, Said, sealed


class Decision(AppendOnly):
    """Who approved or denied what, for which level, having seen which revision.

    One person has one vote on a request, whatever levels and groups they are in: the unique key is
    the last guard of that. `revision` is the one that the decision produced. `together` is how many
    requests the same act was to decide; null where that was not recorded yet.
    """

    ledger_name: ClassVar[str] = "decision"

    class Verdict(models.TextChoices):
        """What was decided."""

        APPROVE = "approve", "Approve"
        DENY = "deny", "Deny"

    request_id = models.UUIDField()
    revision = models.PositiveIntegerField()
    seen_revision = models.PositiveIntegerField()
    level = models.PositiveSmallIntegerField()
    level_name = models.CharField(max_length=NAME_MAX_CHARS)
    escalations = models.PositiveSmallIntegerField(default=0)
    actor = models.ForeignKey(User, models.PROTECT, related_name="+", db_index=False)
    actor_name = models.CharField(max_length=200)
    verdict = models.CharField(max_length=10, choices=Verdict.choices)
    comment = models.TextField(blank=True)
    asked_at = models.DateTimeField(null=True, help_text="When this person was first asked.")
    together = models.PositiveSmallIntegerField(null=True)
    occurred_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["request_id", "actor"], name="one_human_one_vote"),
            models.UniqueConstraint(fields=["request_id", "revision"], name="decision_revision"),
            models.CheckConstraint(
                condition=models.Q(verdict__in=["approve", "deny"]), name="decision_verdict_known"
            ),
            models.CheckConstraint(
                condition=models.Q(together__gte=1), name="decision_together_counts"
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["actor", "-occurred_at"], name="decision_actor"),
            models.Index(fields=["-occurred_at", "-id"], name="decision_newest"),
        ]

    def __str__(self) -> str:
        return f"{self.actor_name}: {self.verdict}"

    def said(self) -> Said:
        """Return what the decision says to the log, as an object of one revision."""
        return self.said_after(None, actor=str(self.actor.uid))

    def said_after(self, before: None, *, actor: str) -> Said:
        """Return it with the actor given."""
        return Said(
            model=self.ledger_name,
            object_id=f"{self.request_id}.{self.revision}",
            revision=1,
            previous="",
            operation=self.verdict,
            actor=actor,
            at=self.occurred_at,
            values=sealed.values(self, None, without=frozenset({"id", "recorded_at"})),
        )
