"""Access that starts later: at the moment that was asked for, inside the windows of its policy."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from approvals import handlers
from approvals.models import Entitlement, OutboxItem, Policy
from approvals.selectors import clock, due
from approvals.services import requests
from tests.connectors.noop import Noop
from tests.services.mails import Deliver
from tests.world import World, rule

SATURDAY = datetime(2026, 11, 28, 9, tzinfo=UTC)
WINDOW = {"days": ["sat"], "from": "08:00", "to": "20:00", "timezone": "UTC"}


class Time:
    """The database's clock, put where a test wants it."""

    def __init__(self, patch: pytest.MonkeyPatch, at: datetime) -> None:
        self.at = at
        patch.setattr(clock, "now", lambda: self.at)

    def work(self, at: datetime) -> None:
        self.at = at
        handlers.work("provisioning")


@pytest.fixture
def friday(monkeypatch: pytest.MonkeyPatch, world: World) -> Time:
    """A Friday; from here on the test moves the time."""
    return Time(monkeypatch, SATURDAY - timedelta(days=1))


def limit(world: World, *windows: Any) -> Entitlement:
    policy = Policy.objects.get(name="orders-read")
    policy.document = {
        "rules": [
            rule("all", groups=["eng", "data"], longest=28_800, auto_approve=True,
                 windows=list(windows))
        ]
    }  # fmt: skip
    policy.save()
    return world.read


def test_it_starts_when_it_was_asked_to(world: World, noop: Noop, friday: Time) -> None:
    start = friday.at + timedelta(hours=3)
    request = world.ask(what=world.read, starts_at=start, minutes=60)
    friday.work(start - timedelta(microseconds=1))
    assert (world.newest(request).state, noop.calls()) == ("approved", [])
    assert due.start_of(request.request_id) == start
    friday.work(start)
    active = world.newest(request)
    assert (active.state, active.activated_at) == ("active", start)
    assert active.ends_at == start + timedelta(hours=1)
    assert due.start_of(request.request_id) is None


def test_it_waits_for_a_window(world: World, noop: Noop, friday: Time) -> None:
    request = world.ask(what=limit(world, WINDOW))
    opens = SATURDAY.replace(hour=8)
    assert due.start_of(request.request_id) == opens
    friday.work(opens - timedelta(seconds=1))
    assert noop.calls() == []
    friday.work(opens)
    assert world.newest(request).state == "active"


def test_inside_a_window_it_starts_at_once(world: World, friday: Time) -> None:
    friday.at = SATURDAY
    request = world.ask(what=limit(world, WINDOW))
    friday.work(SATURDAY)
    assert world.newest(request).state == "active"


def test_a_start_outside_the_window_waits_for_the_next(world: World, friday: Time) -> None:
    late = SATURDAY.replace(hour=20)
    request = world.ask(what=limit(world, WINDOW), starts_at=late)
    assert due.start_of(request.request_id) == SATURDAY.replace(hour=8) + timedelta(days=7)


def test_a_failure_that_lasts_past_the_window_waits_for_the_next(
    world: World, noop: Noop, friday: Time
) -> None:
    friday.at = SATURDAY.replace(hour=19, minute=59)
    request = world.ask(what=limit(world, WINDOW))
    noop.control(lose_answer=True)
    friday.work(friday.at)
    assert noop.held() == {("alice", "read")}, "half made"
    noop.control()
    friday.work(SATURDAY.replace(hour=20))
    assert world.newest(request).state == "approved"
    assert noop.held() == set(), "nothing stays at the target meanwhile"
    opens = SATURDAY.replace(hour=8) + timedelta(days=7)
    friday.work(opens)
    assert (world.newest(request).state, noop.held()) == ("active", {("alice", "read")})


def test_today_s_policy_limits_it_too(world: World, friday: Time) -> None:
    limit(world, WINDOW | {"days": ["fri", "sat"]})
    request = world.ask(what=world.read, starts_at=friday.at + timedelta(hours=1))
    limit(world, WINDOW)
    friday.work(friday.at + timedelta(hours=1))
    assert world.newest(request).state == "approved"
    assert due.start_of(request.request_id) == SATURDAY.replace(hour=8)


def test_windows_that_never_meet_again_fail_it_with_the_reason(world: World, friday: Time) -> None:
    request = world.ask(what=limit(world, WINDOW))
    limit(world, WINDOW | {"days": ["mon"]})
    friday.work(SATURDAY)
    failed = world.newest(request)
    assert failed.state == "failed"
    assert "No time is left" in failed.comment


def test_what_was_cancelled_does_not_start(world: World, noop: Noop, friday: Time) -> None:
    request = world.ask(what=limit(world, WINDOW))
    requests.cancel(actor=world.alice, request_id=request.request_id, now=friday.at)
    assert not OutboxItem.objects.filter(topic__startswith="grant.").exists()
    friday.work(SATURDAY)
    assert (world.newest(request).state, noop.calls()) == ("cancelled", [])


def test_an_extension_is_no_start(world: World, noop: Noop, friday: Time) -> None:
    from approvals.services import grants

    friday.at = SATURDAY.replace(hour=19, minute=30)
    first = world.ask(what=limit(world, WINDOW), minutes=60)
    friday.work(friday.at)
    second = world.ask(what=world.read, extends=first.request_id)
    ends_at = world.newest(first).ends_at
    assert ends_at is not None
    grants.end_due(now=ends_at)
    assert world.newest(second).state == "active"


@pytest.mark.parametrize(
    ("minutes", "before"),
    [(1, 30), (2, 60), (5, 60), (10, 60), (30, 180), (150, 900), (480, 900)],
)
def test_the_warning_comes_in_time_and_once(
    world: World, friday: Time, deliver: Deliver, minutes: int, before: int
) -> None:
    request = world.ask(what=world.read, minutes=minutes)
    friday.work(friday.at)
    ends_at = world.newest(request).ends_at
    assert ends_at is not None
    [item] = OutboxItem.objects.filter(payload__kind="ends_soon")
    assert item.not_before == ends_at - timedelta(seconds=before)
    friday.at = item.not_before
    assert len(deliver("ends_soon", now=item.not_before)) == 1
    OutboxItem.objects.create(
        topic="notice.send", lane="notices", payload=item.payload, not_before=item.not_before
    )
    assert deliver("ends_soon", now=item.not_before) == []


def test_access_that_goes_on_is_not_warned_of(world: World, friday: Time, deliver: Deliver) -> None:
    first = world.ask(what=world.read, minutes=30)
    friday.work(friday.at)
    world.ask(what=world.read, minutes=30, extends=first.request_id)
    assert deliver("ends_soon", now=friday.at + timedelta(minutes=28)) == []
