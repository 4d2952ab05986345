"""Indexes over the records: the current revision, and who is asked. Droppable, rebuilt, checked.

`CurrentRequest` is kept by the database's trigger alone; the application can't write it. `Waiting`
and `Asked` follow the directory and are kept by `services.asked`.
"""

from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.db import models

from approvals.directory.models import User
from approvals.domain.documents import NAME_MAX_CHARS
from approvals.domain.states import LIVE, OPEN, WAITING, State
from approvals.models.catalogue import Entitlement
from approvals.models.request import AccessRequest


class CurrentRequest(models.Model):
    """Which revision of a request is the newest, with the columns that lists are found by."""

    app_may_write = False

    request_id = models.UUIDField(primary_key=True)
    revision = models.PositiveIntegerField()
    record = models.OneToOneField(AccessRequest, models.PROTECT, related_name="+")
    hash = models.BinaryField(max_length=32)
    state = models.CharField(max_length=20)
    requester = models.ForeignKey(User, models.PROTECT, related_name="+", db_index=False)
    subject = models.ForeignKey(User, models.PROTECT, related_name="+", db_index=False)
    entitlement = models.ForeignKey(Entitlement, models.PROTECT, related_name="+", db_index=False)
    submitted_at = models.DateTimeField()
    due_at = models.DateTimeField(null=True)
    activated_at = models.DateTimeField(null=True)
    extends = models.UUIDField(null=True)
    lease = models.CharField(
        max_length=100, blank=True, help_text="Equal for grants that make the same access."
    )

    class Meta:
        # An extension waits beside the access that it extends; what is no extension waits for
        # nothing (the trigger sees to that).
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["subject", "entitlement"],
                condition=models.Q(state__in=[str(s) for s in WAITING]),
                name="one_open_request",
            ),
            models.UniqueConstraint(
                fields=["subject", "entitlement"],
                condition=models.Q(state=str(State.ACTIVE)),
                name="one_active_request",
            ),
            models.UniqueConstraint(
                fields=["extends"],
                condition=models.Q(extends__isnull=False, state__in=[str(s) for s in WAITING]),
                name="one_extension",
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["subject", "-submitted_at", "request_id"], name="current_subject"),
            models.Index(
                fields=["requester", "-submitted_at", "request_id"], name="current_requester"
            ),
            models.Index(fields=["-submitted_at", "request_id"], name="current_newest"),
            models.Index(
                fields=["extends"],
                name="current_extends",
                condition=models.Q(extends__isnull=False),
            ),
            models.Index(
                fields=["due_at"],
                name="current_level_due",
                condition=models.Q(state=str(State.PENDING)),
            ),
            models.Index(
                fields=["due_at"],
                name="current_grant_due",
                condition=models.Q(state=str(State.ACTIVE)),
            ),
            models.Index(
                fields=["subject", "entitlement"],
                name="current_live",
                condition=models.Q(state__in=[str(s) for s in LIVE]),
            ),
            models.Index(
                fields=["entitlement"],
                name="current_open",
                condition=models.Q(state__in=list(map(str, OPEN))),
            ),
            models.Index(
                fields=["lease", "due_at"],
                name="current_lease",
                condition=models.Q(state__in=[str(s) for s in LIVE]),
            ),
            models.Index(fields=["entitlement", "-submitted_at"], name="current_entitlement"),
            models.Index(
                fields=["-activated_at", "-request_id"],
                name="current_activated",
                condition=models.Q(activated_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.request_id} at {self.revision}"


class Waiting(models.Model):
    """A pending request and the directory keys that its approvers depend on."""

    request_id = models.UUIDField(primary_key=True)
    revision = models.PositiveIntegerField()
    watches = ArrayField(models.CharField(max_length=NAME_MAX_CHARS + 10))
    reached = models.BooleanField(default=True, help_text="Whether anyone is there to decide.")

    class Meta:
        indexes: ClassVar = [GinIndex("watches", name="waiting_watches")]

    def __str__(self) -> str:
        return str(self.request_id)


class Asked(models.Model):
    """A person who may decide on a request now. The inbox is this table."""

    request_id = models.UUIDField()
    person = models.ForeignKey(User, models.CASCADE, related_name="+", db_index=False)
    due_at = models.DateTimeField()
    asked_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["request_id", "person"], name="asked_once")
        ]
        indexes: ClassVar = [
            models.Index(fields=["person", "due_at", "request_id"], name="asked_inbox"),
        ]

    def __str__(self) -> str:
        return f"{self.person_id} for {self.request_id}"
