"""Kill -9 in the middle, a broker that forgets, silence driven by beat alone."""

import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta

import pytest

from approvals.models import AccessRequest, GrantEvent, Notice, OutboxItem, Policy
from approvals.selectors import clock
from approvals.services import grants
from tests.connectors.noop import Noop
from tests.processes.conftest import Processes
from tests.world import DATA, MANAGER, World, rule

Until = Callable[..., float]

pytestmark = pytest.mark.django_db(transaction=True)


def kinds(request: AccessRequest) -> Counter[str]:
    return Counter(
        GrantEvent.objects.filter(request_id=request.request_id).values_list("kind", flat=True)
    )


def began(noop: Noop, name: str) -> bool:
    return any(call["name"] == name for call in noop.calls())


def test_a_worker_killed_before_and_after_the_side_effect(
    world: World, noop: Noop, processes: Processes, until: Until
) -> None:
    for before, after in ((30.0, 0.0), (0.0, 30.0)):
        seen = len(noop.calls())
        noop.control(before_seconds=before, after_seconds=after)
        processes.start("beat", "due", "provisioning")
        request = world.approved(minutes=1)
        until(lambda: len(noop.calls()) > seen)
        time.sleep(0.3)
        processes.kill("provisioning")
        assert world.newest(request).state == "approved"
        noop.control()
        processes.start("provisioning")
        until(lambda: world.newest(request).state == "active")
        assert noop.held() == {("alice", "read-write")}
        assert kinds(request) == {"granted": 1}

        noop.control(before_seconds=before, after_seconds=after)
        grants.end(actor=world.alice, request_id=request.request_id, now=clock.now())
        until(lambda: noop.calls()[-1]["name"] == "revoke")
        time.sleep(0.3)
        processes.kill("provisioning", "due", "beat")
        assert world.newest(request).state == "revoking"
        noop.control()
        processes.start("beat", "due", "provisioning")
        until(lambda: world.newest(request).state == "revoked")
        assert noop.held() == set()
        assert kinds(request) == {"granted": 1, "removed": 1}
        assert world.newest(request).revision == 6
        processes.kill_all()


def test_a_broker_that_loses_everything_loses_nothing(
    world: World, noop: Noop, processes: Processes, until: Until
) -> None:
    processes.start("beat")
    request = world.approved(minutes=1)
    time.sleep(1.5)
    processes.purge_broker()
    processes.start("due", "provisioning", "notices")
    until(lambda: world.newest(request).state == "active")
    processes.purge_broker()
    ends_at = world.newest(request).ends_at
    assert ends_at is not None
    grants.end(actor=world.alice, request_id=request.request_id, now=clock.now())
    processes.purge_broker()
    until(lambda: world.newest(request).state == "revoked")
    until(
        lambda: not OutboxItem.objects.filter(topic="notice.send", payload__kind="ended").exists()
    )
    assert noop.held() == set()


def test_silence_is_reminded_escalated_and_lapsed_by_beat_alone(
    world: World, processes: Processes, until: Until
) -> None:
    short = {"within": 4, "remind": 2}
    level = MANAGER | short | {"escalate": [MANAGER["escalate"][0] | {"within": 4}]}
    policy = Policy.objects.get(name="orders-read-write")
    policy.document = {"rules": [rule("eng", groups=["eng"], longest=60, levels=[level, DATA])]}
    policy.save()
    processes.start("beat", "due", "notices")
    world.ask(what=world.read, by=world.dan)
    until(lambda: Notice.objects.filter(channel="email").exists())
    request = world.ask(minutes=1)
    until(lambda: world.newest(request).state == "lapsed")
    until(lambda: not OutboxItem.objects.filter(topic="notice.send").exists())
    ours = Notice.objects.filter(request_id=request.request_id, channel="email")
    told = Counter(ours.values_list("kind", "recipient__username"))
    assert told[("approval_needed", "bob")] == 1
    assert told[("reminder", "bob")] >= 1
    assert told[("escalated", "erin")] == 1
    assert told[("moved_on", "alice")] == 1
    assert told[("decided", "alice")] == 1
    assert told[("settled", "bob")] == told[("settled", "erin")] == 1
    rows = AccessRequest.objects.filter(request_id=request.request_id).order_by("revision")
    assert [row.event for row in rows] == ["submitted", "escalated", "lapsed"]
    for row in rows[1:]:
        late = (row.occurred_at - request.submitted_at).total_seconds()
        assert 0 <= late - (4 if row.event == "escalated" else 8) < 20, "a busy machine is slow"


def test_a_grant_ends_on_time(world: World, noop: Noop, processes: Processes, until: Until) -> None:
    """The grant was made while the workers were away, so that its minute is nearly over."""
    request = world.approved(minutes=1)
    now = clock.now()
    OutboxItem.objects.filter(topic="grant.apply").delete()
    grants.activate(
        request_id=request.request_id,
        attempt=grants.Attempt(number=1, started_at=now, finished_at=now),
        now=now - timedelta(seconds=50),
    )
    processes.start("beat", "due", "provisioning")
    until(lambda: world.newest(request).state == "expired")
    ended = world.newest(request)
    assert ended.removal_lag is not None
    assert 0 <= ended.removal_lag.total_seconds() < 20, "a busy machine is slow"
    assert ended.end_reason == "time"


def test_many_processes_may_declare_the_same_queue_at_once(processes: Processes) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from kombu import Connection, Queue

    from jitportal.broker import celery_broker

    options = celery_broker(processes.broker_url)["broker_transport_options"]

    def declare(_: int) -> None:
        with Connection(
            processes.broker_url,
            transport="jitportal.embedded.queue:Transport",
            transport_options=options,
        ) as connection:
            Queue("due", channel=connection.channel()).declare()

    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            list(pool.map(declare, range(8)))
