"""Handing over: an approver's place on one pending request, given to another person."""

from typing import ClassVar

from django.db import models

from approvals.directory.models import User
from approvals.domain.documents import NAME_MAX_CHARS
from approvals.domain.handing_over import MOST
from audit.models import AppendOnly, Said, sealed

COMMENT_MOST = 2_000


class RequestHandover(AppendOnly):
    """Who gave their place at which level to whom, and why; they are numbered within their request.

    It makes no revision: what an approver sees stays what it is. The database takes none on a
    request that is not pending, and none to who asked for it, gets it, or has voted on it.
    """

    ledger_name: ClassVar[str] = "request_handover"

    request_id = models.UUIDField()
    number = models.PositiveSmallIntegerField()
    level = models.PositiveSmallIntegerField()
    level_name = models.CharField(max_length=NAME_MAX_CHARS)
    giver = models.ForeignKey(User, models.PROTECT, related_name="+", db_index=False)
    giver_name = models.CharField(max_length=200)
    taker = models.ForeignKey(User, models.PROTECT, related_name="+", db_index=False)
    taker_name = models.CharField(max_length=200)
    place = models.ForeignKey(
        User, models.PROTECT, related_name="+", db_index=False,
        help_text="Whom the chain asks there by itself: the giver, unless they got it from others.",
    )  # fmt: skip
    place_name = models.CharField(max_length=200)
    comment = models.TextField()
    occurred_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["request_id", "number"], name="handover_number"),
            models.CheckConstraint(
                condition=models.Q(number__gte=1, number__lte=MOST, level__gte=1)
                & ~models.Q(comment=""),
                name="handover_has_reason",
            ),
            models.CheckConstraint(
                condition=~models.Q(giver=models.F("taker")), name="handover_to_another"
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["giver", "-occurred_at"], name="handover_giver"),
            models.Index(fields=["taker", "-occurred_at"], name="handover_taker"),
            models.Index(fields=["-occurred_at", "-id"], name="handover_newest"),
        ]

    def __str__(self) -> str:
        return f"{self.giver_name} to {self.taker_name}"

    def said(self) -> Said:
        """Return what the handover says to the log, as an object of one revision."""
        return self.said_after(None, actor=str(self.giver.uid))

    def said_after(self, before: None, *, actor: str) -> Said:
        """Return it with the actor given."""
        return Said(
            model=self.ledger_name,
            object_id=f"{self.request_id}.{self.number}",
            revision=1,
            previous="",
            operation="handed_over",
            actor=actor,
            at=self.occurred_at,
            values=sealed.values(self, None, without=frozenset({"id", "recorded_at"})),
        )
