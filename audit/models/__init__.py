"""Append-only rows and the database's own guards for them."""

from audit.models.append_only import AppendOnly, AppendOnlyQuerySet, MutationBlocked

__all__ = ["AppendOnly", "AppendOnlyQuerySet", "MutationBlocked"]
