"""Who outside holds a checkpoint, with their evidence, and what the portal was alarmed about.

Neither is sealed: both tell of the log from beside it. A holding is good by its own signature.
"""

from typing import ClassVar

from django.db import models

from audit.models.append_only import AppendOnly
from audit.models.log import Log


class Holding(AppendOnly):
    """One outside holder took one checkpoint, or has begun not to.

    `evidence` is the witness's cosignature line, the timestamp authority's token (DER), or the
    mail's Message-ID. A failure is a row when the holder's state changes to it, so that one that
    stays away for a month is one row.
    """

    unsealed: ClassVar[str] = "It is about the log, and its evidence is signed by somebody else."

    class Kind(models.TextChoices):
        """What sort of holder it is."""

        WITNESS = "witness", "Witness"
        TIMESTAMP = "timestamp", "Timestamp authority"
        MAIL = "mail", "Mailbox"

    class State(models.TextChoices):
        """What came of asking."""

        HELD = "held", "Took the checkpoint"
        UNVERIFIED = "unverified", "Answered, but nobody checked by whom it is signed"
        INSIDE = "inside", "Kept on this installation's own machine"
        UNREACHABLE = "unreachable", "Gave no answer"
        REFUSED = "refused", "Refused"
        INVALID = "invalid", "Answered wrongly"
        FORK = "fork", "Holds another history"

    #: States in which the holder took the checkpoint.
    TOOK: ClassVar = (State.HELD, State.UNVERIFIED, State.INSIDE)

    log = models.ForeignKey(Log, models.PROTECT, related_name="+", db_index=False)
    size = models.BigIntegerField(help_text="The size of the checkpoint that it is about.")
    kind = models.CharField(max_length=10, choices=Kind.choices)
    holder = models.CharField(
        max_length=300, help_text="A witness's name, an authority's address, a person's uid."
    )
    state = models.CharField(max_length=12, choices=State.choices)
    occurred_at = models.DateTimeField()
    evidence = models.BinaryField(default=bytes, blank=True)
    detail = models.JSONField(default=dict)
    error = models.TextField(blank=True)

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(
                name="holding_evidence_or_error",
                condition=models.Q(state__in=["held", "unverified", "inside"], error="")
                & ~models.Q(evidence=b"")
                | models.Q(state__in=["unreachable", "refused", "invalid", "fork"], evidence=b"")
                & ~models.Q(error=""),
            )
        ]
        indexes: ClassVar = [
            models.Index(fields=["kind", "holder", "-id"], name="holding_newest"),
            models.Index(fields=["log", "-size"], name="holding_size"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.holder}: {self.state} at {self.size}"


class Alarm(AppendOnly):
    """Trouble with the ledger began (`raised`), or ended. Two rows make an episode."""

    unsealed: ClassVar[str] = "It is about the log; what it tells can be seen from the log itself."

    class Kind(models.TextChoices):
        """What the trouble is."""

        STALE = "stale", "Entries are not sealed, or no checkpoint is signed"
        FORK = "fork", "An outside holder holds another history"
        DAMAGE = "damage", "Verification found records that are not what was sealed"

    kind = models.CharField(max_length=10, choices=Kind.choices)
    raised = models.BooleanField()
    occurred_at = models.DateTimeField()
    text = models.TextField()

    class Meta:
        indexes: ClassVar = [models.Index(fields=["kind", "-id"], name="alarm_newest")]

    def __str__(self) -> str:
        return f"{self.kind} {'raised' if self.raised else 'over'}"
