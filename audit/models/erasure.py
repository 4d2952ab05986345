"""The erasure of a person's content: asked for by one, decided by another, carried out, recorded.

Rows name the person by number and random identity only, so that they say nothing once the person's
own row is neutral.
"""

from datetime import datetime
from typing import Any, ClassVar, Self

import uuid_utils.compat as uuid7
from django.db import models

from audit.domain.entries import SYSTEM
from audit.models import sealed
from audit.models.append_only import AppendOnly
from audit.models.guards import SEALER
from audit.models.sealed import Said

_IMPLIED = frozenset({"id", "recorded_at", "erasure_id", "revision", "event"})


class Erasure(AppendOnly):
    """One revision of an erasure: asked, then approved or refused, then done; or withdrawn before.

    The database refuses another order, a decider who is the asker, and the person in either part.
    Anybody may withdraw; `decided_by` is then who did. That rows can be inserted says nothing of
    who inserted them: `audit.services.vouching` looks at what stands behind an approved one.
    """

    ledger_name: ClassVar[str] = "erasure"
    rights: ClassVar = {SEALER: "SELECT, INSERT"}

    class Event(models.TextChoices):
        """How far it is."""

        ASKED = "asked", "Waits for a second person"
        APPROVED = "approved", "Approved, about to be carried out"
        REFUSED = "refused", "Refused"
        DONE = "done", "Done"
        WITHDRAWN = "withdrawn", "Withdrawn"

    class Ground(models.TextChoices):
        """The law that asks for it."""

        CONSENT = "consent", "Consent was withdrawn (GDPR 17.1 b)"
        OBJECTION = "objection", "The person objects (GDPR 17.1 c)"
        NOT_NEEDED = "not_needed", "Not needed any more (GDPR 17.1 a)"
        UNLAWFUL = "unlawful", "Was processed unlawfully (GDPR 17.1 d)"
        OBLIGATION = "obligation", "A legal obligation or an order (GDPR 17.1 e)"
        OTHER = "other", "Another law; the reference says which"

    erasure_id = models.UUIDField(default=uuid7.uuid7)
    revision = models.PositiveIntegerField(default=1)
    event = models.CharField(max_length=10, choices=Event.choices, default=Event.ASKED)
    person_id = models.BigIntegerField(help_text="The number of the person's row.")
    person_uid = models.UUIDField()
    asked_by = models.UUIDField()
    asked_by_name = models.CharField(max_length=200)
    decided_by = models.UUIDField(null=True)
    decided_by_name = models.CharField(max_length=200, blank=True)
    ground = models.CharField(max_length=20, choices=Ground.choices)
    reference = models.CharField(max_length=200)
    comment = models.TextField(blank=True)
    detail = models.JSONField(default=dict, help_text="When done: how much was erased.")
    occurred_at = models.DateTimeField()

    # In memory only: the revision that this one was made of.
    _before: "Erasure | None" = None

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["erasure_id", "revision"], name="erasure_revision"),
            models.CheckConstraint(
                condition=models.Q(event__in=["asked", "approved", "refused", "done", "withdrawn"]),
                name="erasure_event_known",
            ),
            models.CheckConstraint(
                condition=models.Q(event="asked", decided_by=None)
                | models.Q(decided_by__isnull=False) & ~models.Q(event="asked"),
                name="erasure_decided",
            ),
            models.CheckConstraint(
                condition=~models.Q(asked_by=models.F("person_uid"))
                & (
                    models.Q(decided_by=None)
                    | models.Q(event="withdrawn")
                    | ~models.Q(decided_by=models.F("asked_by"))
                    & ~models.Q(decided_by=models.F("person_uid"))
                ),
                name="erasure_two_people",
            ),
        ]
        indexes: ClassVar = [
            models.Index(
                fields=["erasure_id"], name="erasure_approved", condition=models.Q(event="approved")
            ),
            models.Index(fields=["person_uid"], name="erasure_person"),
        ]

    def __str__(self) -> str:
        return f"erasure {self.erasure_id} #{self.revision}"

    def revise(self, *, event: str, now: datetime, **changes: Any) -> Self:
        """Return the next revision, unsaved; comment and detail don't carry over."""
        kept = ("erasure_id", "person_id", "person_uid", "asked_by", "asked_by_name", "decided_by")
        made = type(self)(
            **{name: getattr(self, name) for name in (*kept, "decided_by_name", "ground")},
            reference=self.reference,
            revision=self.revision + 1,
            event=event,
            occurred_at=now,
        )
        for name, value in changes.items():
            setattr(made, name, value)
        made._before = self
        return made

    @property
    def actor_uid(self) -> str:
        """Return the random identity of whoever made this revision; the portal's when done."""
        by = {self.Event.ASKED: str(self.asked_by), self.Event.DONE: SYSTEM}
        return by.get(self.Event(self.event), str(self.decided_by))

    def said(self) -> Said:
        """Return what this revision says to the log, under the newest entry of its erasure."""
        _, previous = sealed.last(model=self.ledger_name, object_id=str(self.erasure_id))
        return self.said_after(self._before, actor=self.actor_uid, previous=previous)

    def said_after(self, before: "Erasure | None", *, actor: str, previous: str = "") -> Said:
        """Return what this revision says as the one that follows `before`."""
        return Said(
            model=self.ledger_name,
            object_id=str(self.erasure_id),
            revision=self.revision,
            previous=previous,
            operation=self.event,
            actor=actor,
            at=self.occurred_at,
            values=sealed.values(self, before, without=_IMPLIED),
        )
