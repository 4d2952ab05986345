"""Who signed in and out, and whose sign-in failed."""

from typing import ClassVar

import uuid_utils.compat as uuid7
from django.db import models

from approvals.directory.models import User
from audit.domain.entries import SYSTEM
from audit.models import AppendOnly, Said, sealed

AGENT_CHARACTERS_MOST = 300


class SignIn(AppendOnly):
    """One sign-in that succeeded or failed, or one sign-out.

    A failure names the person only where the login that was typed is somebody's; what was typed is
    never kept. Nobody has proved to be anyone then, so that its entry's actor is the portal.
    """

    ledger_name: ClassVar[str] = "sign_in"

    class What(models.TextChoices):
        """How it went."""

        SIGNED_IN = "signed_in", "Signed in"
        FAILED = "failed", "Failed to sign in"
        SIGNED_OUT = "signed_out", "Signed out"

    uid = models.UUIDField(default=uuid7.uuid7, unique=True, editable=False)
    person = models.ForeignKey(User, models.PROTECT, null=True, related_name="+", db_index=False)
    person_name = models.CharField(max_length=200, blank=True)
    what = models.CharField(max_length=20, choices=What.choices)
    method = models.CharField(max_length=40, blank=True, help_text="Such as password or webauthn.")
    address = models.CharField(max_length=45, blank=True, help_text="The IP address it came from.")
    agent = models.CharField(max_length=AGENT_CHARACTERS_MOST, blank=True, help_text="The browser.")
    occurred_at = models.DateTimeField()

    class Meta:
        verbose_name = "sign-in"
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=models.Q(what__in=["signed_in", "failed", "signed_out"]),
                name="sign_in_what_known",
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["-occurred_at", "-id"], name="sign_in_newest"),
            models.Index(
                fields=["person", "-occurred_at", "-id"],
                name="sign_in_person",
                condition=models.Q(person__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.person_name or 'somebody'}: {self.what}"

    def said(self) -> Said:
        """Return what it says to the log, as an object of one revision."""
        person = self.person if self.what != self.What.FAILED else None
        return self.said_after(None, actor=str(person.uid) if person else SYSTEM)

    def said_after(self, before: None, *, actor: str) -> Said:
        """Return it with the actor given: who signed in or out, the portal for a failure."""
        return Said(
            model=self.ledger_name,
            object_id=str(self.uid),
            revision=1,
            previous="",
            operation=self.what,
            actor=actor,
            at=self.occurred_at,
            values=sealed.values(self, None, without=frozenset({"id", "recorded_at", "uid"})),
        )
