"""PostgreSQL's own transaction number as a column."""

from typing import TYPE_CHECKING, Any

from django.db import models

if TYPE_CHECKING:
    _Base = models.Field[int, int]
else:
    _Base = models.Field


class Xid8Field(_Base):
    """A 64-bit transaction id (`xid8`), read as a whole number; the database sets it."""

    def db_type(self, connection: Any) -> str:
        """Return the column's type."""
        return "xid8"

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> int | None:
        """Return it as a number."""
        return None if value is None else int(value)

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> str | None:  # noqa: FBT002
        """Return it as PostgreSQL reads it."""
        return None if value is None else str(value)
