"""Append-only rows, the log that they are sealed into, and the database's own guards for both."""

from audit.models.append_only import AppendOnly, AppendOnlyQuerySet, MutationBlocked
from audit.models.entry import Entry, Salt
from audit.models.log import Checkpoint, Leaf, Log, Node
from audit.models.sealed import Said

__all__ = [
    "AppendOnly",
    "AppendOnlyQuerySet",
    "Checkpoint",
    "Entry",
    "Leaf",
    "Log",
    "MutationBlocked",
    "Node",
    "Said",
    "Salt",
]
