"""What a target gave for the subject's eyes: encrypted, shown to them alone, and then gone."""

from typing import ClassVar

from django.db import models


class Handover(models.Model):
    """One text for the subject of an active request. No record: it is deleted when it was shown."""

    hidden_from_auditor: ClassVar = frozenset({"sealed"})

    request_id = models.UUIDField()
    label = models.CharField(max_length=100)
    once = models.BooleanField(help_text="Gone after it was shown.")
    sealed = models.BinaryField()
    created_at = models.DateTimeField()

    class Meta:
        indexes: ClassVar = [models.Index(fields=["request_id"], name="handover_request")]

    def __str__(self) -> str:
        return f"{self.label} of {self.request_id}"
