"""Who handed over a request to whom, as pages show it."""

import uuid
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import OuterRef
from django.db.models.functions import JSONObject

from approvals.models import AccessRequest, RequestHandover
from audit.selectors.erasures import ERASED

__all__ = ["RequestHandover"]

_COLUMNS = (
    "number", "level", "level_name", "giver_id", "giver_name", "taker_id", "taker_name",
    "place_id", "place_name", "comment", "occurred_at",
)  # fmt: skip


def handovers(request_id: uuid.UUID) -> list[RequestHandover]:
    """Return a request's handovers in their order (one query)."""
    return list(RequestHandover.objects.filter(request_id=request_id).order_by("number"))


def inline() -> ArraySubquery:
    """Return a request's handovers as a column of its row, for `from_column`: it spares a query."""
    rows = RequestHandover.objects.filter(request_id=OuterRef("request_id")).order_by("number")
    return ArraySubquery(rows.values(_=JSONObject(**{name: name for name in _COLUMNS})))


def from_column(request_id: uuid.UUID, found: Iterable[dict[str, Any]]) -> list[RequestHandover]:
    """Return the handovers that the column `inline()` holds."""
    return [
        RequestHandover(
            request_id=request_id,
            **each | {"occurred_at": datetime.fromisoformat(each["occurred_at"])},
        )
        for each in found
    ]


def one(request_id: uuid.UUID, *, number: int) -> RequestHandover | None:
    """Return one handover of a request (one query)."""
    return RequestHandover.objects.filter(request_id=request_id, number=number).first()


def for_whom(vote: AccessRequest, found: Sequence[RequestHandover]) -> str:
    """Return whose place the vote was given in that made a revision; nothing for one's own."""
    taken = [
        row
        for row in found
        if (row.taker_id, row.level) == (vote.actor_id, vote.detail.get("level"))
        and row.occurred_at <= vote.occurred_at
    ]
    return taken[-1].place_name if taken and taken[-1].place_id != vote.actor_id else ""


def given(ids: Iterable[uuid.UUID], *, by: int) -> dict[uuid.UUID, str]:
    """Return to whom a person last handed over each of the requests (one query)."""
    rows = RequestHandover.objects.filter(request_id__in=set(ids), giver_id=by).order_by("number")
    return {row.request_id: row.taker_name for row in rows if row.taker_name != ERASED}
