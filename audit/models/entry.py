"""The log's entries as they wait to be sealed, and the salts that their commitments need.

An entry is written by the transaction that it tells of. Its bytes are authoritative; `model`,
`object_id` and `record_id` are for finding it and the row that it is about. The database takes no
more bytes than a bundle holds, and only such as end in what the columns say.
"""

from typing import ClassVar

from django.db import models

from audit.models.fields import Xid8Field
from audit.models.guards import APP, SEALER

_GIVEN = "model, object_id, record_id, data"


class Entry(models.Model):
    """One entry, sealed or not yet. `xid` and `recorded_at` are the database's."""

    append_only: ClassVar = True
    rights: ClassVar = {
        APP: f"SELECT, INSERT ({_GIVEN})",
        SEALER: f"SELECT, INSERT ({_GIVEN})",
    }

    xid = Xid8Field(editable=False)
    recorded_at = models.DateTimeField(editable=False)
    model = models.CharField(max_length=100)
    object_id = models.CharField(max_length=200)
    record_id = models.BigIntegerField(null=True, help_text="The row that it tells of.")
    data = models.BinaryField()

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["xid"], name="entry_xid"),
            models.Index(fields=["object_id", "model", "id"], name="entry_object"),
        ]

    def __str__(self) -> str:
        return f"{self.model} {self.object_id}"


class Salt(models.Model):
    """The 32-byte salts of an entry's commitments, in the order of their fields' names.

    An erased field's salt is 32 zero bytes: nothing can show its value any more. The database takes
    them from the transaction that writes their entry.
    """

    append_only: ClassVar = True
    rights: ClassVar = {APP: "SELECT, INSERT", SEALER: "SELECT, INSERT"}

    entry = models.OneToOneField(
        Entry, models.PROTECT, primary_key=True, related_name="salt", db_constraint=False
    )
    salts = models.BinaryField()

    def __str__(self) -> str:
        return f"salts of {self.entry_id}"
