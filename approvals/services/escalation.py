"""Silence: reminders, escalations and lapses, which the clock asks for and nobody clicks."""

import uuid
from datetime import datetime

from django.db import transaction

from approvals.domain.refusals import NotFound
from approvals.domain.states import Event, State
from approvals.models import AccessRequest, Asked
from approvals.selectors import chains as views
from approvals.selectors import due
from approvals.services import asked, notices, recording


@transaction.atomic
def remind(
    *, request_id: uuid.UUID, level: int, escalations: int, at: datetime, now: datetime
) -> bool:
    """Remind those who may decide, and schedule the next reminder; False where it is outdated."""
    try:
        record = recording.locked(request_id)
    except NotFound:
        return False
    if record.state != State.PENDING or (record.level, record.escalations) != (level, escalations):
        return False
    view = views.load(record, now=now)
    if view is None or view.progress.state != "pending" or at not in view.progress.reminders:
        return False
    if view.progress.escalations != escalations:
        return False
    notices.remind(record, view, at=at, now=now)
    notices.schedule_reminder(record, view, now=now)
    return True


def advance(request_id: uuid.UUID, *, now: datetime) -> list[AccessRequest]:
    """Do what the clock asks of a pending request: the escalations that are due, then the lapse.

    Each becomes its own revision. Returns them; none when nothing is due. Safe to repeat.
    """
    written: list[AccessRequest] = []
    while due.is_level_due(request_id, now=now):
        revision = escalate(request_id=request_id, now=now) or lapse(request_id=request_id, now=now)
        if revision is None:
            break
        written.append(revision)
    return written


@transaction.atomic
def escalate(*, request_id: uuid.UUID, now: datetime) -> AccessRequest | None:
    """Apply the next escalation step of a silent level if it is due; None if none is."""
    record = recording.locked(request_id)
    if record.state != State.PENDING or record.due_at is None or record.due_at > now:
        return None
    view = views.load(record, now=record.due_at)
    if view is None or view.progress.state != "pending":
        return None
    if view.progress.escalations <= record.escalations:
        return None
    revision = record.revise(
        event=Event.ESCALATED,
        actor=None,
        now=now,
        escalations=view.progress.escalations,
        due_at=view.progress.due_at,
        detail={
            "level": record.level,
            "level_name": record.level_name,
            "from": view.names_of(_asked(request_id)),
            "to": view.names_of(view.electorate),
            "new": view.names_of(view.electorate - _asked(request_id)),
            "was_due_at": record.due_at.isoformat(),
        },
    )
    recording.write(revision)
    new = asked.refresh(revision, view, now=now)
    notices.escalated(revision, view, new=new, now=now)
    notices.schedule_reminder(revision, view, now=now)
    return revision


@transaction.atomic
def lapse(*, request_id: uuid.UUID, now: datetime) -> AccessRequest | None:
    """End a request whose last step is due without a decision; None if it is not."""
    record = recording.locked(request_id)
    if record.state != State.PENDING or record.due_at is None or record.due_at > now:
        return None
    view = views.load(record, now=record.due_at)
    if view is None or view.progress.state != "lapsed":
        return None
    others = _asked(request_id)
    revision = record.revise(
        event=Event.LAPSED,
        actor=None,
        now=now,
        detail={
            "level": record.level,
            "level_name": record.level_name,
            "was_due_at": record.due_at.isoformat(),
        },
    )
    revision.lapse()
    recording.write(revision)
    asked.refresh(revision, None, now=now)
    notices.decided(revision, others=others, now=now)
    return revision


def _asked(request_id: uuid.UUID) -> set[int]:
    rows = Asked.objects.filter(request_id=request_id)
    return set(rows.values_list("person_id", flat=True))
