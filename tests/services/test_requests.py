"""Asking, deciding and cancelling, and all that is refused."""

import uuid
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from approvals.domain.documents import NAME_MAX_CHARS
from approvals.domain.refusals import Invalid, NotAllowed, NotFound, Settled, StaleRevision
from approvals.models import AccessRequest, Asked, Decision, Membership, OutboxItem, Policy
from approvals.services import requests
from tests.world import DATA, MANAGER, World, notices, rule


def asked(request: AccessRequest) -> set[str]:
    rows = Asked.objects.filter(request_id=request.request_id)
    return set(rows.values_list("person__username", flat=True))


def test_a_request_goes_to_the_manager_first(world: World) -> None:
    request = world.ask()
    assert (request.state, request.level_name) == ("pending", "Manager")
    assert (request.policy_name, request.policy_version) == ("orders-read-write", 1)
    assert asked(request) == {"bob"}
    assert notices() == [("approval_needed", world.bob.pk)]


def test_each_level_asks_its_own_people_and_the_first_ones_learn_that_it_is_done(
    world: World,
) -> None:
    request = world.ask()
    after = world.decide(world.bob, request)
    assert (after.level, after.level_name, after.event) == (2, "Data owners", "voted")
    assert asked(request) == {"carol", "dan"}
    done = world.decide(world.carol, request)
    assert (done.state, done.due_at, asked(request)) == ("approved", None, set())
    assert ("decided", world.alice.pk) in notices()
    assert ("settled", world.dan.pk) in notices()
    assert ("settled", world.carol.pk) not in notices()


def test_low_risk_is_approved_by_its_rule(world: World) -> None:
    request = world.ask(what=world.read)
    assert (request.state, request.revision, request.actor_name) == ("approved", 2, "portal")
    assert OutboxItem.objects.filter(topic="grant.apply").count() == 1


def test_a_deny_settles_and_needs_a_reason(world: World) -> None:
    request = world.ask()
    with pytest.raises(Invalid, match="Say why"):
        world.decide(world.bob, request, "deny", comment="  ")
    denied = world.decide(world.bob, request, "deny", comment="Use the masked view.")
    assert (denied.state, denied.comment) == ("denied", "Use the masked view.")
    assert asked(request) == set()
    with pytest.raises(Settled, match="denied already"):
        world.decide(world.carol, request)


@pytest.mark.parametrize("who", ["alice", "mallory", "carol", "erin", "admin", "dora"])
def test_only_those_asked_decide(world: World, who: str) -> None:
    request = world.ask()
    with pytest.raises(NotAllowed) as refused:
        world.decide(getattr(world, who), request)
    assert refused.value.code == ("self_decision" if who == "alice" else "not_an_approver")
    assert not Decision.objects.exists()
    assert world.newest(request).revision == 1


def test_nobody_decides_on_what_they_asked_for_another(world: World) -> None:
    request = world.ask(by=world.bob, subject=world.alice)
    assert "bob" not in asked(request)
    with pytest.raises(NotAllowed, match="own request"):
        world.decide(world.bob, request)


def test_one_human_has_one_vote_over_all_levels(world: World) -> None:
    Membership.objects.create(
        person=world.bob, group=Membership.objects.get(person=world.dan).group
    )
    request = world.ask()
    world.decide(world.bob, request)
    assert asked(request) == {"carol", "dan"}
    with pytest.raises(NotAllowed, match="one vote"):
        world.decide(world.bob, request)


def test_a_decision_on_an_old_page_is_refused(world: World) -> None:
    request = world.ask()
    world.decide(world.bob, request, seen=1)
    with pytest.raises(StaleRevision) as refused:
        world.decide(world.carol, request, seen=1)
    assert refused.value.current == 2


@pytest.mark.parametrize("seen", [0, -1, 2, 10**9])
def test_a_revision_that_was_never_seen_is_refused(world: World, seen: int) -> None:
    request = world.ask()
    with pytest.raises(StaleRevision):
        requests.decide(
            actor=world.bob,
            request_id=request.request_id,
            verdict="approve",
            seen_revision=seen,
            now=request.occurred_at,
        )


NONSENSE: dict[str, tuple[dict[str, object], str]] = {
    "no time": ({"minutes": 0}, "at least one minute"),
    "negative time": ({"minutes": -30}, "at least one minute"),
    "seconds": ({"minutes": 0.5}, "at least one minute"),
    "fractions": ({"minutes": 1.00001}, "whole seconds"),
    "ten thousand years": ({"minutes": 10_000 * 525_600}, "Longest is 8 h"),
    "too long": ({"minutes": 481}, "Longest is 8 h"),
    "no reason": ({"reason": "   "}, "Say why"),
    "a huge reason": ({"reason": "x" * 100_000}, "100,000 characters"),
    "a NUL": ({"reason": "a\0b"}, "NUL"),
    "a NUL in the ticket": ({"ticket": "\0"}, "NUL"),
    "a huge ticket": ({"ticket": "x" * 101}, "100 are the most"),
}


@pytest.mark.parametrize("name", NONSENSE)
def test_nonsense_is_refused_with_a_sentence_and_changes_nothing(world: World, name: str) -> None:
    changes, message = NONSENSE[name]
    with pytest.raises(Invalid, match=message):
        world.ask(**changes)  # type: ignore[arg-type]
    assert not AccessRequest.objects.exists()
    assert not OutboxItem.objects.exists()


