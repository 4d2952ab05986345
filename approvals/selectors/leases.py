"""Which grants make the same access at a target, and so hold it for each other.

A lease's key is pinned with the target at approval (`services.leases`) and kept in the pointer.
"""

import uuid
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from django.db import connection

from approvals.models import AccessRequest
from approvals.models.request import reference


class Cover(NamedTuple):
    """A live grant that holds the access which another one gives up."""

    request_id: uuid.UUID
    ends_at: datetime
    extends: uuid.UUID | None

    @property
    def reference(self) -> str:
        """Return the request's short name."""
        return reference(self.request_id)


def key(record: AccessRequest) -> str:
    """Return what tells the access of an approved request apart, at all targets.

    Requests that were approved before leases were pinned have one per subject and entitlement, as
    the pointer's trigger gives it.
    """
    pinned = record.target.get("lease")
    return str(pinned or f"grant:{record.subject_id}:{record.entitlement_id}")


_COVERS = """
SELECT mine.request_id, other.request_id, other.due_at, other.extends
FROM unnest(%s::uuid[], %s::text[]) mine(request_id, lease)
CROSS JOIN LATERAL (
    SELECT request_id, due_at, extends FROM approvals_currentrequest c
    WHERE c.lease = mine.lease AND c.state = 'active' AND c.request_id <> mine.request_id
    ORDER BY due_at DESC LIMIT 1) other
"""


def covers(records: Iterable[AccessRequest]) -> dict[uuid.UUID, Cover]:
    """Return, for requests whose access another active grant holds too, the longest of those.

    One query. Only what is read while the leases are held (`recording.lock_leases`) stays true.
    """
    rows: Sequence[AccessRequest] = list(records)
    if not rows:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(_COVERS, [[row.request_id for row in rows], [key(row) for row in rows]])
        return {mine: Cover(*other) for mine, *other in cursor.fetchall()}
