"""Configuration's history in the log: each history row is a revision of what it tells of."""

from typing import Any

from django.db import models

from audit.domain.entries import SYSTEM
from audit.models import sealed
from audit.models.sealed import Said

_OPERATIONS = {"+": "created", "~": "changed", "-": "deleted"}
_IMPLIED = frozenset({"history_id"})


def ledger_name(model: type[models.Model]) -> str:
    """Return what the log calls the objects that a history model tells of, such as `policy`."""
    return str(model._meta.model_name).removeprefix("historical")


def actor_uid(row: Any) -> str:
    """Return the random identity of who made the change; the portal's where nobody is named."""
    return str(row.history_user.uid) if row.history_user_id else SYSTEM


def said(row: Any, *, revision: int, previous: str, actor: str) -> Said:
    """Return what a history row says to the log. It names every field that isn't null.

    The first history row of an object may be its second one in the log and so on: `revision` and
    `previous` come from what the log has.
    """
    model = type(row)
    key = model.instance_type._meta.pk.attname
    return Said(
        model=ledger_name(model),
        object_id=str(getattr(row, key)),
        revision=revision,
        previous=previous,
        operation=_OPERATIONS[row.history_type],
        actor=actor,
        at=row.history_date,
        values=sealed.values(row, None, without=_IMPLIED),
    )


def record(sender: type[models.Model], *, instance: Any, created: bool, **_: Any) -> None:
    """Write the entry of a history row that was just inserted (a receiver of `post_save`)."""
    if not created or not hasattr(instance, "history_id"):
        return
    key = sender.instance_type._meta.pk.attname  # type: ignore[attr-defined]
    name, object_id = ledger_name(sender), str(getattr(instance, key))
    revision, previous = sealed.last(model=name, object_id=object_id)
    found = said(instance, revision=revision + 1, previous=previous, actor=actor_uid(instance))
    sealed.record([((found, *found.build()), instance.history_id)])
