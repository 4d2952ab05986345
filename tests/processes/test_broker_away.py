"""Redis is killed under load: removals go on without it, and nothing is missing once it is back."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from statistics import median

import pytest
from django.db import connection

from approvals.models import AccessRequest, Heartbeat, OutboxItem
from approvals.selectors import clock
from approvals.services import requests as asking
from tests.connectors.noop import Noop
from tests.processes import brokers
from tests.processes.conftest import QUEUES, Processes
from tests.processes.test_several import people
from tests.world import World

Until = Callable[..., float]

pytestmark = pytest.mark.django_db(transaction=True)
PEOPLE = 12
#: Seconds of the longest lag of a removal meanwhile: two for the silence, one for the next look of
#: each of two workers, and the rest for a busy machine.
LAG_MOST = 10.0


class Broker:
    """A Redis at one port, which is killed and comes back empty."""

    def __init__(self) -> None:
        self._running = ExitStack()
        (self._port,) = brokers.free_ports(1)
        self.url = f"redis://{brokers.HOST}:{self._port}/0"

    def start(self) -> None:
        self._running.enter_context(brokers.redis_at(self._port))

    def kill(self) -> None:
        self._running.close()


@pytest.fixture
def broker() -> Iterator[Broker]:
    found = Broker()
    found.start()
    yield found
    found.kill()


@pytest.fixture
def processes(broker: Broker, transactional_db: None, tmp_path: Path) -> Iterator[Processes]:
    found = Processes(tmp_path, broker_url=broker.url)
    yield found
    found.kill_all()
    connection.close()


def lags(rows: list[AccessRequest], *, after: datetime) -> list[float]:
    """Seconds from due to gone, of those that fell due after a moment."""
    found = []
    for row in rows:
        assert row.removal_due_at is not None
        assert row.removal_confirmed_at is not None
        if row.removal_due_at > after:
            found.append((row.removal_confirmed_at - row.removal_due_at).total_seconds())
    return found


def pulses(after: datetime) -> set[str]:
    """The queues to which a message of beat has come since then."""
    rows = Heartbeat.objects.filter(kind="queue", beat_at__gt=after)
    return set(rows.values_list("name", flat=True))


def alive(after: datetime) -> set[str]:
    """The kinds of processes of which one began since then and shows that it lives."""
    return set(Heartbeat.objects.filter(started_at__gt=after).values_list("kind", flat=True))


def test_removals_go_on_while_redis_is_dead_and_all_is_found_when_it_is_back(
    world: World, noop: Noop, broker: Broker, processes: Processes, until: Until,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    # The form takes a minute at least, which the machine and the database don't ask for.
    monkeypatch.setattr(asking, "_check", lambda **_: None)
    crowd = people([f"p{number:02}" for number in range(PEOPLE)], world)
    names = ["beat", *(f"{lane}.{number}" for number in (1, 2) for lane in QUEUES)]
    processes.start(*names)
    began = clock.now()
    until(lambda: pulses(began) == set(QUEUES))

    def ask(first: float, apart: float) -> list[AccessRequest]:
        return [
            world.ask(what=world.read, by=person, minutes=(first + apart * number) / 60)
            for number, person in enumerate(crowd)
        ]

    def states(rows: list[AccessRequest]) -> set[str]:
        processes.revive()  # a worker may end with its broker: kombu, when it holds messages
        return {world.newest(row).state for row in rows}

    before = ask(first=12, apart=0.7)
    until(lambda: states(before) == {"active"})
    broker.kill()
    killed = clock.now()
    until(lambda: states(before) == {"expired"})
    workers = [name for name in names if name.startswith(("due", "provisioning"))]
    processes.kill(*workers)
    processes.start(*workers)  # which have never reached a broker
    began = clock.now()
    until(lambda: alive(began) >= {"due", "provisioning"})
    during = ask(first=1, apart=0.3)
    until(lambda: states(during) == {"expired"})
    gone = [world.newest(row) for row in (*before, *during)]
    meanwhile = lags(gone, after=killed)
    assert len(meanwhile) > PEOPLE
    assert max(meanwhile) < LAG_MOST, median(meanwhile)
    assert noop.held() == set()
    until(lambda: not OutboxItem.objects.filter(not_before__lte=clock.now()).exists())
    assert pulses(killed) == set(), "no message has come"

    across = ask(first=3, apart=0.5)
    until(lambda: states(across) >= {"active"})
    broker.start()
    back = clock.now()
    until(lambda: states(across) == {"expired"})
    until(lambda: bool(states(across)) and pulses(back) == set(QUEUES))
    later = ask(first=1, apart=0.1)
    until(lambda: states(later) == {"expired"})
    returned = lags([world.newest(row) for row in (*across, *later)], after=back)
    assert max(returned) < LAG_MOST, median(returned)
    assert noop.held() == set()
    until(lambda: not OutboxItem.objects.filter(not_before__lte=clock.now()).exists())
    done = [call for call in noop.calls() if call["stage"] == "done"]
    assert len(done) == 2 * 4 * PEOPLE, "each is made once and removed once"
