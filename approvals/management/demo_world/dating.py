"""How a change of configuration gets into its history under another day than today."""

from datetime import datetime
from typing import TypeVar

from django.db import models

from approvals.models import User

Row = TypeVar("Row", bound=models.Model)


def dated(row: Row, *, at: datetime, reason: str, by: User | None = None) -> Row:
    """Return the row, whose next save goes into the history with this time, reason and author."""
    for name, value in (
        ("_history_date", at),
        ("_change_reason", reason),
        ("_history_user", by),
    ):
        setattr(row, name, value)
    return row
