"""Append-only rows, the log that they are sealed into, and the database's own guards for both."""

from audit.models.append_only import AppendOnly, AppendOnlyQuerySet, MutationBlocked
from audit.models.entry import Entry, Salt
from audit.models.erasure import Erasure
from audit.models.holding import Alarm, Holding
from audit.models.log import Checkpoint, Leaf, Log, Node
from audit.models.sealed import Said
from audit.models.verification import Verification

__all__ = [
    "Alarm",
    "AppendOnly",
    "AppendOnlyQuerySet",
    "Checkpoint",
    "Entry",
    "Erasure",
    "Holding",
    "Leaf",
    "Log",
    "MutationBlocked",
    "Node",
    "Said",
    "Salt",
    "Verification",
]
