"""Writes that were told apart by a key, so that a repeated one gets the same answer. No records."""

from typing import ClassVar

from django.db import models

from approvals.directory.models import User


class KeyedWrite(models.Model):
    """One write that came with a key and succeeded: where its answer led.

    `fingerprint` is the SHA-256 of what was sent, in hex. Nothing of the content is kept.
    """

    person = models.ForeignKey(User, models.CASCADE, related_name="+", db_index=False)
    key = models.CharField(max_length=255)
    fingerprint = models.CharField(max_length=64)
    location = models.TextField(blank=True, help_text="Empty only before the write is done.")
    created_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["person", "key"], name="keyed_write_once")
        ]
        indexes: ClassVar = [models.Index(fields=["created_at"], name="keyed_write_oldest")]

    def __str__(self) -> str:
        return self.location
