"""How a revision gets into the database: under the request's lock, with its side effects.

Everything that writes a revision goes through here. Nothing here decides whether it may.
"""

import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from django.db import DatabaseError, IntegrityError, connection, transaction

from approvals.domain.refusals import Invalid, Settled, StaleRevision
from approvals.models import AccessRequest
from approvals.selectors import requests as reads

_DUPLICATE = {"one_open_request", "one_active_request", "one_extension"}
_OURS = {"request_revision_once", "decision_revision", "one_human_one_vote"}


def no_transaction() -> bool:
    """Return whether no transaction is open but the one that a test case wraps around itself.

    Whoever talks to a network asserts this first, so that no lock waits for it.
    """
    blocks = transaction.get_connection().atomic_blocks
    return all(block._from_testcase for block in blocks)


def lock(request_id: uuid.UUID) -> None:
    """Hold this request until the transaction ends; others that want it wait.

    An advisory lock, because the application may not UPDATE and therefore not lock the rows.
    """
    assert transaction.get_connection().in_atomic_block, "lock() belongs into a transaction"
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 1))", [str(request_id)])


def lock_many(request_ids: Iterable[uuid.UUID]) -> None:
    """Hold several requests until the transaction ends, in one order for everybody."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended(key, 1)) FROM unnest(%s::text[]) key",
            [sorted(map(str, request_ids))],
        )


def lock_pair(*, subject: int, entitlement: int) -> None:
    """Hold a subject's access to an entitlement until the transaction ends."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended(%s, 2))", [f"{subject}:{entitlement}"]
        )


def lock_leases(keys: Iterable[str]) -> None:
    """Hold what these leases stand for at the targets until the transaction ends.

    Always after the requests' own locks, never before: one order for everybody.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended(key, 3)) FROM unnest(%s::text[]) key",
            [sorted(set(keys))],
        )


def locked(request_id: uuid.UUID) -> AccessRequest:
    """Lock a request and return its newest revision. Raises: NotFound."""
    lock(request_id)
    return reads.current(request_id)


@contextmanager
def translated() -> Iterator[None]:
    """Turn the database's refusal of a stale revision into StaleRevision; let all else through."""
    try:
        yield
    except IntegrityError as error:
        name = getattr(getattr(error.__cause__, "diag", None), "constraint_name", None)
        if name in _DUPLICATE:
            raise Invalid("There is an open request for this already.", code="duplicate") from error
        if name == "request_extends_active":
            raise Settled("The access has ended, so it can't be extended.", code="ended") from error
        if name not in _OURS:
            raise
        raise StaleRevision("Somebody was faster. Look at what happened meanwhile.") from error
    except DatabaseError as error:
        if getattr(error.__cause__, "sqlstate", None) != "40001":
            raise
        raise StaleRevision("Somebody was faster. Look at what happened meanwhile.") from error


def write(revision: AccessRequest) -> AccessRequest:
    """Insert one revision. Raises: StaleRevision when it does not follow the newest one."""
    with translated():
        revision.save()
    return revision


def write_many(revisions: Iterable[AccessRequest]) -> list[AccessRequest]:
    """Insert revisions of different requests in one statement. Raises: StaleRevision for all."""
    rows = list(revisions)
    if rows:
        with translated():
            AccessRequest.insert(rows)
    return rows
