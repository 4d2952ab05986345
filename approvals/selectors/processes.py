"""Which processes live, and what is wrong with them: from their signs of life and what waits."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.db import connection

from approvals.domain.durations import words
from approvals.models import Circuit, Heartbeat, Incident, OutboxItem, Waiting
from approvals.models.request import reference
from approvals.outbox.queue import PUT_OFF, QUEUE_OF, QUEUES
from approvals.selectors import drift, due, lanes

__all__ = ["BEAT", "QUEUE", "QUEUES", "STANDBY", "Incident", "Life", "Trouble"]

BEAT, STANDBY, QUEUE = "beat", "standby", "queue"
ROWS_MOST = 100
#: A target that can't be observed for so many looks' time alarms operators.
LOOKS_MOST = 4
#: So many times WATCH_SILENT has who was not heard yet since somebody looks: starts take a while.
START_PATIENCE = 2
#: Requests that nobody can decide are named up to so many.
NAMED_MOST = 5


@dataclass(frozen=True, slots=True)
class Life:
    """The newest sign of life of a kind of process (or of a queue), and when it began."""

    beat_at: datetime
    started_at: datetime


Lives = Mapping[tuple[str, str], Life]


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that is wrong now. `because` names the kinds of trouble that explain it."""

    kind: str
    text: str
    since: datetime | None = None
    because: frozenset[str] = field(default_factory=frozenset)


def lives() -> Lives:
    """Return the newest sign of each kind, by kind and for queues also by name (one query)."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT ON (kind, about) kind, about, beat_at, started_at FROM ("
            " SELECT kind, CASE WHEN kind = %s THEN name ELSE '' END AS about, beat_at, started_at"
            " FROM approvals_heartbeat) each_sign ORDER BY kind, about, beat_at DESC",
            [QUEUE],
        )
        return {(kind, about): Life(at, began) for kind, about, at, began in cursor.fetchall()}


def states(*, now: datetime) -> dict[str, str]:
    """Return "ok" or what is wrong, for beat and for each queue's worker (one query)."""
    seen = lives()
    found = {BEAT: _state(seen.get((BEAT, "")), now)}
    for lane in QUEUES:
        state = _state(seen.get((lane, "")), now)
        if state == found[BEAT] == "ok":
            pulse = _pulse_of(seen, lane)
            if pulse is not None and now - pulse > settings.WATCH_SILENT:
                state = f"lives, but no message has come for {_length(now - pulse)}"
        found[lane] = state
    return found


def rows() -> list[Heartbeat]:
    """Return the signs of life of all processes, the newest first of each kind (one query)."""
    return list(Heartbeat.objects.order_by("kind", "-beat_at", "id")[:ROWS_MOST])


def open_incidents() -> list[Incident]:
    """Return the incidents that are not over, the oldest first (one query)."""
    return list(Incident.objects.filter(closed_at__isnull=True).order_by("opened_at", "id"))


def newest_incidents(*, limit: int) -> list[Incident]:
    """Return what is over, the newest first (one query)."""
    return list(
        Incident.objects.filter(closed_at__isnull=False).order_by("-opened_at", "-id")[:limit]
    )


def troubles(*, now: datetime, since: datetime) -> list[Trouble]:
    """Return what is wrong now, as seen by somebody who has looked since `since`.

    Nothing is called silent before it could have been heard: after an outage of the database or a
    start of everything at once all signs are old, and nobody is to be alarmed for that. Who has
    not been heard at all since then may still be starting, and has more time.
    """
    seen = lives()
    found = list(_silent(seen, now=now, since=since))
    dead = {trouble.kind for trouble in found}
    found += _undelivered(seen, dead, now=now, since=since)
    found += _waiting(now=now, since=since)
    found += _targets(now=now)
    found += _unseen(now=now)
    found += _undecidable()
    overdue = due.next_end()
    if overdue is not None and now - max(overdue, since) > settings.WATCH_SILENT:
        text = f"Access whose time was up at {_written(overdue)} is still there, untouched."
        found.append(Trouble("ends", text, overdue))
    return found


def _silent(seen: Lives, *, now: datetime, since: datetime) -> Iterator[Trouble]:
    for kind in (BEAT, *QUEUES):
        life = seen.get((kind, ""))
        heard = life.beat_at if life else None
        patience = settings.WATCH_SILENT * (1 if _is_heard(life, since) else START_PATIENCE)
        if now - max(heard or since, since) <= patience:
            continue
        who = "Beat" if kind == BEAT else f"The worker of the queue {kind}"
        never = f"{who} has never been seen."
        yield Trouble(
            kind, f"{who} has been silent since {_written(heard)}." if heard else never, heard
        )


