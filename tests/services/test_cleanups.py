"""What a grant that never became active has left at a target, and can't be removed: alarmed."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from approvals import handlers
from approvals.connectors.protocol import GrantSpec, Receipt
from approvals.models import AccessRequest, GrantEvent, OutboxItem, Resource
from approvals.reports import figures, registry
from approvals.selectors import beside, clock, failing, metrics, personal
from approvals.services import grants, overdue, provisioning, requests
from tests.connectors.noop import Noop
from tests.reports.test_reports import filters
from tests.services.mails import Deliver
from tests.world import World, notices


def work() -> None:
    handlers.work("provisioning", now=clock.now())


def try_again() -> None:
    OutboxItem.objects.filter(topic="grant.cleanup").update(not_before=clock.now())
    work()


def aged(seconds: float) -> None:
    """The removal was put, and failed first, so long ago."""
    at = clock.now() - timedelta(seconds=seconds)
    OutboxItem.objects.filter(topic="grant.cleanup").update(created_at=at, first_failed_at=at)


@pytest.fixture
def left(world: World, noop: Noop) -> AccessRequest:
    """Access whose answer was lost and whose request was cancelled; the target refuses by now."""
    noop.control(lose_answer=True)
    request = world.approved()
    work()
    noop.control(fail="permanent")
    requests.cancel(actor=world.alice, request_id=request.request_id, now=clock.now())
    work()
    work()
    assert noop.held() == {("alice", "read-write")}
    assert OutboxItem.objects.get(topic="grant.cleanup").attempts == 1
    return world.newest(request)


def test_what_a_refusal_after_the_effect_may_have_left_is_removed_for_certain(
    world: World, noop: Noop
) -> None:
    noop.control(deny_answer=True)
    request = world.approved()
    work()
    assert world.newest(request).state == "failed"
    assert noop.calls("grant")
    noop.control(fail="permanent")
    try_again()
    item = OutboxItem.objects.get(topic="grant.cleanup")
    assert "refuses for good" in item.last_error, "it is not given up"
    noop.control()
    try_again()
    assert noop.held() == set()
    assert not OutboxItem.objects.filter(topic="grant.cleanup").exists()


def test_a_refusal_that_has_left_nothing_is_not_alarmed(world: World, noop: Noop) -> None:
    noop.control(fail="permanent")
    request = world.approved()
    work()
    work()
    assert world.newest(request).state == "failed"
    assert not OutboxItem.objects.filter(topic="grant.cleanup").exists()
    assert not GrantEvent.objects.filter(kind="remove_failed").exists()


def test_a_secret_that_is_missing_leaves_nothing(
    world: World, noop: Noop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MISSING_SECRET", raising=False)
    Resource.objects.filter(pk=world.resource.pk).update(secret="env:MISSING_SECRET")
    world.write.refresh_from_db()
    request = world.approved()
    work()
    work()
    assert world.newest(request).state == "failed"
    assert not OutboxItem.objects.filter(topic="grant.cleanup").exists()


def stuck_now() -> tuple[int, int]:
    now, after = clock.now(), timedelta(minutes=1)
    (target,) = metrics.by_target(now=now, stuck_after=after)
    return target.stuck, figures.compute(filters(), now=now, stuck_after=after).stuck


def rows() -> list[dict[str, Any]]:
    report = registry.report("failed-removals")
    keys = [column.key for column in report.columns]
    found = list(report.rows(filters(), None, None))
    assert report.count(filters()) == len(found)
    return [dict(zip(keys, row.cells, strict=True)) for row in found]


def test_owner_and_operators_are_alarmed_once_it_lasts(
    world: World, left: AccessRequest, deliver: Deliver
) -> None:
    assert not notices("stuck")
    aged(50)
    try_again()
    assert not notices("stuck"), "it is no matter of a minute yet"
    aged(61)
    try_again()
    assert {who for _, who in notices("stuck")} == {world.carol.pk, world.admin.pk}
    aged(125)
    mails = deliver("stuck")
    assert len(mails) == 2
    assert "Alice may still have orders-db" in mails[0].subject
    assert "for 2 minutes" in mails[0].text


def test_no_alarm_leaves_once_it_is_gone(left: AccessRequest, noop: Noop, deliver: Deliver) -> None:
    aged(61)
    try_again()
    noop.control()
    try_again()
    assert noop.held() == set()
    assert deliver("stuck") == []


def test_one_that_nobody_could_try_is_alarmed(world: World, noop: Noop) -> None:
    noop.control(lose_answer=True)
    request = world.approved()
    work()
    requests.cancel(actor=world.alice, request_id=request.request_id, now=clock.now())
    item = OutboxItem.objects.get(topic="grant.apply")
    item.topic, item.payload = "grant.cleanup", item.payload | {"certain": True}
    item.attempts, item.first_failed_at, item.created_at = 0, None, clock.now()
    item.save()
    assert overdue.note(now=clock.now() + timedelta(seconds=59)) == 0
    assert overdue.note(now=clock.now() + timedelta(seconds=61)) == 1
    assert {who for _, who in notices("stuck")} == {world.carol.pk, world.admin.pk}


@pytest.mark.parametrize("topic", ["grant.cleanup", "grant.withdraw"])
def test_one_that_failed_and_is_not_tried_again_is_alarmed(
    world: World, noop: Noop, topic: str, request: pytest.FixtureRequest
) -> None:
    """As behind a circuit that opened after its first try."""
    if topic == "grant.cleanup":
        request.getfixturevalue("left")
    else:
        active = world.active()
        noop.control(fail="transient")
        grants.end(actor=world.alice, request_id=active.request_id, now=clock.now())
        work()
    failed_at = OutboxItem.objects.get(topic=topic).first_failed_at
    assert failed_at is not None
    overdue.note(now=failed_at + timedelta(seconds=59))
    assert not notices("stuck")
    for seconds in (61, 91):
        overdue.note(now=failed_at + timedelta(seconds=seconds))
        assert len(notices("stuck")) == 2, "once"


def test_it_is_counted_listed_and_reported(world: World, left: AccessRequest, noop: Noop) -> None:
    assert stuck_now() == (0, 0)
    aged(61)
    assert stuck_now() == (1, 1)
    (listed,) = failing.rows(limit=5)
    assert (listed.what, listed.is_removal, listed.owner) == (
        "Removal of a failed grant", True, "Carol",
    )  # fmt: skip
    (row,) = rows()
    assert (row["request_id"], row["state"]) == (str(left.request_id), "cancelled")
    assert (row["resolution"], row["failures"], row["owner"]) == ("still there", 1, "Carol")
    assert row["due_at"] == left.occurred_at
    assert "refuses for good" in row["last_error"]

    noop.control()
    try_again()
    assert stuck_now() == (0, 0)
    (row,) = rows()
    gone = GrantEvent.objects.get(request_id=left.request_id, kind="gone")
    assert (row["resolution"], row["confirmed_at"]) == ("removed", gone.occurred_at)
    events = list(GrantEvent.objects.filter(request_id=left.request_id).order_by("id"))
    assert [line.lead for line in beside.failures(events)][-1] == "Removed what may have been left"


def test_operators_see_it_and_have_it_tried_again(
    world: World, left: AccessRequest, noop: Noop, client: Client
) -> None:
    client.force_login(world.admin)
    assert "Removal of a failed grant" in client.get("/operations/").text
    noop.control()
    item = OutboxItem.objects.get(topic="grant.cleanup")
    client.post("/operations/retry/", {"item": item.pk})
    work()
    assert noop.held() == set()


def test_what_was_left_stands_in_the_way_of_an_erasure(world: World, left: AccessRequest) -> None:
    """Who is erased is not known by a login any more, and it could never be removed."""
    assert any(left.reference in why for why in personal.find(world.alice.pk).hindrances)
    assert personal.find(world.dan.pk).hindrances == []
    OutboxItem.objects.all().delete()
    assert personal.find(world.alice.pk).hindrances == []


def test_the_end_that_is_told_does_not_move_on_with_each_try(
    world: World, left: AccessRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[GrantSpec] = []

    def revoke(_: Noop, spec: GrantSpec) -> Receipt:
        told.append(spec)
        return Receipt(detail={})

    monkeypatch.setattr(Noop, "revoke", revoke)
    item = OutboxItem.objects.get(topic="grant.cleanup")
    for days in (0, 1, 30):
        provisioning.revoke(left, clock.now() + timedelta(days=days), item)
    assert {spec.ends_at for spec in told} == {item.created_at + left.duration}
