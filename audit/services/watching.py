"""Watches the ledger: raises an alarm when trouble begins, and says when it is over.

Telling people is not this room's: who calls `changes` does, in the same transaction.
"""

from collections.abc import Callable, Iterator
from datetime import datetime

import structlog
from django.db import connection, transaction

from audit.models import Alarm, Verification
from audit.selectors import holders, staleness, verifications
from audit.selectors.holders import State

log = structlog.get_logger(__name__)

_LOCK = 0x6A697477
#: Problems that an alarm names.
SHOWN = 5
_OVER = {
    Alarm.Kind.STALE: "The ledger keeps up again.",
    Alarm.Kind.FORK: "No outside holder contradicts the log any more.",
    Alarm.Kind.DAMAGE: "The last verification found nothing wrong.",
}


@transaction.atomic
def changes(*, now: datetime) -> list[Alarm]:
    """Write down and return the alarms that begin or end now; one of a kind at a time.

    However often and wherever it runs, an episode begins once and ends once. A kind that can't be
    judged stays as it is, and keeps no other from being told.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
    found: list[Alarm] = []
    for kind, trouble in _trouble(now):
        last = newest(kind)
        if bool(trouble) is (last is not None and last.raised):
            continue
        alarm = Alarm(kind=kind, raised=bool(trouble), occurred_at=now, text=trouble or _OVER[kind])
        alarm.save()
        found.append(alarm)
        tell = log.error if alarm.raised else log.info
        tell(_EVENTS[kind, alarm.raised], what=alarm.text)
    return found


def find(pk: int) -> Alarm:
    """Return an alarm. Raises: Alarm.DoesNotExist."""
    return Alarm.objects.get(pk=pk)


def newest(kind: Alarm.Kind) -> Alarm | None:
    """Return the last alarm of a kind, raised or over."""
    return Alarm.objects.filter(kind=kind).order_by("-id").first()


def raised_before(alarm: Alarm) -> Alarm | None:
    """Return the alarm that this one ends."""
    before = Alarm.objects.filter(kind=alarm.kind, raised=True, pk__lt=alarm.pk)
    return before.order_by("-id").first()


def _trouble(now: datetime) -> Iterator[tuple[Alarm.Kind, str]]:
    """Yield what is wrong of each kind, "" for nothing."""
    for kind, judge in _JUDGES.items():
        try:
            with transaction.atomic():
                trouble = judge(now)
        except Exception:
            log.exception("ledger.unjudged", kind=kind)
        else:
            yield kind, trouble


def _stale(now: datetime) -> str:
    found = staleness.stale(now)
    return found.text if found else ""


def _fork(now: datetime) -> str:
    forks = [it for it in holders.alive(now) if it.state == State.FORK]
    return " ".join(f"{it.name}: {it.error}." for it in forks)


def _damage(now: datetime) -> str:
    """Return what the last verification of the database found wrong; "" for nothing."""
    last = verifications.newest()
    if last is None or last.outcome == Verification.Outcome.VERIFIED:
        return ""
    lines = last.sentences[:SHOWN]
    if not lines:
        return "The last verification found problems, and doesn't say which."
    more = last.problem_count - len(lines)
    return "\n".join(lines + ([f"And {more} more."] if more > 0 else []))


_JUDGES: dict[Alarm.Kind, Callable[[datetime], str]] = {
    Alarm.Kind.STALE: _stale,
    Alarm.Kind.FORK: _fork,
    Alarm.Kind.DAMAGE: _damage,
}
_EVENTS = {
    (Alarm.Kind.STALE, True): "ledger.stale",
    (Alarm.Kind.STALE, False): "ledger.fresh",
    (Alarm.Kind.FORK, True): "ledger.forked",
    (Alarm.Kind.FORK, False): "ledger.agreed",
    (Alarm.Kind.DAMAGE, True): "ledger.damaged",
    (Alarm.Kind.DAMAGE, False): "ledger.whole",
}
