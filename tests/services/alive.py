"""Signs of life of processes that a test does without."""

from datetime import timedelta

from approvals.models import Heartbeat
from approvals.selectors import clock, processes
from approvals.selectors.processes import QUEUES
from approvals.services import process_watch


def everything_lives(*, but: str = "") -> None:
    """Beat, a worker of each queue and the messages between them are alive at this moment."""
    now = clock.now()
    for kind in ("beat", *QUEUES):
        if kind != but:
            process_watch.beat(kind=kind, name="host-1:7", started_at=now, version="1")
    for lane in QUEUES:
        if f"queue:{lane}" != but:
            process_watch.pulsed(queue=lane)


def been_silent(kind: str, *, for_: timedelta, name: str = "") -> None:
    """The sign of life of this kind is so old by now, and its process began long before."""
    now = clock.now()
    found = Heartbeat.objects.filter(kind=kind, **({"name": name} if name else {}))
    found.update(beat_at=now - for_, started_at=now - for_ - timedelta(hours=1))


def began_long_ago() -> None:
    """Whoever lives began an hour ago, so that nothing is put down to a start."""
    Heartbeat.objects.exclude(kind=processes.QUEUE).update(
        started_at=clock.now() - timedelta(hours=1)
    )
