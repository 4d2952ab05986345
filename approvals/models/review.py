"""Access reviews: campaigns, the accesses that they pin, and what was decided about each.

All of it is records. A campaign has two revisions: it is opened, then signed off or cancelled.
"""

from datetime import datetime
from typing import ClassVar, Self

import uuid_utils.compat as uuid7
from django.db import models

from approvals.directory.models import User
from approvals.models.catalogue import Entitlement, Resource, Risk
from audit.domain.entries import SYSTEM
from audit.models import AppendOnly, Said, sealed

_ROW = frozenset({"id", "recorded_at"})


class ReviewCampaign(AppendOnly):
    """One revision of a campaign: opened, then signed off or cancelled.

    The database signs off no campaign of which an item is undecided, and takes no decision after.
    """

    ledger_name: ClassVar[str] = "review_campaign"

    class Event(models.TextChoices):
        """How far it is."""

        OPENED = "opened", "Open"
        SIGNED_OFF = "signed_off", "Signed off"
        CANCELLED = "cancelled", "Cancelled"

    class Scope(models.TextChoices):
        """Which active access it is about."""

        ALL = "all", "All active access"
        RESOURCE = "resource", "Access to one resource"
        RISK = "risk", "Access of one risk"

    class Reviewers(models.TextChoices):
        """Who is asked first."""

        MANAGER = "manager", "Each person's manager"
        OWNER = "owner", "Each resource's owner"

    class Silence(models.TextChoices):
        """What follows for access that nobody has decided on in time."""

        REMOVE = "remove", "Remove it"
        REPORT = "report", "Keep it, and report it as not reviewed"

    campaign_id = models.UUIDField(default=uuid7.uuid7)
    revision = models.PositiveIntegerField(default=1)
    event = models.CharField(max_length=10, choices=Event.choices, default=Event.OPENED)
    name = models.CharField(max_length=100)
    scope = models.CharField(max_length=10, choices=Scope.choices)
    resource = models.ForeignKey(
        Resource, models.PROTECT, null=True, related_name="+", db_index=False
    )
    resource_name = models.CharField(max_length=100, blank=True)
    risk = models.CharField(max_length=10, choices=Risk.choices, blank=True)
    reviewers = models.CharField(max_length=10, choices=Reviewers.choices)
    on_silence = models.CharField(max_length=10, choices=Silence.choices)
    items = models.PositiveIntegerField(help_text="Accesses that were pinned at the opening.")
    opened_at = models.DateTimeField()
    due_at = models.DateTimeField()
    actor = models.ForeignKey(User, models.PROTECT, related_name="+", db_index=False)
    actor_name = models.CharField(max_length=200)
    comment = models.TextField(blank=True)
    occurred_at = models.DateTimeField()

    # In memory only: the revision that this one was made of.
    _before: "ReviewCampaign | None" = None

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["campaign_id", "revision"], name="review_campaign_revision"
            ),
            models.CheckConstraint(
                condition=models.Q(revision=1, event="opened")
                | models.Q(revision=2, event__in=["signed_off", "cancelled"]),
                name="review_campaign_event",
            ),
            models.CheckConstraint(
                condition=models.Q(scope="all", resource=None, risk="")
                | models.Q(scope="resource", resource__isnull=False, risk="")
                | models.Q(scope="risk", resource=None) & ~models.Q(risk=""),
                name="review_campaign_scope",
            ),
            models.CheckConstraint(
                condition=models.Q(reviewers__in=["manager", "owner"])
                & models.Q(on_silence__in=["remove", "report"])
                & models.Q(due_at__gt=models.F("opened_at")),
                name="review_campaign_terms",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} #{self.revision}"

    @property
    def is_open(self) -> bool:
        """Return whether this revision says that the campaign runs."""
        return self.event == self.Event.OPENED

    @property
    def scope_name(self) -> str:
        """Return what it is about, as pages write it."""
        return self.resource_name or (f"{self.risk} risk" if self.risk else "all active access")

    def close(self, *, event: str, actor: User, comment: str, now: datetime) -> Self:
        """Return the second revision, unsaved."""
        said = {"id", "recorded_at", "revision", "event", "actor_id", "actor_name", "comment"}
        kept = {
            field.attname: getattr(self, field.attname)
            for field in self._meta.concrete_fields
            if field.attname not in said | {"occurred_at"}
        }
        made = type(self)(
            **kept,
            revision=self.revision + 1,
            event=event,
            actor=actor,
            actor_name=actor.get_full_name(),
            comment=comment,
            occurred_at=now,
        )
        made._before = self
        return made

    @property
    def actor_uid(self) -> str:
        """Return the random identity of whoever made this revision."""
        return str(self.actor.uid)

    def said(self) -> Said:
        """Return what this revision says to the log, under the newest entry of its campaign."""
        _, previous = sealed.last(model=self.ledger_name, object_id=str(self.campaign_id))
        return self.said_after(self._before, actor=self.actor_uid, previous=previous)

    def said_after(
        self, before: "ReviewCampaign | None", *, actor: str, previous: str = ""
    ) -> Said:
        """Return what this revision says as the one that follows `before`."""
        return Said(
            model=self.ledger_name,
            object_id=str(self.campaign_id),
            revision=self.revision,
            previous=previous,
            operation=self.event,
            actor=actor,
            at=self.occurred_at,
            values=sealed.values(self, before, without=_ROW | {"campaign_id", "revision", "event"}),
        )


