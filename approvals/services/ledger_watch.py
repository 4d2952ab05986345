"""Tells people when the ledger stands still or is contradicted, once, and when that is over."""

from collections.abc import Callable
from datetime import datetime

import structlog
from django.db import transaction

from approvals.models import OutboxItem, User
from approvals.outbox import queue
from approvals.selectors import people, telling
from approvals.services import notifications
from approvals.services.letters import ledger as letters
from approvals.services.letters.letter import Letter
from audit.models import Alarm
from audit.services import watching

log = structlog.get_logger(__name__)

TOPIC, LANE = "ledger.alarm", "notices"

_LETTERS: dict[tuple[str, bool], Callable[[letters.AlarmCase], Letter]] = {
    (Alarm.Kind.STALE, True): letters.stale,
    (Alarm.Kind.STALE, False): letters.fresh,
    (Alarm.Kind.FORK, True): letters.forked,
    (Alarm.Kind.FORK, False): letters.agreed,
    (Alarm.Kind.DAMAGE, True): letters.damaged,
    (Alarm.Kind.DAMAGE, False): letters.whole,
}


@transaction.atomic
def watch(*, now: datetime) -> list[Alarm]:
    """Look at the ledger, and put mails for what began or ended; return that.

    Operators are told of all, compliance admins of contradictions too, which operators may be the
    cause of. Mails about one person's alarms keep their order.
    """
    changes = watching.changes(now=now)
    for alarm in changes:
        queue.put_many(
            queue.item(
                TOPIC,
                LANE,
                {"alarm": alarm.pk, "recipient": person.pk},
                now=now,
                key=f"{TOPIC}:{person.pk}",
            )
            for person in _readers(alarm.kind)
        )
    return changes


def _readers(kind: str) -> list[User]:
    found = {person.pk: person for person in people.operators()}
    if kind in (Alarm.Kind.FORK, Alarm.Kind.DAMAGE):
        found |= {person.pk: person for person in people.compliance()}
    return [found[pk] for pk in sorted(found)]


def send(item: OutboxItem, now: datetime) -> None:
    """Send one person one alarm, or its end, unless it is not true any more.

    The end is told to those alone who were told of the beginning. Raises:
    notifications.DeliveryFailed, to be tried again later.
    """
    person = telling.recipient(item.payload["recipient"])
    alarm = watching.find(item.payload["alarm"])
    begin = alarm if alarm.raised else watching.raised_before(alarm)
    fields = {"kind": _kind(alarm), "recipient": item.payload["recipient"], "alarm": alarm.pk}
    if person is None or person not in _readers(alarm.kind):
        log.info("notice.nobody", **fields)
        return
    if begin is None or watching.newest(Alarm.Kind(alarm.kind)) != alarm:
        log.info("notice.outdated", reason="it has changed since", **fields)
        return
    case = letters.AlarmCase(to=person, now=now, text=alarm.text, began_at=begin.occurred_at)
    notifications.deliver(
        kind=_kind(alarm),
        letter=_LETTERS[alarm.kind, alarm.raised](case),
        to=person,
        once_key=_once_key(alarm, person),
        thread=f"{TOPIC}:{begin.pk}",
        reference="ledger",
        now=now,
        in_centre=True,
        only_after="" if alarm.raised else _once_key(begin, person),
    )


def _kind(alarm: Alarm) -> str:
    return f"ledger_{alarm.kind}" if alarm.raised else f"ledger_{alarm.kind}_over"


def _once_key(alarm: Alarm, person: User) -> str:
    return f"{TOPIC}:{alarm.pk}:{person.pk}"
