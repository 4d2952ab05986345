"""Attempts to decide that the rules refuse: none has an effect, and each is a record."""

from datetime import timedelta

import pytest
from django.test import Client

from approvals.domain.refusals import Invalid, NotAllowed, StaleRevision
from approvals.models import AccessRequest, KeyedWrite, RefusedAttempt, User
from approvals.models.refused import MOST
from approvals.selectors import clock
from approvals.selectors.history import find
from approvals.selectors.history_sources import Criteria
from approvals.services import passing
from audit.models import Entry
from tests.services import reviewing
from tests.world import World


def kept() -> list[tuple[str, str, str]]:
    rows = RefusedAttempt.objects.order_by("id")
    return [(row.actor_name, row.action, row.code) for row in rows]


def test_who_approves_their_own_request_is_recorded(world: World) -> None:
    request = world.ask()
    for verdict in ("approve", "deny"):
        with pytest.raises(NotAllowed):
            world.decide(world.alice, request, verdict, comment="It is urgent.")
    assert kept() == [("Alice", "approve", "self_decision"), ("Alice", "deny", "self_decision")]
    first = RefusedAttempt.objects.earliest("id")
    assert (first.request_id, first.number, first.comment) == (
        request.request_id, 1, "It is urgent.",
    )  # fmt: skip
    assert first.rule.startswith("Nobody decides on their own request")
    assert world.newest(request).revision == 1
    assert Entry.objects.filter(model="refused_attempt").count() == 2


def test_who_sent_it_for_another_votes_twice_or_is_not_asked(world: World) -> None:
    request = world.ask(by=world.dan, subject=world.alice)
    for who in (world.dan, world.mallory):
        with pytest.raises(NotAllowed):
            world.decide(who, request)
    world.decide(world.bob, request)
    with pytest.raises(NotAllowed):
        world.decide(world.bob, world.newest(request))
    assert kept() == [
        ("Dan", "approve", "self_decision"),
        ("Mallory", "approve", "not_an_approver"),
        ("Bob", "approve", "already_voted"),
    ]


def test_who_hands_over_what_is_not_theirs_is_recorded(world: World) -> None:
    request = world.ask()
    with pytest.raises(NotAllowed):
        passing.hand_over(
            actor=world.alice, request_id=request.request_id, to=world.mallory,
            comment="Please approve.", seen_revision=1, now=clock.now(),
        )  # fmt: skip
    assert kept() == [("Alice", "hand_over", "self_decision")]


def test_who_keeps_their_own_access_in_a_review_is_recorded(world: World) -> None:
    world.active()
    (item,) = reviewing.items(reviewing.start(world, clock.now()))
    with pytest.raises(NotAllowed):
        reviewing.decide(world.alice, item)
    with pytest.raises(NotAllowed):
        reviewing.decide(world.mallory, item, verdict="remove")
    assert kept() == [("Alice", "keep", "own_access"), ("Mallory", "remove", "not_yours")]


def test_what_is_wrong_for_other_reasons_is_none(world: World) -> None:
    request = world.ask()
    with pytest.raises(Invalid):
        world.decide(world.bob, request, "deny", comment="")
    world.decide(world.bob, request)
    with pytest.raises(StaleRevision):
        world.decide(world.carol, request, seen=1)
    assert kept() == []


def test_only_so_many_are_kept_and_all_are_refused(world: World) -> None:
    request = world.ask()
    for _ in range(MOST + 3):
        with pytest.raises(NotAllowed):
            world.decide(world.alice, request)
    assert RefusedAttempt.objects.count() == MOST


def post(who: User, request: AccessRequest, **more: str) -> int:
    client = Client()
    client.force_login(who)
    answer = client.post(
        f"/requests/{request.request_id}/decide/",
        {"verdict": "approve", "seen_revision": "1", **more},
    )
    return answer.status_code


def test_a_form_with_a_key_leaves_the_record_but_not_the_key(world: World) -> None:
    request = world.ask()
    assert post(world.alice, request, form_key="f-1", comment="Mine.") == 403
    assert kept() == [("Alice", "approve", "self_decision")]
    assert not KeyedWrite.objects.exists()
    assert post(world.alice, request) == 403
    assert len(kept()) == 2


def test_a_refused_form_with_a_key_leaves_what_the_clock_did(world: World) -> None:
    request = world.ask(now=clock.now() - timedelta(seconds=90))
    assert post(world.bob, request, form_key="f-1") == 409, "it escalated before bob decided"
    events = AccessRequest.objects.filter(request_id=request.request_id).values_list(
        "event", flat=True
    )
    assert "escalated" in events


def test_who_has_no_business_with_it_learns_and_leaves_nothing(world: World) -> None:
    request = world.ask()
    assert post(world.mallory, request) == 404
    assert kept() == []


def test_the_audit_search_tells(world: World) -> None:
    request = world.ask()
    with pytest.raises(NotAllowed):
        world.decide(world.alice, request, comment="It is urgent.")
    for criteria in (
        Criteria(requests=frozenset({request.request_id}), kinds=frozenset({"decisions"})),
        Criteria(people=(world.alice.pk,), kinds=frozenset({"decisions"})),
        Criteria(words=("urgent",), kinds=frozenset({"decisions"})),
    ):
        (entry,) = find(criteria=criteria).entries
        assert (entry.who, str(entry.sentence)) == ("Alice", "Refused to approve")
        assert "It is urgent." in entry.sentence.detail
        assert entry.request_id == request.request_id
