"""Which notices an event causes, as outbox rows of its transaction. Sending is `notifications`.

A notice has a `once_key`: however often its task runs, a person gets it once.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

from approvals.models import AccessRequest, OutboxItem, Resource
from approvals.outbox import queue
from approvals.selectors.chains import ChainView

LANE = "notices"
#: What is only to be known, and may wait until a wave of removals is over.
NEWS = "news"


def ask(
    record: AccessRequest,
    view: ChainView,
    *,
    people: Iterable[int],
    now: datetime,
    kind: str = "approval_needed",
) -> None:
    """Tell people that they may decide on this request now."""
    level, step = view.progress.level, view.progress.escalations
    _put(record, kind, people, now=now, once=f"{level}.{step}")


def handed_over(
    record: AccessRequest, view: ChainView, *, people: Iterable[int], number: int, now: datetime
) -> None:
    """Tell the taker of a handover, by its number, that they may decide now, by whom and why."""
    once = f"{view.progress.level}.{view.progress.escalations}.handed.{number}"
    extra = {"handover": str(number)}
    _put(record, "approval_needed", people, now=now, once=once, extra=extra)


def remind(record: AccessRequest, view: ChainView, *, at: datetime, now: datetime) -> None:
    """Remind everybody who may decide now; `at` is the reminder's own moment."""
    _put(record, "reminder", view.electorate, now=now, once=at.isoformat())


def schedule_reminder(record: AccessRequest, view: ChainView, *, now: datetime) -> None:
    """Write the next reminder of the open level, due at its own moment."""
    at = view.progress.next_reminder_at
    if record.state != "pending" or at is None:
        return
    queue.put(
        topic="request.remind",
        lane="due",
        payload={
            "request_id": str(record.request_id),
            "level": view.progress.level,
            "escalations": view.progress.escalations,
            "at": at.isoformat(),
        },
        now=now,
        not_before=at,
    )


def escalated(record: AccessRequest, view: ChainView, *, new: set[int], now: datetime) -> None:
    """Tell the newly asked that a silent level came to them, and the requester that it moved."""
    ask(record, view, people=new, now=now, kind="escalated")
    step = f"{view.progress.level}.{view.progress.escalations}"
    _put(record, "moved_on", _askers(record), now=now, once=step)


def decided(record: AccessRequest, *, others: Iterable[int], now: datetime) -> None:
    """Tell the requester and subject the outcome, and those who were asked that it is settled."""
    people = set(others) - _askers(record)
    if record.actor_id:
        people.discard(record.actor_id)
    queue.put_many(
        [
            *_items(record, "decided", _askers(record), now=now),
            *_items(record, "settled", people, now=now),
        ]
    )


def question(record: AccessRequest, *, number: int, now: datetime) -> None:
    """Tell the requester and the subject that an approver asks them something."""
    extra = {"number": str(number)}
    _put(record, "question", _askers(record), now=now, once=str(number), extra=extra)


def answer(record: AccessRequest, *, number: int, people: Iterable[int], now: datetime) -> None:
    """Tell who asked, and all who may decide now, what was answered."""
    _put(record, "answer", people, now=now, once=str(number), extra={"number": str(number)})


def level_done(record: AccessRequest, *, others: Iterable[int], now: datetime) -> None:
    """Tell those who were asked at a level that others completed it."""
    people = set(others) - _askers(record)
    if record.actor_id:
        people.discard(record.actor_id)
    _put(record, "level_done", people, now=now, once=str(record.revision))


def active(record: AccessRequest, *, now: datetime) -> None:
    """Tell the subject that the access is there, and, in time, that it ends soon."""
    queue.put_many(
        [*_items(record, "active", _askers(record), now=now), *ends_soon(record, now=now)]
    )


def warning_before_end(duration: timedelta) -> timedelta:
    """Return how long before the end the warning goes: a tenth of the time, at most 15 minutes.

    At least a minute, but never in the first half of the time.
    """
    tenth = min(timedelta(minutes=15), duration / 10)
    return min(max(tenth, timedelta(minutes=1)), duration / 2)


def ends_soon(record: AccessRequest, *, now: datetime) -> list[OutboxItem]:
    """Return the warning of an active request, due a while before its end."""
    assert record.ends_at is not None
    at = record.ends_at - warning_before_end(record.duration)
    return _items(record, "ends_soon", {record.subject_id}, now=now, not_before=at)


def ended(record: AccessRequest, *, now: datetime) -> list[OutboxItem]:
    """Return the notice that the access is gone from the target, unsaved."""
    return _items(record, "ended", _askers(record), now=now, lane=NEWS)


def failed(record: AccessRequest, *, now: datetime) -> None:
    """Tell the requester, the subject and the resource's owner that access could not be made."""
    _put(record, "failed", _askers(record) | {_owner(record)}, now=now)


def stuck(
    record: AccessRequest,
    item: OutboxItem,
    *,
    error: str,
    now: datetime,
    operators: Iterable[int],
) -> None:
    """Alarm the resource's owner and the operators: a removal fails and goes on failing.

    Once for the end of the request, and once for each other removal that it needs.
    """
    people = {_owner(record), *operators}
    once = item.created_at.isoformat() if item.topic == "grant.cleanup" else ""
    _put(record, "stuck", people, now=now, once=once, extra={"error": error[:500]})


def drifted(
    record: AccessRequest, *, kind: str, finding: int, now: datetime, operators: Iterable[int]
) -> None:
    """Alarm owner and operators, once for a finding: the target holds other than was granted."""
    _put(record, kind, {_owner(record), *operators}, now=now, once=str(finding))


def _askers(record: AccessRequest) -> set[int]:
    return {record.requester_id, record.subject_id}


def _owner(record: AccessRequest) -> int:
    owner: int = Resource.objects.values_list("owner_id", flat=True).get(
        entitlements=record.entitlement_id
    )
    return owner


def _put(
    record: AccessRequest,
    kind: str,
    people: Iterable[int],
    *,
    now: datetime,
    once: str = "",
    extra: dict[str, str] | None = None,
) -> None:
    items = _items(record, kind, people, now=now, once=once, extra=extra)
    if items:
        queue.put_many(items)


def _items(
    record: AccessRequest,
    kind: str,
    people: Iterable[int],
    *,
    now: datetime,
    once: str = "",
    extra: dict[str, str] | None = None,
    not_before: datetime | None = None,
    lane: str = LANE,
) -> list[OutboxItem]:
    return [
        queue.item(
            "notice.send",
            lane,
            {
                "kind": kind,
                "request_id": str(record.request_id),
                "revision": record.revision,
                "recipient": person,
                "once_key": f"{record.request_id}:{kind}:{once}:{person}",
                **(extra or {}),
            },
            now=now,
            not_before=not_before,
        )
        for person in sorted(people)
    ]
