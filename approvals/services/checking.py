"""Are the indexes what the records say? Compares, and tells; mends only when asked to.

Reads every revision once, in order, with server-side cursors: memory does not grow with the number
of requests.
"""

import uuid
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import groupby
from typing import Any

from django.db import connection, transaction

from approvals.models import AccessRequest, CurrentRequest
from approvals.models.request import reference
from approvals.selectors import leases
from approvals.services import asked

#: Rows that are held in memory at a time.
CHUNK = 2_000

_POINTED = (
    "revision", "record_id", "hash", "state", "requester_id", "subject_id", "entitlement_id",
    "submitted_at", "due_at", "activated_at", "extends",
)  # fmt: skip
_NAMED_OTHERWISE = {"record_id": "id"}


def differences(*, now: datetime) -> Iterator[str]:
    """Yield a sentence for each thing that is wrong; nothing when all is as it should be.

    Every request's revisions are gap-free, each is what its hash says and commits to the one
    before; the pointer names the newest of each; who is asked is what the directory says at `now`.
    Reads one snapshot, so that work that goes on meanwhile makes no false alarm.
    """
    with _snapshot():
        yield from _records()
        yield from asked.differences(now=now)


@contextmanager
def _snapshot() -> Iterator[None]:
    """Read everything as of one moment, unless the caller's own transaction is open already."""
    if connection.in_atomic_block:
        yield
        return
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        yield


def _records() -> Iterator[str]:
    """Walk revisions and pointers side by side, both in the order of the request's id."""
    pointers = CurrentRequest.objects.order_by("request_id").iterator(chunk_size=CHUNK)
    pointer = next(pointers, None)
    rows = AccessRequest.objects.order_by("request_id", "revision").iterator(chunk_size=CHUNK)
    for request_id, revisions in groupby(rows, key=lambda row: row.request_id):
        while pointer is not None and pointer.request_id < request_id:
            yield f"{_named(pointer.request_id)}: the pointer names a request without revisions"
            pointer = next(pointers, None)
        newest = yield from _chain(revisions)
        if pointer is None or pointer.request_id != request_id:
            yield f"{_named(request_id)}: has no pointer"
            continue
        yield from _pointed(pointer, newest)
        pointer = next(pointers, None)
    while pointer is not None:
        yield f"{_named(pointer.request_id)}: the pointer names a request without revisions"
        pointer = next(pointers, None)


def _chain(revisions: Iterable[AccessRequest]) -> Generator[str, None, AccessRequest]:
    """Check one request's revisions, which come in order; return the newest."""
    before: AccessRequest | None = None
    for row in revisions:
        name = f"{_named(row.request_id)} revision {row.revision}"
        expected = before.revision + 1 if before else 1
        if row.revision != expected:
            yield f"{name}: follows {expected - 1 or 'nothing'}, so there is a gap"
        elif _bytes(row.previous_hash) != (_bytes(before.hash) if before else None):
            yield f"{name}: does not commit to the one before"
        before = row
    assert before is not None
    return before


def _pointed(pointer: CurrentRequest, newest: AccessRequest) -> Iterator[str]:
    for column in _POINTED:
        have = _bytes(getattr(pointer, column))
        should = _bytes(getattr(newest, _NAMED_OTHERWISE.get(column, column)))
        if have != should:
            yield (
                f"{_named(newest.request_id)}: the pointer's {column} is {_shown(have)}, "
                f"should be {_shown(should)}"
            )

    if pointer.lease != (leases.key(newest) if newest.target else ""):
        yield f"{_named(newest.request_id)}: the pointer's lease is not that of the approval"


def _named(request_id: uuid.UUID) -> str:
    return f"{reference(request_id)} ({request_id})"


def _bytes(value: Any) -> Any:
    return bytes(value) if isinstance(value, memoryview) else value


def _shown(value: Any) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)


class RebuildRefusedError(Exception):
    """The connection may not write the pointer; the owner of the tables may."""


@transaction.atomic
def rebuild_pointer() -> int:
    """Make the pointer anew from the revisions, while writers wait; return how many it names.

    Raises: RebuildRefusedError unless connected as the owner. The application may not.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT has_function_privilege('approvals_rebuild_current()', 'EXECUTE')"
            " AND has_table_privilege('approvals_currentrequest', 'INSERT, DELETE'), current_user"
        )
        allowed, who = cursor.fetchone()
        if not allowed:
            raise RebuildRefusedError(
                f"{who} may not write the pointer: run this as the owner of the tables."
            )
        cursor.execute("LOCK TABLE approvals_accessrequest IN SHARE ROW EXCLUSIVE MODE")
        cursor.execute("SELECT approvals_rebuild_current()")
        count: int = cursor.fetchone()[0]
    return count