def _undelivered(
    seen: Lives, dead: set[str], *, now: datetime, since: datetime
) -> Iterator[Trouble]:
    """Yield queues whose messages do not come though both ends of them live."""
    ends_heard = {key for key in (BEAT, *QUEUES) if _is_heard(seen.get((key, "")), since)} - dead
    for lane in QUEUES:
        if not {BEAT, lane} <= ends_heard:
            continue
        pulse = _pulse_of(seen, lane)
        if now - max(pulse or since, since) > settings.WATCH_SILENT:
            last = seen.get((QUEUE, lane))
            how_long = f"since {_written(last.beat_at)}" if last else "yet"
            text = f"No message has come to the worker of the queue {lane} {how_long}."
            yield Trouble(f"queue:{lane}", text, last.beat_at if last else None)


def _is_heard(life: Life | None, since: datetime) -> bool:
    return life is not None and life.beat_at >= since


def _pulse_of(seen: Lives, lane: str) -> datetime | None:
    """Return the last moment at which the queue was known, or has to be taken, to work.

    A pulse can't have come before the worker and the beat that live now began.
    """
    pulse = seen.get((QUEUE, lane))
    ends = [seen[key].started_at for key in ((BEAT, ""), (lane, "")) if key in seen]
    return max([*ends, *([pulse.beat_at] if pulse else [])], default=None)


def _waiting(*, now: datetime, since: datetime) -> Iterator[Trouble]:
    for lane in lanes.states(now=now):
        oldest = lane.oldest_at
        patience = settings.WATCH_WAITING + (PUT_OFF if lane.name == "news" else timedelta())
        if oldest is None or now - max(oldest, since) <= patience:
            continue
        yield Trouble(
            f"lane:{lane.name}",
            f"Work of the lane {lane.name} has waited since {_written(oldest)} and nobody takes "
            "it.",
            oldest,
            because=frozenset({BEAT, QUEUE_OF[lane.name], f"queue:{QUEUE_OF[lane.name]}"}),
        )


def _targets(*, now: datetime) -> Iterator[Trouble]:
    """Yield the targets that don't answer for long, with how much waits for them."""
    for circuit in Circuit.objects.filter(
        open_until__isnull=False, failing_since__lte=now - settings.STUCK_AFTER
    ).order_by("failing_since"):
        waiting = OutboxItem.objects.filter(target=circuit.target)
        removals = waiting.filter(topic__in=("grant.withdraw", "grant.cleanup")).count()
        yield Trouble(
            f"target:{circuit.target}",
            f"{circuit.target} has failed since {_written(circuit.failing_since)}. {removals:,} "
            f"removals and {waiting.count() - removals:,} grants wait for it. It said: "
            f"{circuit.last_error[:300]}",
            circuit.failing_since,
        )


def unseen(*, now: datetime) -> list[drift.Unseen]:
    """Return the targets that can't be observed for long enough to alarm operators (one query)."""
    return drift.unseen(since=now - LOOKS_MOST * settings.RECONCILE_EVERY)


def _unseen(*, now: datetime) -> Iterator[Trouble]:
    for target, error, since in unseen(now=now):
        yield Trouble(
            f"unseen:{target}",
            f"What {target} holds is not known since {_written(since)}. It said: {error[:300]}",
            since,
            because=frozenset({f"target:{target}"}),
        )


def _undecidable() -> Iterator[Trouble]:
    """Yield that requests wait at levels where nobody may decide, if any do."""
    waiting = Waiting.objects.filter(reached=False).order_by("request_id")
    ids = list(waiting.values_list("request_id", flat=True)[: NAMED_MOST + 1])
    if ids:
        named = ", ".join(reference(each) for each in ids[:NAMED_MOST])
        more = " and more" if len(ids) > NAMED_MOST else ""
        yield Trouble("undecidable", f"Nobody can decide now on {named}{more}.")


def _state(life: Life | None, now: datetime) -> str:
    if life is None:
        return "never seen"
    silent_for = now - life.beat_at
    if silent_for <= settings.WATCH_SILENT:
        return "ok"
    return f"silent for {_length(silent_for)}"


def _length(length: timedelta) -> str:
    seconds = max(0, int(length.total_seconds()))
    if seconds < 120:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 7200 else words(seconds)


def _written(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
