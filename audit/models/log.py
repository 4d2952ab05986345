"""The sealed log: leaves in their order, the tree above them, and the checkpoints that sign it.

Only the sealer inserts here, and nobody changes anything. A tile of 256 hashes is 256 rows of
`Leaf` or `Node`, so that no partial tile is ever kept.
"""

from typing import ClassVar

from django.db import models

from audit.models.entry import Entry
from audit.models.guards import SEALER

_SEALERS: dict[str, str] = {SEALER: "SELECT, INSERT"}


class Log(models.Model):
    """One log: an origin and the key that signs it. The newest one is written to."""

    append_only: ClassVar = True
    app_may_write: ClassVar = False
    rights: ClassVar = _SEALERS

    origin = models.CharField(max_length=200, unique=True)
    vkey = models.TextField(help_text="The public key, as signed notes write it.")
    opened_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.origin


class Leaf(models.Model):
    """An entry's place in a log, and the hash of its bytes (RFC 6962: SHA-256 of 00 and them)."""

    append_only: ClassVar = True
    app_may_write: ClassVar = False
    rights: ClassVar = _SEALERS

    log = models.ForeignKey(Log, models.PROTECT, related_name="+", db_index=False)
    index = models.BigIntegerField()
    entry = models.OneToOneField(Entry, models.PROTECT, related_name="leaf", db_constraint=False)
    hash = models.BinaryField(max_length=32)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["log", "index"], name="leaf_index_once")
        ]

    def __str__(self) -> str:
        return f"leaf {self.index}"


class Node(models.Model):
    """The root over 256 ** level leaves, from leaf index * 256 ** level on."""

    append_only: ClassVar = True
    app_may_write: ClassVar = False
    rights: ClassVar = _SEALERS

    log = models.ForeignKey(Log, models.PROTECT, related_name="+", db_index=False)
    level = models.PositiveSmallIntegerField()
    index = models.BigIntegerField()
    hash = models.BinaryField(max_length=32)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["log", "level", "index"], name="node_once")
        ]

    def __str__(self) -> str:
        return f"node {self.level}/{self.index}"


class Checkpoint(models.Model):
    """A signed head of a log. `horizon` is where the next look for unsealed entries may begin."""

    append_only: ClassVar = True
    app_may_write: ClassVar = False
    rights: ClassVar = _SEALERS

    log = models.ForeignKey(Log, models.PROTECT, related_name="+", db_index=False)
    size = models.BigIntegerField()
    root = models.BinaryField(max_length=32)
    note = models.BinaryField(help_text="The signed note, byte for byte.")
    signed_at = models.DateTimeField(editable=False)
    horizon = models.BigIntegerField(help_text="No entry of an older transaction is unsealed.")
    system = models.CharField(max_length=40, help_text="The database cluster's own identifier.")
    looked_at_all = models.BooleanField(default=False)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["log", "size"], name="checkpoint_size_once")
        ]
        indexes: ClassVar = [
            models.Index(fields=["-signed_at"], name="checkpoint_newest"),
            models.Index(
                fields=["-id"], name="checkpoint_full", condition=models.Q(looked_at_all=True)
            ),
        ]

    def __str__(self) -> str:
        return f"checkpoint {self.size}"
