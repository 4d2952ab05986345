"""Handing over: who may, to whom, what is refused, who is told, and what stays on the record."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError, transaction

from approvals.directory.models import Membership
from approvals.domain.refusals import Invalid, NotAllowed, NotFound, Settled, StaleRevision
from approvals.models import AccessRequest, Asked, Group, RequestHandover, User, Waiting
from approvals.selectors import chains, clock, deciding, noticing, timeline
from approvals.selectors import requests as reads
from approvals.services import asked, escalation, passing
from audit.models import Entry
from tests.services.mails import Deliver
from tests.world import World


def pass_on(
    world: World,
    request: AccessRequest,
    to: User | None = None,
    *,
    who: User | None = None,
    comment: str = "In a meeting until four.",
    seen: int | None = None,
) -> RequestHandover:
    return passing.hand_over(
        actor=who or world.bob,
        request_id=request.request_id,
        to=to or world.dora,
        comment=comment,
        seen_revision=seen or world.newest(request).revision,
        now=clock.now(),
    )


def who_is_asked(request: AccessRequest) -> set[str]:
    rows = Asked.objects.filter(request_id=request.request_id)
    return set(rows.values_list("person__username", flat=True))


def test_the_taker_decides_instead(world: World) -> None:
    request = world.ask()
    made = pass_on(world, request, comment="  In a meeting.  ")
    assert (made.number, made.level, made.comment) == (1, 1, "In a meeting.")
    assert (made.giver_name, made.taker_name, made.place_name) == (
        world.bob.name, world.dora.name, world.bob.name,
    )  # fmt: skip
    assert who_is_asked(request) == {"dora"}
    with pytest.raises(NotAllowed) as refused:
        world.decide(world.bob, request)
    assert refused.value.code == "not_an_approver"
    assert world.decide(world.dora, request).level == 2
    assert "dora" not in who_is_asked(request), "the next level starts without handovers"
    (entry,) = Entry.objects.filter(model="request_handover")
    assert entry.object_id == f"{request.request_id}.1"


def test_it_makes_no_revision_and_moves_no_due_moment(world: World) -> None:
    request = world.ask()
    pass_on(world, request)
    after = world.newest(request)
    assert (after.revision, after.due_at) == (request.revision, request.due_at)
    decided = world.decide(world.dora, request, seen=request.revision)
    assert decided.level == 2


def test_the_takers_silence_escalates_as_the_givers_would(world: World) -> None:
    request = world.ask()
    pass_on(world, request)
    assert request.due_at is not None
    (escalated,) = escalation.advance(request.request_id, now=request.due_at)
    assert escalated.detail["new"] == [world.erin.name]
    assert who_is_asked(request) == {"dora", "erin"}


def test_it_goes_on_and_comes_back(world: World) -> None:
    request = world.ask()
    pass_on(world, request, world.dora)
    assert pass_on(world, request, world.erin, who=world.dora).place_id == world.bob.pk
    assert who_is_asked(request) == {"erin"}
    pass_on(world, request, world.bob, who=world.erin)
    assert who_is_asked(request) == {"bob"}
    world.decide(world.bob, request)
    (decision,) = reads.decisions(request.request_id)
    assert getattr(decision, "for_whom", None) == "", "in his own place again"


@pytest.mark.parametrize(
    ("taker", "code"),
    [("alice", "taker_concerned"), ("bob", "taker_asked"), ("mallory", "taker_inactive")],
)
def test_who_can_not_take_it(world: World, taker: str, code: str) -> None:
    world.mallory.is_active = False
    world.mallory.save()
    request = world.ask()
    with pytest.raises(Invalid) as refused:
        pass_on(world, request, getattr(world, taker))
    assert (refused.value.field, refused.value.code) == ("to", code)
    assert not RequestHandover.objects.exists()


def test_who_is_asked_already_can_not_take_it(world: World) -> None:
    request = world.ask()
    assert request.due_at is not None
    escalation.advance(request.request_id, now=request.due_at)
    view = chains.load(world.newest(request), now=request.due_at)
    assert view is not None
    with pytest.raises(Invalid, match="is asked already"):
        passing.hand_over(
            actor=world.bob, request_id=request.request_id, to=world.erin, comment="Away.",
            seen_revision=2, now=request.due_at,
        )  # fmt: skip


def test_who_has_voted_can_not_take_it(world: World) -> None:
    request = world.ask()
    world.decide(world.bob, request)
    with pytest.raises(Invalid) as refused:
        pass_on(world, request, world.bob, who=world.carol)
    assert refused.value.code == "taker_voted"


def test_only_who_may_decide_hands_over(world: World) -> None:
    request = world.ask()
    for who, code in [(world.carol, "not_an_approver"), (world.alice, "self_decision")]:
        with pytest.raises(NotAllowed) as refused:
            pass_on(world, request, who=who)
        assert refused.value.code == code
    pass_on(world, request)
    with pytest.raises(NotAllowed):
        pass_on(world, request, world.erin)


@pytest.mark.parametrize("comment", ["", "   ", "x" * 2_001, "a\0b"])
def test_it_wants_a_reason(world: World, comment: str) -> None:
    request = world.ask()
    with pytest.raises(Invalid) as refused:
        pass_on(world, request, comment=comment)
    assert refused.value.field == "why"


def test_an_outdated_page_is_refused(world: World) -> None:
    request = world.ask()
    assert request.due_at is not None
    escalation.advance(request.request_id, now=request.due_at)
    with pytest.raises(StaleRevision):
        passing.hand_over(
            actor=world.bob, request_id=request.request_id, to=world.dora, comment="Away.",
            seen_revision=1, now=request.due_at,
        )  # fmt: skip


def test_what_is_over_is_not_handed_over(world: World) -> None:
    request = world.ask()
    world.decide(world.bob, request, "deny")
    with pytest.raises(Settled):
        pass_on(world, request)


def test_ten_at_most(world: World) -> None:
    request = world.ask()
    for number in range(10):
        giver, taker = (world.bob, world.dora) if number % 2 == 0 else (world.dora, world.bob)
        pass_on(world, request, taker, who=giver)
    with pytest.raises(Invalid, match="10 times") as refused:
        pass_on(world, request)
    assert refused.value.code == "too_many"


def test_when_the_taker_leaves_the_giver_is_asked_again(world: World) -> None:
    request = world.ask()
    pass_on(world, request)
    watches = Waiting.objects.get(request_id=request.request_id).watches
    assert {f"p:{world.bob.pk}", f"p:{world.dora.pk}"} <= set(watches)
    world.dora.is_active = False
    world.dora.save()
    asked.follow([f"p:{world.dora.pk}"], now=clock.now())
    assert who_is_asked(request) == {"bob"}
    assert asked.differences(now=clock.now()) == []
    assert world.decide(world.bob, request).level == 2


def test_the_index_made_anew_says_the_same(world: World) -> None:
    request = world.ask()
    pass_on(world, request)
    Asked.objects.all().delete()
    asked.rebuild(now=clock.now())
    assert who_is_asked(request) == {"dora"}


def test_the_taker_is_told_by_whom_and_why(world: World, deliver: Deliver) -> None:
    request = world.ask()
    deliver("approval_needed")
    pass_on(world, request, comment="In a meeting until four.")
    (mail,) = deliver("approval_needed")
    assert mail.to == world.dora.email
    assert f"{world.bob.name} handed it over to you: “In a meeting until four.”" in mail.text
    assert f"because {world.bob.name} handed this request over to you" in mail.text
    pass_on(world, request, world.bob, who=world.dora, comment="Back to you.")
    (mail,) = deliver("approval_needed")
    assert mail.to == world.bob.email, "told again, though he was told once at this level"
    assert "Back to you." in mail.text


def test_the_givers_notice_is_settled(world: World, deliver: Deliver) -> None:
    request = world.ask()
    deliver("approval_needed")
    assert noticing.unread_count(person=world.bob) == 1
    pass_on(world, request)
    assert noticing.unread_count(person=world.bob) == 0
    (line,) = noticing.centre(person=world.bob)
    assert (line.settled, line.is_unread) == (f"You handed it to {world.dora.name}", False)


def test_both_may_read_on(world: World) -> None:
    request = world.ask()
    pass_on(world, request)
    for person in (world.bob, world.dora):
        assert deciding.readable(request.request_id, by=person).request_id == request.request_id
    world.decide(world.dora, request, "deny")
    for person in (world.bob, world.dora):
        assert deciding.readable(request.request_id, by=person).state == "denied"
    with pytest.raises(NotFound):
        deciding.readable(request.request_id, by=world.mallory)


def test_the_history_says_for_whom(world: World) -> None:
    request = world.ask()
    pass_on(world, request)
    record = world.decide(world.dora, request)
    lines = timeline.load(record).lines
    handed = next(line for line in lines if line.lead == "Handed over")
    assert handed.text == f"by {world.bob.name} to {world.dora.name}"
    assert handed.quote == "In a meeting until four."
    voted = next(line for line in lines if line.revision == 2)
    assert f"{world.dora.name} approved for {world.bob.name}" in voted.text


def test_the_database_refuses_what_the_portal_does(world: World) -> None:
    request = world.ask()
    good: dict[str, Any] = {
        "request_id": request.request_id, "number": 1, "level": 1, "level_name": "Manager",
        "giver": world.bob, "giver_name": "Bob", "taker": world.dora, "taker_name": "Dora",
        "place": world.bob, "place_name": "Bob", "comment": "Away.", "occurred_at": clock.now(),
    }  # fmt: skip
    bad: list[dict[str, Any]] = [
        {"number": 2}, {"level": 2}, {"comment": ""}, {"taker": world.alice},
        {"giver": world.alice}, {"taker": world.bob},
    ]  # fmt: skip
    for change in bad:
        with pytest.raises(DatabaseError), transaction.atomic():
            RequestHandover(**(good | change)).save()
    RequestHandover(**good).save()
    world.decide(world.dora, request)
    with pytest.raises(DatabaseError), transaction.atomic():
        RequestHandover(
            **(good | {"number": 2, "level": 2, "giver": world.carol, "taker": world.dora})
        ).save()


def test_a_place_in_a_quorum_is_one_vote(world: World) -> None:
    """dan and carol are both needed; carol's place goes to dora, and nobody else's with it."""
    request = world.ask(what=world.own, ticket="OPS-1")
    data = Group.objects.get(name="data")
    people = {
        row.person.username
        for row in Membership.objects.filter(group=data).select_related("person")
    }
    assert who_is_asked(request) == people - {"alice"}
    giver = User.objects.get(username=min(who_is_asked(request)))
    before = len(who_is_asked(request))
    pass_on(world, request, world.dora, who=giver)
    assert len(who_is_asked(request)) == before
    world.decide(world.dora, request)
    assert giver.username not in who_is_asked(request)
    assert len(who_is_asked(request)) == before - 1


def test_the_past_is_not_touched_by_time(world: World) -> None:
    request = world.ask()
    pass_on(world, request)
    later = clock.now() + timedelta(hours=3)
    written = escalation.advance(request.request_id, now=later)
    assert written[-1].state == "lapsed"
    assert who_is_asked(request) == set()
