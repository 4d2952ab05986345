"""What people keep for themselves: saved views of the inbox, favourites of the catalogue.

No records: they come and go as their person likes, and go when the person is erased.
"""

from typing import ClassVar

from django.db import models

from approvals.directory.models import User
from approvals.models.catalogue import Entitlement


class SavedView(models.Model):
    """The filters of the inbox under a name, for one person."""

    person = models.ForeignKey(User, models.CASCADE, related_name="+", db_index=False)
    name = models.CharField(max_length=60)
    query = models.JSONField(default=dict, help_text="Each filter and what it is set to.")
    created_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["person", "name"], name="saved_view_once")
        ]

    def __str__(self) -> str:
        return self.name


class Favourite(models.Model):
    """An entitlement that a person wants to find at once."""

    person = models.ForeignKey(User, models.CASCADE, related_name="+", db_index=False)
    entitlement = models.ForeignKey(Entitlement, models.CASCADE, related_name="+", db_index=False)
    created_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["person", "entitlement"], name="favourite_once")
        ]

    def __str__(self) -> str:
        return f"{self.entitlement_id} of {self.person_id}"