def test_a_start_in_the_past_or_far_ahead_is_refused(world: World, now: datetime) -> None:
    with pytest.raises(Invalid, match="past"):
        world.ask(starts_at=now - timedelta(hours=1))
    with pytest.raises(Invalid, match="90 days"):
        world.ask(starts_at=now + timedelta(days=91))


def test_a_scheduled_start_waits_in_the_outbox(world: World, now: datetime) -> None:
    starts_at = now + timedelta(hours=2)
    request = world.approved(starts_at=starts_at)
    assert request.state == "approved"
    assert OutboxItem.objects.get(topic="grant.start").not_before == starts_at
    assert not OutboxItem.objects.filter(topic="grant.apply").exists()


def test_outsiders_learn_why_they_can_not_ask(world: World) -> None:
    with pytest.raises(NotAllowed, match="Only members of data or eng may ask"):
        world.ask(by=world.mallory)


def test_without_a_policy_nobody_can_ask(world: World) -> None:
    world.write.policy = None
    world.write.save()
    with pytest.raises(NotAllowed, match="No policy"):
        world.ask()


def test_what_is_retired_can_not_be_asked_for(world: World) -> None:
    world.resource.is_retired = True
    world.resource.save()
    world.write.refresh_from_db()
    with pytest.raises(NotAllowed, match="retired"):
        world.ask()


def test_an_open_request_is_not_asked_for_twice(world: World) -> None:
    first = world.ask()
    with pytest.raises(Invalid, match=first.reference) as refused:
        world.ask()
    assert refused.value.code == "duplicate"


def test_a_ticket_is_asked_for_where_the_rule_wants_one(world: World) -> None:
    with pytest.raises(Invalid, match="ticket") as refused:
        world.ask(what=world.own)
    assert refused.value.field == "ticket"


def test_a_request_keeps_the_policy_that_it_came_under(world: World) -> None:
    request = world.ask()
    policy = Policy.objects.get(name="orders-read-write")
    policy.document = {"rules": [rule("all", groups=["eng"], longest=28_800, levels=[MANAGER])]}
    policy.save()
    assert world.decide(world.bob, request).level == 2
    assert world.newest(request).policy_version == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"groups": ["data"], "longest": 28_800}, "Only members of data"),
        ({"groups": ["eng"], "longest": 60}, "Longest is 1 min"),
    ],
)
def test_an_approval_that_the_policy_no_longer_allows_is_refused(
    world: World, change: dict[str, object], message: str
) -> None:
    request = world.ask()
    policy = Policy.objects.get(name="orders-read-write")
    policy.document = {"rules": [{"name": "eng", "levels": [MANAGER], **change}]}
    policy.save()
    with pytest.raises(NotAllowed, match=message):
        world.decide(world.bob, request)
    assert world.decide(world.bob, request, "deny").state == "denied"


@pytest.mark.parametrize(
    ("who", "allowed"),
    [("alice", True), ("admin", True), ("bob", False), ("carol", False), ("mallory", False)],
)
def test_who_may_cancel(world: World, who: str, allowed: bool) -> None:
    request = world.ask()

    def cancel() -> AccessRequest:
        return requests.cancel(
            actor=getattr(world, who), request_id=request.request_id, now=request.occurred_at
        )

    if allowed:
        assert cancel().state == "cancelled"
        assert asked(request) == set()
    else:
        with pytest.raises(NotAllowed):
            cancel()
        assert world.newest(request).state == "pending"


def test_a_cancelled_request_leaves_nothing_to_be_granted(world: World) -> None:
    request = world.approved()
    requests.cancel(actor=world.alice, request_id=request.request_id, now=request.occurred_at)
    assert not OutboxItem.objects.filter(topic="grant.apply").exists()
    with pytest.raises(Settled):
        requests.cancel(actor=world.alice, request_id=request.request_id, now=request.occurred_at)


UNKNOWN: dict[str, Callable[[World], object]] = {
    "decide": lambda w: requests.decide(
        actor=w.bob, request_id=uuid.uuid4(), verdict="approve", seen_revision=1,
        now=w.alice.created_at,
    ),
    "cancel": lambda w: requests.cancel(
        actor=w.alice, request_id=uuid.uuid4(), now=w.alice.created_at
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", UNKNOWN)
def test_an_unknown_request_is_not_found(world: World, name: str) -> None:
    with pytest.raises(NotFound):
        UNKNOWN[name](world)


def test_an_inactive_person_neither_asks_nor_gets(world: World) -> None:
    world.alice.is_active = False
    world.alice.save()
    with pytest.raises(NotAllowed, match="active"):
        world.ask()
    with pytest.raises(NotAllowed, match="active"):
        world.ask(by=world.dan, subject=world.alice)


def test_what_a_rule_approves_at_once_is_not_asked_for_others(world: World) -> None:
    with pytest.raises(NotAllowed, match="only Alice can ask"):
        world.ask(what=world.read, by=world.mallory, subject=world.alice)


def test_names_may_be_as_long_as_a_policy_takes_them(world: World) -> None:
    long = "n" * NAME_MAX_CHARS
    first = MANAGER | {"name": long, "fallback": [{"kind": "group", "name": long}]}
    levels = [first, DATA | {"name": long[1:] + "2"}]
    policy = Policy.objects.get(entitlements=world.write)
    policy.document = {"rules": [rule(long, groups=["eng"], longest=3600, levels=levels)]}
    policy.save()
    request = world.approved()
    assert (request.state, request.rule_name) == ("approved", long)
    assert set(Decision.objects.values_list("level_name", flat=True)) == {long, long[1:] + "2"}