class ReviewItem(AppendOnly):
    """One access that was active when a campaign was opened, and who is to judge it.

    Without a `reviewer` it is for any compliance admin but its own holder.
    """

    ledger_name: ClassVar[str] = "review_item"

    class Relationship(models.TextChoices):
        """What the reviewer has to do with the access."""

        MANAGER = "manager", "Manager"
        OWNER = "owner", "Owner"
        COMPLIANCE = "compliance", "Compliance"
        PORTAL = "portal", "The portal"

    item_id = models.UUIDField(default=uuid7.uuid7, unique=True, editable=False)
    campaign_id = models.UUIDField()
    request_id = models.UUIDField()
    subject = models.ForeignKey(User, models.PROTECT, related_name="+", db_index=False)
    subject_name = models.CharField(max_length=200)
    entitlement = models.ForeignKey(Entitlement, models.PROTECT, related_name="+", db_index=False)
    resource_name = models.CharField(max_length=100)
    entitlement_name = models.CharField(max_length=100)
    risk = models.CharField(max_length=10)
    reviewer = models.ForeignKey(User, models.PROTECT, null=True, related_name="+", db_index=False)
    reviewer_name = models.CharField(max_length=200, blank=True)
    relationship = models.CharField(max_length=10, choices=Relationship.choices)
    activated_at = models.DateTimeField(null=True)
    ends_at = models.DateTimeField(null=True)
    occurred_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["campaign_id", "request_id"], name="review_item_once"),
            models.CheckConstraint(
                condition=models.Q(reviewer=None, relationship="compliance")
                | models.Q(reviewer__isnull=False, relationship__in=["manager", "owner"])
                & ~models.Q(reviewer=models.F("subject")),
                name="review_item_not_own",
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["campaign_id", "reviewer"], name="review_item_reviewer")
        ]

    def __str__(self) -> str:
        return f"{self.subject_name}: {self.access_name}"

    @property
    def access_name(self) -> str:
        """Return resource and entitlement as pages write them."""
        return f"{self.resource_name} · {self.entitlement_name}"

    def said(self) -> Said:
        """Return what the item says to the log, as an object of one revision."""
        return self.said_after(None, actor=SYSTEM)

    def said_after(self, before: None, *, actor: str) -> Said:
        """Return it; the actor is the portal, which pins what is active."""
        return Said(
            model=self.ledger_name,
            object_id=str(self.item_id),
            revision=1,
            previous="",
            operation="pinned",
            actor=actor,
            at=self.occurred_at,
            values=sealed.values(self, None, without=_ROW | {"item_id"}),
        )


class ReviewShown(AppendOnly):
    """When an item was first on the screen of somebody who may judge it."""

    unsealed: ClassVar[str] = "It decides nothing; the decision says how long it took, and is."

    item_id = models.UUIDField()
    person = models.ForeignKey(User, models.PROTECT, related_name="+", db_index=False)
    occurred_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["item_id", "person"], name="review_shown_once")
        ]

    def __str__(self) -> str:
        return f"{self.item_id} to {self.person_id}"


class ReviewDecision(AppendOnly):
    """What became of one item: one decision, of a person or (without `actor`) of the portal.

    `request_id` is the grant that held the access then: the item's own, or its extension.
    `seconds` count from when the item was first shown to the actor. `together` is how many items
    the same act decided.
    """

    ledger_name: ClassVar[str] = "review_decision"

    class Verdict(models.TextChoices):
        """What was decided."""

        KEEP = "keep", "Keep"
        REMOVE = "remove", "Remove"
        GONE = "gone", "Had ended by itself"
        UNREVIEWED = "unreviewed", "Not reviewed in time"

    item_id = models.UUIDField(unique=True)
    campaign_id = models.UUIDField()
    request_id = models.UUIDField()
    actor = models.ForeignKey(User, models.PROTECT, null=True, related_name="+", db_index=False)
    actor_name = models.CharField(max_length=200)
    relationship = models.CharField(max_length=10, choices=ReviewItem.Relationship.choices)
    verdict = models.CharField(max_length=10, choices=Verdict.choices)
    reason = models.TextField()
    shown_at = models.DateTimeField(null=True)
    seconds = models.PositiveIntegerField(null=True)
    together = models.PositiveIntegerField(default=1)
    occurred_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=models.Q(
                    actor=None,
                    relationship="portal",
                    verdict__in=["remove", "gone", "unreviewed"],
                )
                | models.Q(
                    actor__isnull=False,
                    relationship__in=["manager", "owner", "compliance"],
                    verdict__in=["keep", "remove"],
                ),
                name="review_decision_by_whom",
            ),
            models.CheckConstraint(
                condition=~models.Q(reason="") & models.Q(together__gte=1),
                name="review_decision_has_reason",
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["campaign_id", "actor"], name="review_decision_campaign"),
            models.Index(fields=["-occurred_at", "-id"], name="review_decision_newest"),
        ]

    def __str__(self) -> str:
        return f"{self.actor_name}: {self.verdict}"

    def said(self) -> Said:
        """Return what the decision says to the log, as an object of one revision."""
        return self.said_after(None, actor=str(self.actor.uid) if self.actor else SYSTEM)

    def said_after(self, before: None, *, actor: str) -> Said:
        """Return it with the actor given."""
        return Said(
            model=self.ledger_name,
            object_id=str(self.item_id),
            revision=1,
            previous="",
            operation=self.verdict,
            actor=actor,
            at=self.occurred_at,
            values=sealed.values(self, None, without=_ROW | {"item_id"}),
        )
