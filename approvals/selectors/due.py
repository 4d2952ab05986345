"""What the clock asks for: which moments are due, and when the next one is."""

import uuid
from collections.abc import Sequence
from datetime import datetime

from django.db import connection

from approvals.models import CurrentRequest
from approvals.outbox import queue


def levels(*, now: datetime, limit: int = 200) -> list[uuid.UUID]:
    """Return pending requests whose open level is due, the longest overdue first (one query)."""
    return list(
        CurrentRequest.objects.filter(state="pending", due_at__lte=now)
        .order_by("due_at")
        .values_list("request_id", flat=True)[:limit]
    )


def is_level_due(request_id: uuid.UUID, *, now: datetime) -> bool:
    """Return whether the request is pending and the clock asks something of it (one query)."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT FROM approvals_currentrequest"
            " WHERE request_id = %s AND state = 'pending' AND due_at <= %s",
            [request_id, now],
        )
        return cursor.fetchone() is not None


def lanes(*, now: datetime) -> list[str]:
    """Return the lanes that have something to do now (one query)."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT lane FROM unnest(%s::text[]) lane WHERE EXISTS ("
            " SELECT FROM approvals_outboxitem o WHERE o.lane = lane.lane AND o.not_before <= %s"
            " AND (o.leased_until IS NULL OR o.leased_until <= %s))",
            [list(queue.LANES), now, now],
        )
        return [row[0] for row in cursor.fetchall()]


def is_there(topics: Sequence[str], *, lane: str, since: datetime, now: datetime) -> bool:
    """Return whether a lane has such work that came due `since` then and isn't done (one query).

    What has waited longer, has failed, or waits for a target that is down is no reason to hurry.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            # With an order, so that it is never found by reading the whole table.
            "SELECT FROM approvals_outboxitem o WHERE lane = %s AND not_before BETWEEN %s AND %s"
            " AND topic = ANY(%s::text[]) AND first_failed_at IS NULL AND target NOT IN"
            " (SELECT k.target FROM approvals_circuit k WHERE k.open_until IS NOT NULL)"
            " ORDER BY not_before, id LIMIT 1",
            [lane, since, now, list(topics)],
        )
        return cursor.fetchone() is not None


_NEXT = """
SELECT least(
    (SELECT min(due_at) FROM approvals_currentrequest WHERE state = 'pending'),
    (SELECT min(soonest) FROM unnest(%s::text[]) lane, LATERAL (
        SELECT min(greatest(not_before, coalesce(leased_until, not_before))) AS soonest
        FROM approvals_outboxitem o WHERE o.lane = lane.lane) each_lane))
"""


def next_moment(*, lanes: Sequence[str] = queue.LANES) -> datetime | None:
    """Return when a level or an outbox item of `lanes` is next due, past or future (one query).

    None when nothing ever is. Ends have their own: `next_end`.
    """
    return _moment(_NEXT, [list(lanes)])


def start_of(request_id: uuid.UUID) -> datetime | None:
    """Return when an approved request is to begin, None when nothing waits for that (one query)."""
    return _moment(
        "SELECT min(not_before) FROM approvals_outboxitem WHERE key = %s AND topic = 'grant.start'",
        [f"start:{request_id}"],
    )


def next_end() -> datetime | None:
    """Return when the next access ends, past or future; None when none does (one query)."""
    return _moment("SELECT min(due_at) FROM approvals_currentrequest WHERE state = 'active'", [])


def _moment(statement: str, parameters: Sequence[str | list[str]]) -> datetime | None:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        moment: datetime | None = cursor.fetchone()[0]
    return moment
