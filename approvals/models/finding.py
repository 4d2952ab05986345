"""How targets differ from what the portal granted, and when each was last looked at.

Indexes over what targets hold, no records: what is done about a finding is recorded with its
request (`GrantEvent`). A finding is never deleted; it is resolved, and a later one is another row.
"""

from typing import ClassVar

from django.db import models

from approvals.directory.models import User
from approvals.domain import drift
from approvals.models.catalogue import Entitlement, Resource


class Observation(models.Model):
    """The newest look at a resource's target, and when the next one is due."""

    resource = models.OneToOneField(
        Resource, models.PROTECT, primary_key=True, related_name="observation"
    )
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    succeeded_at = models.DateTimeField(null=True, help_text="When a look last told anything.")
    held = models.PositiveIntegerField(null=True, help_text="Accesses that the target held.")
    error = models.TextField(blank=True)
    permanent = models.BooleanField(
        default=False, help_text="The target can't be observed until something is changed."
    )
    left_out = models.TextField(blank=True, help_text="Entitlements that were not looked at.")
    next_at = models.DateTimeField()

    class Meta:
        indexes: ClassVar = [models.Index(fields=["next_at"], name="observation_next")]

    def __str__(self) -> str:
        return f"{self.resource_id} at {self.finished_at}"


class Finding(models.Model):
    """One difference between a target and the portal, from when it was first seen until it is over.

    Confirmed, and only then repaired and told, by the second observation that sees it.
    """

    class Kind(models.TextChoices):
        """How they differ."""

        MISSING = str(drift.Kind.MISSING), "Missing"
        LEFTOVER = str(drift.Kind.LEFTOVER), "Left over"
        STANDING = str(drift.Kind.STANDING), "Standing"
        UNMATCHED = str(drift.Kind.UNMATCHED), "Unknown name"

    class Resolution(models.TextChoices):
        """How it came to an end."""

        REPAIRED = "repaired", "Repaired"
        BY_ITSELF = "by_itself", "Gone by itself"
        ENDED = "ended", "The access has ended"
        GRANTED = "granted", "Granted by now"
        UNCONFIRMED = "unconfirmed", "Never confirmed"

    resource = models.ForeignKey(Resource, models.PROTECT, related_name="+", db_index=False)
    entitlement = models.ForeignKey(Entitlement, models.PROTECT, related_name="+", db_index=False)
    login = models.TextField(help_text="The name at the target.")
    kind = models.CharField(max_length=10, choices=Kind.choices)
    person = models.ForeignKey(
        User, models.PROTECT, null=True, related_name="+", db_index=False, help_text="If known."
    )
    request_id = models.UUIDField(null=True, help_text="The grant that it is about.")
    first_seen_at = models.DateTimeField()
    last_seen_at = models.DateTimeField()
    confirmed_at = models.DateTimeField(null=True)
    repairs = models.PositiveSmallIntegerField(default=0)
    repaired_at = models.DateTimeField(null=True, help_text="When a repair was last begun.")
    resolved_at = models.DateTimeField(null=True)
    resolution = models.CharField(max_length=12, blank=True, choices=Resolution.choices)
    kept_by = models.ForeignKey(User, models.PROTECT, null=True, related_name="+", db_index=False)
    kept_at = models.DateTimeField(null=True)
    kept_because = models.TextField(blank=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["resource", "entitlement", "login", "kind"],
                condition=models.Q(resolved_at__isnull=True),
                name="finding_once",
            ),
            models.CheckConstraint(
                condition=models.Q(kind__in=[str(kind) for kind in drift.Kind]),
                name="finding_kind_known",
            ),
            models.CheckConstraint(
                condition=models.Q(resolved_at__isnull=True, resolution="")
                | (models.Q(resolved_at__isnull=False) & ~models.Q(resolution="")),
                name="finding_resolved_how",
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["-first_seen_at", "-id"], name="finding_newest"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.login}"
