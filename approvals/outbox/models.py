"""The outbox's table. A row is work that must happen; it is deleted when it has."""

from typing import ClassVar

from django.db import models
from django.db.models.functions import Coalesce, Greatest


class OutboxItem(models.Model):
    """One side effect to carry out: what (`topic`), with what (`payload`), in which order (`key`).

    Items of one `key` are done one after another in the order of their ids. `not_before` is when
    it may first be tried, or tried again. `leased_until` is set while a worker holds it.
    """

    topic = models.CharField(max_length=50)
    lane = models.CharField(max_length=20)
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
        ]

    def __str__(self) -> str:
        return f"{self.topic} {self.key}"
