"""Due work goes by the database's clock, whatever the clocks of workers and beat say."""

import os
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from approvals.models import AccessRequest, OutboxItem
from approvals.selectors import clock
from approvals.services import grants
from tests.chaos.skew import Clock
from tests.connectors.noop import Noop
from tests.processes.conftest import Processes, processes, until
from tests.programs import lacking
from tests.world import World

__all__ = ["processes", "until"]

Until = Callable[..., float]
HOUR = 3600


def nearly_over(world: World, *, seconds: float) -> AccessRequest:
    """Return active access that ends in so many seconds, made while no worker ran."""
    request = world.approved(minutes=1)
    now = clock.now()
    OutboxItem.objects.filter(topic="grant.apply").delete()
    active = grants.activate(
        request_id=request.request_id,
        attempt=grants.Attempt(number=1, started_at=now, finished_at=now),
        now=now - timedelta(seconds=60 - seconds),
    )
    assert active is not None
    return active


@pytest.mark.django_db(transaction=True)
def test_nothing_is_early_or_late_while_the_hosts_clock_jumps(
    world: World,
    noop: Noop,
    processes: Processes,
    until: Until,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    host = Clock(tmp_path, "host")
    if not host.make():
        lacking("A C compiler is needed to set a clock off: on Debian, apt install gcc libc6-dev")
    request = nearly_over(world, seconds=15)
    other = world.ask(what=world.read, by=world.dan, minutes=30)
    pending = world.ask(what=world.write, by=world.dan)
    for name, value in host.environment.items():
        monkeypatch.setenv(name, value)
    host.jump(HOUR)
    processes.start("beat", "due", "provisioning")
    for name in host.environment:
        monkeypatch.delenv(name)
    until(lambda: world.newest(other).state == "active")
    ready_at = clock.now()
    host.jump(-HOUR)
    time.sleep(2)
    host.jump(HOUR)
    until(lambda: world.newest(request).state == "expired")
    ended = world.newest(request)
    assert ended.removal_due_at is not None
    assert ended.removal_confirmed_at is not None
    assert ended.removal_confirmed_at >= ended.removal_due_at
    late = ended.removal_confirmed_at - max(ended.removal_due_at, ready_at)
    assert late.total_seconds() < 20, "a busy machine is slow"
    assert world.newest(other).state == "active"
    assert world.newest(pending).state == "pending", "nobody's hour of silence has passed"
    done = sorted(call["name"] for call in noop.calls() if call["stage"] == "done")
    assert done == ["grant", "revoke"], "of two accesses, so that a slow start has either first"


def test_a_clock_can_be_set_off(tmp_path: Path) -> None:
    """Else the test above would prove nothing."""
    import subprocess
    import sys

    host = Clock(tmp_path, "host")
    if not host.make():
        lacking("A C compiler is needed to set a clock off: on Debian, apt install gcc libc6-dev")
    host.jump(HOUR)
    asks = "import time, datetime; print(time.time(), datetime.datetime.now().timestamp())"
    said = subprocess.run(
        [sys.executable, "-c", asks],
        env=os.environ | host.environment,
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    for moment in said.split():
        assert abs(float(moment) - HOUR - time.time()) < 30
