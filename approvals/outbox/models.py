"""The outbox's table. A row is work that must happen; it is deleted when it has."""

from typing import ClassVar

from django.db import models
from django.db.models.functions import Coalesce, Greatest


class OutboxItem(models.Model):
    """One side effect to carry out: what (`topic`), with what (`payload`), in which order (`key`).

    Items of one `key` are done one after another in the order of their ids. `not_before` is when
    it may first be tried, or tried again. `leased_until` is set while a worker holds it. `target`
    names the system that has to be called for it, so that a dead one keeps back its own work alone.
    """

    topic = models.CharField(max_length=50)
    lane = models.CharField(max_length=20)
    target = models.CharField(max_length=100, blank=True, db_default="")
    key = models.CharField(max_length=200, blank=True)
    payload = models.JSONField(default=dict)
    not_before = models.DateTimeField()
    leased_until = models.DateTimeField(null=True)
    attempts = models.PositiveIntegerField(default=0)
    first_failed_at = models.DateTimeField(null=True)
    last_error = models.TextField(blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["lane", "not_before", "id"], name="outbox_due"),
            models.Index(
                "lane",
                Greatest("not_before", Coalesce("leased_until", "not_before")),
                name="outbox_next",
            ),
            models.Index(fields=["key", "id"], name="outbox_key", condition=~models.Q(key="")),
            models.Index(
                fields=["first_failed_at", "id"],
                name="outbox_failing",
                condition=models.Q(first_failed_at__isnull=False),
            ),
            models.Index(
                fields=["target", "not_before"],
                name="outbox_target",
                condition=~models.Q(target=""),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.topic} {self.key}"


class Circuit(models.Model):
    """What is known of a target that failed for now: how often in a row, and when to try again.

    There is no row for a target that works. The circuit is open, and nothing is tried, until
    `open_until`; then one call probes.
    """

    target = models.CharField(max_length=100, primary_key=True)
    failures = models.PositiveIntegerField()
    failing_since = models.DateTimeField()
    open_until = models.DateTimeField(null=True, help_text="Null: not open, calls still go out.")
    last_error = models.TextField()

    def __str__(self) -> str:
        return f"{self.target}: {self.failures} failures"
