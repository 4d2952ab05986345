"""Who is asked: the index behind every inbox, kept beside the records and following the directory.

`refresh` runs in the transaction of each revision; `follow` when the directory changed; `rebuild`
and `differences` make and check it from nothing. Decisions never rely on it: they resolve afresh.
"""

import uuid
from collections.abc import Iterable
from datetime import datetime

import structlog
from django.db import connection, transaction

from approvals.domain import chain as chains
from approvals.models import AccessRequest, Asked, CurrentRequest, Waiting
from approvals.selectors import chains as views
from approvals.selectors import requests as reads
from approvals.services import notices, recording

log = structlog.get_logger(__name__)

_LEAVE = "DELETE FROM approvals_asked WHERE request_id = %s AND person_id <> ALL(%s::bigint[])"
_ENTER = """
INSERT INTO approvals_asked (request_id, person_id, due_at, asked_at)
SELECT %s, person, %s, %s FROM unnest(%s::bigint[]) person
ON CONFLICT (request_id, person_id) DO UPDATE SET due_at = excluded.due_at
RETURNING person_id, xmax = 0
"""
_WATCH = """
INSERT INTO approvals_waiting (request_id, revision, watches, reached) VALUES (%s, %s, %s, %s)
ON CONFLICT (request_id) DO UPDATE SET
    revision = excluded.revision, watches = excluded.watches, reached = excluded.reached
"""
_FORGET = "DELETE FROM approvals_waiting WHERE request_id = %s"


def refresh(record: AccessRequest, view: views.ChainView | None, *, now: datetime) -> set[int]:
    """Bring the index up to a request's newest state; return the people who are newly asked."""
    people: list[int] = []
    if record.state == "pending" and view is not None:
        people = sorted(view.electorate)
    key = record.request_id
    with connection.cursor() as cursor:
        cursor.execute(_LEAVE, [key, people])
        if record.state != "pending" or view is None:
            cursor.execute(_FORGET, [key])
            return set()
        watches = sorted(_watches(record, view))
        cursor.execute(_WATCH, [key, record.revision, watches, bool(people)])
        if not people:
            return set()
        cursor.execute(_ENTER, [key, view.progress.due_at, now, people])
        return {person for person, is_new in cursor.fetchall() if is_new}


def _watches(record: AccessRequest, view: views.ChainView) -> set[str]:
    keys = set(chains.dependencies(view.chain, view.parties, view.directory))
    if "o:resource" in keys:
        keys = (keys - {"o:resource"}) | {f"r:{record.entitlement_id}"}
    keys |= {f"p:{key}" for each in view.handovers for key in (each.giver, each.taker)}
    return {key.lower() if key.startswith("l:") else key for key in keys}


@transaction.atomic
def refresh_now(request_id: uuid.UUID, *, now: datetime) -> bool:
    """Re-resolve who is asked for one request and tell the newly asked; True if it changed."""
    record = recording.locked(request_id)
    if record.state != "pending":
        refresh(record, None, now=now)
        return False
    before = set(Asked.objects.filter(request_id=request_id).values_list("person_id", flat=True))
    view = views.load(record, now=now)
    if view is None or view.progress.state != "pending":
        return False
    new = refresh(record, view, now=now)
    notices.ask(record, view, people=new, now=now)
    return bool(new) or before != set(view.electorate)


def follow(keys: Iterable[str], *, now: datetime) -> int:
    """Refresh the pending requests whose approvers depend on any of the directory `keys`.

    Returns how many changed. Each is its own transaction; safe to repeat.
    """
    affected = Waiting.objects.filter(watches__overlap=list(keys))
    found = list(affected.values_list("request_id", flat=True))
    return sum(_refreshed(request_id, now=now) for request_id in found)


def _refreshed(request_id: uuid.UUID, *, now: datetime) -> bool:
    """Refresh one request of many; one that can't be read is logged and stops no other."""
    try:
        return refresh_now(request_id, now=now)
    except Exception:
        log.exception("asked.unreadable", request=str(request_id))
        return False


def rebuild(*, now: datetime) -> int:
    """Make the index anew from the records and the directory; return the pending requests seen."""
    stale = Asked.objects.exclude(
        request_id__in=CurrentRequest.objects.filter(state="pending").values("request_id")
    )
    stale.delete()
    Waiting.objects.exclude(
        request_id__in=CurrentRequest.objects.filter(state="pending").values("request_id")
    ).delete()
    pending = list(
        CurrentRequest.objects.filter(state="pending").values_list("request_id", flat=True)
    )
    for request_id in pending:
        _refreshed(request_id, now=now)
    return len(pending)


def differences(*, now: datetime) -> list[str]:
    """Return a line for each request whose index is not what the directory says; writes nothing."""
    found: list[str] = []
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT request_id FROM approvals_asked WHERE request_id NOT IN"
            " (SELECT request_id FROM approvals_currentrequest WHERE state = 'pending')"
        )
        found += [f"{row[0]}: asked, but not pending" for row in cursor.fetchall()]
    pending = CurrentRequest.objects.filter(state="pending").values_list("request_id", flat=True)
    for request_id in pending.iterator():
        record = reads.current(request_id)
        view = views.load(record, now=now)
        if view is None or view.progress.state != "pending":
            continue
        have = set(Asked.objects.filter(request_id=request_id).values_list("person_id", flat=True))
        if have != set(view.electorate):
            found.append(
                f"{request_id}: asked are {sorted(have)}, should be {sorted(view.electorate)}"
            )
    return found
