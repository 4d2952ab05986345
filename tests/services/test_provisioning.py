"""Access at the target: made once, removed for certain, whatever the target does."""

from datetime import timedelta

import pytest
from django.conf import settings

from approvals import handlers
from approvals.domain.refusals import Invalid, NotAllowed, Settled
from approvals.models import (
    AccessRequest,
    Entitlement,
    GrantEvent,
    Group,
    OutboxItem,
    Policy,
    Resource,
)
from approvals.selectors import clock
from approvals.services import grants, provisioning
from tests.connectors.noop import Noop
from tests.world import World, notices, rule


def work(hours: float = 0) -> None:
    handlers.work("provisioning", now=clock.now() + timedelta(hours=hours))


def events(request: AccessRequest) -> list[str]:
    rows = GrantEvent.objects.filter(request_id=request.request_id).order_by("id")
    return list(rows.values_list("kind", flat=True))


def test_the_clock_starts_when_the_target_confirmed(world: World, noop: Noop) -> None:
    request = world.active(minutes=2)
    assert request.activated_at is not None
    assert request.ends_at == request.activated_at + timedelta(minutes=2)
    assert noop.held() == {("alice", "read-write")}
    assert ("active", world.alice.pk) in notices()
    warning = OutboxItem.objects.get(payload__kind="ends_soon")
    assert warning.not_before == request.ends_at - timedelta(minutes=1)


def test_nothing_ends_early(world: World) -> None:
    request = world.active(minutes=2)
    assert request.ends_at is not None
    assert grants.end_due(now=request.ends_at - timedelta(microseconds=1)) == 0
    assert grants.end_due(now=request.ends_at) == 1


def test_a_busy_target_is_tried_again_until_it_answers(world: World, noop: Noop) -> None:
    noop.control(fail="transient")
    request = world.approved()
    work()
    work()
    assert world.newest(request).state == "approved"
    assert events(request) == ["grant_failed"], "the second try waits for its time"
    noop.control()
    work(hours=1)
    assert world.newest(request).state == "active"
    assert events(request) == ["grant_failed", "granted"]


def test_a_target_that_refuses_for_good_fails_the_request_and_says_why(
    world: World, noop: Noop
) -> None:
    noop.control(fail="permanent")
    request = world.approved()
    work()
    failed = world.newest(request)
    assert failed.state == "failed"
    assert failed.comment
    assert ("failed", world.alice.pk) in notices()
    assert ("failed", world.carol.pk) in notices()


def test_an_answer_that_was_lost_leaves_nothing_behind(world: World, noop: Noop) -> None:
    """The target granted, the answer got lost, and meanwhile the request was cancelled."""
    from approvals.services import requests

    noop.control(lose_answer=True)
    request = world.approved()
    work()
    assert noop.held() == {("alice", "read-write")}
    noop.control()
    requests.cancel(actor=world.alice, request_id=request.request_id, now=clock.now())
    work(hours=1)
    assert noop.held() == set()


def test_a_removal_is_tried_again_for_ever_and_alarms(world: World, noop: Noop) -> None:
    request = world.active()
    assert request.ends_at is not None
    noop.control(fail="permanent")
    ended = grants.end(actor=world.alice, request_id=request.request_id, now=clock.now())
    assert (ended.state, ended.end_reason) == ("revoking", "given_back")
    work()
    item = OutboxItem.objects.get(topic="grant.withdraw")
    assert (item.attempts, item.leased_until) == (1, None)
    assert item.first_failed_at is not None
    assert not notices("stuck")
    for attempt in range(2, 20):
        handlers.work("provisioning", now=OutboxItem.objects.get(pk=item.pk).not_before)
        item.refresh_from_db()
        assert item.attempts == attempt
    assert item.not_before - clock.now() <= timedelta(hours=1)
    noop.control()
    handlers.work("provisioning", now=item.not_before)
    assert world.newest(request).state == "revoked"
    assert noop.held() == set()


