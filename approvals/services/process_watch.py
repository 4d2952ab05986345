"""Signs of life, and the incidents that their absence makes: kept by whoever looks first.

Every process looks (see `jitportal.watch`), so that each is watched by others. Operators are mailed
directly and not through the outbox, because its worker may be what is dead. What is wrong now is
found by `selectors.processes`; the ledger has a watch of its own, which is asked from here while
the processes that ask it otherwise are silent.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from smtplib import SMTPException
from urllib.parse import urlsplit

import structlog
from django.conf import settings
from django.core.mail import send_mail
from django.db import connection, transaction
from django.db.models import Q, QuerySet

from approvals.models import Heartbeat, Incident, User
from approvals.selectors import people, processes
from approvals.services import ledger_watch, process_words, recording, wording
from approvals.services.singly import alone

log = structlog.get_logger(__name__)

_LOOK_LOCK = 0x6A69_7469
_TELL_LOCK = 0x6A69_746D
#: Signs of processes that are gone are kept for this long; the newest of each kind for ever.
KEPT = timedelta(days=1)

_BEAT = """
INSERT INTO approvals_heartbeat AS h (kind, name, started_at, beat_at, version)
VALUES (%(kind)s, %(name)s, %(started_at)s, clock_timestamp(), %(version)s)
ON CONFLICT (kind, name) DO UPDATE
SET started_at = excluded.started_at, beat_at = excluded.beat_at, version = excluded.version
WHERE h.beat_at < excluded.beat_at
"""
_FORGET = """
DELETE FROM approvals_heartbeat h WHERE h.beat_at < %s AND h.kind <> 'queue' AND EXISTS (
    SELECT FROM approvals_heartbeat newer WHERE newer.kind = h.kind AND newer.beat_at > h.beat_at)
"""


def beat(*, kind: str, name: str, started_at: datetime, version: str = "") -> None:
    """Write that this process lives, at the database's time (one statement)."""
    with connection.cursor() as cursor:
        cursor.execute(
            _BEAT, {"kind": kind, "name": name, "started_at": started_at, "version": version}
        )


def gone(*, kind: str, name: str) -> None:
    """Write that this process is no longer what it was (one statement)."""
    Heartbeat.objects.filter(kind=kind, name=name).delete()


def succeed(*, kind: str, host: str, is_there: Callable[[int], bool]) -> None:
    """Forget the processes of this kind and host that ended, since another one has begun there.

    `is_there` says whether this host has a process of that id. What a process that ended by itself
    or was stopped left is no sign of trouble any more once its successor lives.
    """
    for row in Heartbeat.objects.filter(kind=kind, name__startswith=f"{host}:"):
        number = row.name.removeprefix(f"{host}:")
        if number.isdecimal() and not is_there(int(number)):
            row.delete()


def pulsed(*, queue: str) -> None:
    """Write that a message of beat has come to a worker of `queue` (one statement)."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        (now,) = cursor.fetchone()
    beat(kind=processes.QUEUE, name=queue, started_at=now)


def look(*, since: datetime, now: datetime) -> list[Incident]:
    """Open an incident for each new trouble and close those that are over; return both.

    `since` is when the looking process began to look without a break. Safe to call anywhere and at
    any time: while another process looks it does nothing.
    """
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [_LOOK_LOCK])
            if not cursor.fetchone()[0]:
                return []
            cursor.execute(_FORGET, [now - KEPT])
        found = {trouble.kind: trouble for trouble in processes.troubles(now=now, since=since)}
        known = {incident.kind: incident for incident in processes.open_incidents()}
        # A watcher that has only just begun can't tell yet whether what is open is over.
        sees = now - since > processes.START_PATIENCE * settings.WATCH_SILENT
        changed = [_open(found[kind], now) for kind in found if _is_new(found[kind], found, known)]
        changed += [
            _close(incident, now)
            for kind, incident in known.items()
            if kind not in found and (sees or _is_back(kind, now))
        ]
    if found.keys() & {"beat", "due", "queue:due"}:
        ledger_watch.watch(now=now)
    return changed


def _is_new(
    trouble: processes.Trouble,
    found: dict[str, processes.Trouble],
    known: dict[str, Incident],
) -> bool:
    return trouble.kind not in known and not (trouble.because & found.keys())


def _is_back(kind: str, now: datetime) -> bool:
    """Return whether a process shows that it lives, which needs no patience to be seen."""
    return processes.states(now=now).get(kind) == "ok"


def _open(trouble: processes.Trouble, now: datetime) -> Incident:
    log.error("watch.incident", kind=trouble.kind, what=trouble.text)
    return Incident.objects.create(kind=trouble.kind, opened_at=now, text=trouble.text)


def _close(incident: Incident, now: datetime) -> Incident:
    log.info("watch.over", kind=incident.kind, opened_at=incident.opened_at.isoformat())
    incident.closed_at = now
    incident.save(update_fields=["closed_at"])
    return incident


class NobodyTold(Exception):
    """Operators could not be mailed; the message says why. It is to be tried again later."""


def tell(*, now: datetime) -> int:
    """Mail operators what began and what is over, each once; return how many mails left.

    One process at a time sends. What was over before it could be told is never told. A mail can
    come twice only where a process dies between the mail server's answer and writing it down.
    Raises: NobodyTold.
    """
    assert recording.no_transaction(), "a transaction is open, and the network must not hold one"
    if not _untold().exists():
        return 0
    with alone(_TELL_LOCK) as first:
        return sum(_tell(incident, now=now) for incident in _untold()) if first else 0


def _untold() -> QuerySet[Incident]:
    begun = Q(told_at__isnull=True, closed_at__isnull=True)
    over = Q(told_at__isnull=False, closed_at__isnull=False, told_over_at__isnull=True)
    return Incident.objects.filter(begun | over).order_by("id")


def _tell(incident: Incident, *, now: datetime) -> int:
    readers = [person for person in people.operators() if person.email]
    if not readers:
        raise NobodyTold("No operator has a mail address.")
    subject, text = _mail(incident, now=now)
    try:
        _send(subject, text, readers)
    except (SMTPException, OSError) as error:
        raise NobodyTold(f"{type(error).__name__}: {error}") from error
    field = "told_over_at" if incident.closed_at else "told_at"
    Incident.objects.filter(pk=incident.pk).update(**{field: now})
    log.info("watch.told", kind=incident.kind, over=bool(incident.closed_at), people=len(readers))
    return 1


def _send(subject: str, text: str, readers: Sequence[User]) -> None:
    """Hand one mail for all over: it leaves if the server takes any of the addresses."""
    send_mail(subject, text, settings.DEFAULT_FROM_EMAIL, [person.email for person in readers])


def _mail(incident: Incident, *, now: datetime) -> tuple[str, str]:
    words = process_words.about(incident.kind)
    page = f"{settings.PORTAL_URL}/operations/"
    host = urlsplit(settings.PORTAL_URL).netloc
    why = "You get this because you are an operator of this portal."
    if incident.closed_at is None:
        parts = [incident.text, words.means, f"What to do: {words.do}", page,
                 "You will be told when it is over.", why]  # fmt: skip
        return f"{words.title} ({host})", "\n\n".join(parts) + "\n"
    lasted = wording.words(incident.closed_at - incident.opened_at)
    parts = [f"{words.over}, after {lasted}.", f"It was: {incident.text}", page, why]
    return f"{words.over} ({host})", "\n\n".join(parts) + "\n"
