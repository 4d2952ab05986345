"""The base of every record: rows are inserted once and never touched again.

This is the courtesy in Python; the guarantee is the database's (`audit.models.guards`).
"""

from typing import Any, NoReturn, TypeVar

from django.db import models

Row = TypeVar("Row", bound=models.Model)


class MutationBlocked(Exception):
    """A recorded row would have been changed or removed; write a new one with `revise()`."""

    def __init__(self, model: type[models.Model], operation: str) -> None:
        super().__init__(
            f"{model.__name__} rows are append-only: {operation} is refused. "
            "To change what they say, write the next revision with revise()."
        )


class AppendOnlyQuerySet(models.QuerySet[Row]):
    """A queryset that reads and inserts; whatever would change a row raises MutationBlocked."""

    def _refuse(self, operation: str) -> NoReturn:
        raise MutationBlocked(self.model, operation)

    def update(self, **_: Any) -> NoReturn:
        """Raise MutationBlocked."""
        self._refuse("update")

    async def aupdate(self, **_: Any) -> NoReturn:
        """Raise MutationBlocked."""
        self._refuse("update")

    def delete(self) -> NoReturn:
        """Raise MutationBlocked."""
        self._refuse("delete")

    async def adelete(self) -> NoReturn:
        """Raise MutationBlocked."""
        self._refuse("delete")

    def _raw_delete(self, using: str | None) -> NoReturn:
        self._refuse("delete")

    def bulk_update(self, *_: Any, **__: Any) -> NoReturn:
        """Raise MutationBlocked."""
        self._refuse("bulk_update")

    async def abulk_update(self, *_: Any, **__: Any) -> NoReturn:
        """Raise MutationBlocked."""
        self._refuse("bulk_update")

    def update_or_create(self, *_: Any, **__: Any) -> NoReturn:
        """Raise MutationBlocked."""
        self._refuse("update_or_create")

    async def aupdate_or_create(self, *_: Any, **__: Any) -> NoReturn:
        """Raise MutationBlocked."""
        self._refuse("update_or_create")

    def bulk_create(self, objs: Any, *args: Any, **options: Any) -> list[Row]:
        """Insert rows. Raises: MutationBlocked where conflicts would be written over."""
        if options.get("update_conflicts") or options.get("ignore_conflicts"):
            self._refuse("bulk_create over conflicts")
        return super().bulk_create(objs, *args, **options)


class AppendOnly(models.Model):
    """A row that is inserted once. `recorded_at` is the database's clock, set by a trigger."""

    recorded_at = models.DateTimeField(editable=False, null=True)

    objects = AppendOnlyQuerySet.as_manager()

    class Meta:
        abstract = True
        base_manager_name = "objects"

    def save(self, *args: Any, **options: Any) -> None:
        """Insert the row. Raises: MutationBlocked when it exists already."""
        if not self._state.adding:
            raise MutationBlocked(type(self), "save of an existing row")
        options["force_insert"] = True
        super().save(*args, **options)

    def delete(self, *_: Any, **__: Any) -> NoReturn:
        """Raise MutationBlocked."""
        raise MutationBlocked(type(self), "delete")