def test_owner_and_operators_are_told_of_a_removal_that_is_stuck(
    world: World, noop: Noop, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = world.active()
    monkeypatch.setattr(settings, "STUCK_AFTER", timedelta(0))
    noop.control(fail="transient")
    grants.end(actor=world.bob, request_id=request.request_id, now=clock.now(), comment="x")
    work()
    assert {who for _, who in notices("stuck")} == {world.carol.pk, world.admin.pk}


@pytest.mark.parametrize(
    ("who", "reason"),
    [("alice", "given_back"), ("bob", "revoked"), ("carol", "revoked"), ("dora", "revoked"),
     ("admin", "revoked"), ("mallory", None), ("dan", None), ("erin", None)],
)  # fmt: skip
def test_who_may_end_access(world: World, who: str, reason: str | None) -> None:
    request = world.active()
    actor = getattr(world, who)
    if reason is None:
        with pytest.raises(NotAllowed):
            grants.end(actor=actor, request_id=request.request_id, now=clock.now(), comment="x")
        assert world.newest(request).state == "active"
    else:
        if reason == "revoked":
            with pytest.raises(Invalid, match="Say why"):
                grants.end(actor=actor, request_id=request.request_id, now=clock.now(), comment=" ")
        ended = grants.end(
            actor=actor, request_id=request.request_id, now=clock.now(), comment="Incident."
        )
        assert ended.end_reason == reason
        work()
        assert world.newest(request).state == "revoked"
        with pytest.raises(Settled):
            grants.end(actor=actor, request_id=request.request_id, now=clock.now())


def test_what_was_approved_is_removed_though_the_settings_were_edited(
    world: World, noop: Noop
) -> None:
    request = world.active()
    resource = Resource.objects.get(pk=world.resource.pk)
    resource.connector = "postgres_role"
    resource.save()
    grants.end(actor=world.alice, request_id=request.request_id, now=clock.now())
    work()
    assert world.newest(request).state == "revoked"
    assert noop.held() == set()


def test_access_that_the_policy_no_longer_allows_is_not_made(world: World, noop: Noop) -> None:
    request = world.approved()
    policy = Policy.objects.get(name="orders-read-write")
    policy.document = {"rules": [rule("d", groups=["data"], longest=60, auto_approve=True)]}
    policy.save()
    work()
    failed = world.newest(request)
    assert failed.state == "failed"
    assert "Only members of data" in failed.comment
    assert noop.calls() == []


def test_a_scheduled_start_is_not_early(world: World, noop: Noop) -> None:
    starts_at = clock.now() + timedelta(hours=3)
    request = world.approved(starts_at=starts_at)
    work()
    assert world.newest(request).state == "approved"
    assert noop.calls() == []


def test_a_repeated_confirmation_changes_nothing(world: World) -> None:
    request = world.ended()
    attempt = grants.Attempt(1, clock.now(), clock.now())
    assert grants.confirm_many([(request.request_id, attempt)], now=clock.now()) == []
    assert world.newest(request).revision == request.revision


def test_a_confirmation_goes_by_the_newest_revision_whatever_was_read_before(world: World) -> None:
    active = world.active()
    attempt = grants.Attempt(1, clock.now(), clock.now())
    confirmed = [(active.request_id, attempt)]
    ending = grants.end(actor=world.alice, request_id=active.request_id, now=clock.now())
    assert (active.state, ending.state) == ("active", "revoking")
    (gone,) = grants.confirm_many(confirmed, now=clock.now(), known=[active])
    assert (gone.state, gone.revision) == ("revoked", ending.revision + 1)
    assert grants.confirm_many(confirmed, now=clock.now(), known=[ending]) == []
    assert world.newest(active).revision == gone.revision


def test_access_that_lives_in_the_portal_is_a_membership_for_the_time(world: World) -> None:
    group = Group.objects.create(name="auditors", role=Group.Role.COMPLIANCE)
    portal = Resource.objects.create(name="jitportal", connector="portal", owner=world.admin)
    entitlement = Entitlement.objects.create(
        resource=portal, name="report-reader", risk="low", settings={"group": group.name},
        policy=Policy.objects.get(name="orders-read"),
    )  # fmt: skip
    assert not world.alice.is_compliance
    request = world.ask(what=entitlement)
    work()
    alice = type(world.alice).objects.get(pk=world.alice.pk)
    assert alice.is_compliance
    assert alice.memberships.get(group=group).granted_by == request.request_id
    grants.end(actor=alice, request_id=request.request_id, now=clock.now())
    work()
    assert world.newest(request).state == "revoked"
    assert not type(alice).objects.get(pk=alice.pk).is_compliance
    assert [row.history_type for row in group.members.model.history.filter(group=group)] == [
        "-",
        "+",
    ]


def test_how_to_connect_is_empty_rather_than_an_error(world: World) -> None:
    request = world.active()
    Resource.objects.filter(pk=world.resource.pk).update(connect_hint="Use the VPN.")
    assert provisioning.how_to_connect(world.newest(request))[-1].text == "Use the VPN."


def test_what_ends_is_removed_before_the_rest_of_a_claim_is_made(world: World, noop: Noop) -> None:
    active = world.ask(by=world.carol, what=world.read)
    work()
    earlier = [world.ask(by=who, what=world.read) for who in (world.dan, world.alice)]
    grants.end(actor=world.carol, request_id=active.request_id, now=clock.now())
    seen = len(noop.calls())
    work()
    done = [call["name"] for call in noop.calls()[seen:] if call["stage"] == "done"]
    assert done == ["revoke", "grant", "grant"]
    assert {world.newest(row).state for row in earlier} == {"active"}
