"""Access reviews: what follows from an answer and from none, and what is refused."""

import uuid
from datetime import datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from approvals import handlers
from approvals.domain.refusals import Invalid, NotAllowed, NotFound, Refusal, Settled
from approvals.domain.states import State
from approvals.models import (
    AccessRequest,
    Group,
    Membership,
    ReviewDecision,
    ReviewShown,
    User,
)
from approvals.selectors import clock, frame
from approvals.selectors import reviews as reads
from approvals.services import grants, reviews
from tests.services.reviewing import (
    decide,
    items,
    review_kinds,
    second,
    sign_off,
    start,
)
from tests.world import World

# -- decisions


def test_removing_ends_the_access_at_once(
    world: World, request_of_alice: AccessRequest, now: datetime
) -> None:
    campaign = start(world, now)
    (item,) = items(campaign)
    (made,) = decide(world.bob, item, verdict="remove", reason="Moved team.").decisions
    record = world.newest(request_of_alice)
    assert record.state == State.REVOKING
    assert (record.actor, record.end_reason) == (world.bob, "revoked")
    assert record.comment == "Access review “Q4”: Moved team."
    handlers.work("provisioning")
    assert world.newest(request_of_alice).state == State.REVOKED
    assert (made.relationship, made.actor, made.request_id) == (
        "manager", world.bob, request_of_alice.request_id,
    )  # fmt: skip


def test_keeping_changes_nothing_but_is_recorded(
    world: World, request_of_alice: AccessRequest, now: datetime
) -> None:
    (item,) = items(start(world, now))
    reviews.show(actor=world.bob, items=[item], now=clock.now() - timedelta(seconds=90))
    reviews.show(actor=world.bob, items=[item], now=clock.now())  # only the first time counts
    (made,) = decide(world.bob, item).decisions
    assert world.newest(request_of_alice).revision == request_of_alice.revision
    assert made.seconds is not None
    assert 90 <= made.seconds < 100
    assert ReviewShown.objects.count() == 1
    assert reads.waiting_count(person=world.bob) == 0


def test_several_share_a_reason_and_say_how_many_they_were(world: World, now: datetime) -> None:
    world.active(minutes=400)
    second(world, world.alice)
    campaign = start(world, now)
    made = decide(world.bob, *items(campaign)).decisions
    assert [row.together for row in made] == [2, 2]
    assert reads.signals(campaign.campaign_id) == (2, 2, None, 2)
    (bob,) = [row for row in reads.reviewers(campaign.campaign_id) if row.decided]
    assert (bob.name, bob.kept_everything, bob.left) == ("Bob", True, 0)


def test_who_moved_away_may_still_remove_what_they_were_asked_about(
    world: World, request_of_alice: AccessRequest, now: datetime
) -> None:
    (item,) = items(start(world, now))
    User.objects.filter(pk=world.alice.pk).update(manager=world.carol)
    decide(world.bob, item, verdict="remove", reason="Moved team.")
    record = world.newest(request_of_alice)
    assert (record.state, record.actor) == (State.REVOKING, None)
    assert record.comment == "Access review “Q4”: Bob: Moved team."


def prolonged(world: World, request: AccessRequest) -> AccessRequest:
    """Return alice's extension of a request of hers, which has ended meanwhile."""
    longer = world.ask(extends=request.request_id, minutes=60)
    world.decide(world.bob, longer)
    world.decide(world.carol, longer)
    end = request.ends_at
    assert end is not None
    handlers.work("provisioning", now=end)
    grants.end_due(now=end)
    handlers.work("provisioning", now=end)
    found = world.newest(longer)
    assert found.state == State.ACTIVE
    return found


def waits(who: User) -> tuple[int, int, int]:
    """Return how many items the navigation counts, the page counts, and the page shows."""
    groups, count = reads.board(who, by="person")
    shown = sum(len(group.items) for group in groups)
    return frame.counts(person=who).reviews, count, shown


def test_an_extension_goes_on_being_the_items_access(
    world: World, request_of_alice: AccessRequest, now: datetime
) -> None:
    (item,) = items(start(world, now, due_at=now + timedelta(days=9)))
    longer = prolonged(world, request_of_alice)
    assert reads.live([item.item_id]) == {item.item_id: longer.request_id}
    assert waits(world.bob) == (1, 1, 1)
    longest = prolonged(world, longer)
    assert reads.live([item.item_id]) == {item.item_id: longest.request_id}
    assert waits(world.bob) == (1, 1, 1)
    (made,) = decide(world.bob, item, verdict="remove").decisions
    assert made.request_id == longest.request_id
    assert world.newest(longest).state == State.REVOKING
    assert waits(world.bob) == (0, 0, 0)


def test_access_that_ended_by_itself_is_recorded_as_that(
    world: World, request_of_alice: AccessRequest, now: datetime
) -> None:
    campaign = start(world, now)
    (item,) = items(campaign)
    grants.end(actor=world.alice, request_id=request_of_alice.request_id, now=clock.now())
    handlers.work("provisioning")
    assert reads.waiting_count(person=world.bob) == 0
    found = decide(world.bob, item)
    assert (len(found.decisions), [row.verdict for row in found.gone]) == (0, ["gone"])
    assert sign_off(campaign, world.dora).event == "signed_off"


def test_the_same_access_asked_for_again_is_not_the_items(
    world: World, request_of_alice: AccessRequest, now: datetime
) -> None:
    (item,) = items(start(world, now))
    grants.end(actor=world.alice, request_id=request_of_alice.request_id, now=clock.now())
    handlers.work("provisioning")
    again = world.active(minutes=60)
    assert reads.live([item.item_id]) == {}
    assert waits(world.bob) == (0, 0, 0)
    again = prolonged(world, again)
    assert reads.live([item.item_id]) == {}
    assert waits(world.bob) == (0, 0, 0)
    assert [row.verdict for row in decide(world.bob, item, verdict="remove").gone] == ["gone"]
    assert world.newest(again).state == State.ACTIVE


def test_more_items_cost_no_more_queries_and_all_are_counted(
    world: World, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = world.active(minutes=400)
    second(world, world.alice)
    start(world, now, due_at=now + timedelta(days=9))
    prolonged(world, first)
    assert not world.bob.is_compliance  # from now on it is known
    with CaptureQueriesContext(connection) as seen:
        assert waits(world.bob) == (2, 2, 2)
    assert len(seen) == 4
    monkeypatch.setattr(reads, "SHOWN_MOST", 1)
    with CaptureQueriesContext(connection) as seen:
        assert waits(world.bob) == (2, 2, 1)
    assert len(seen) == 5


@pytest.mark.parametrize(
    ("who", "verdict", "reason", "refusal"),
    [
        ("alice", "keep", "Mine.", NotAllowed),
        ("carol", "keep", "I own it.", NotAllowed),
        ("mallory", "remove", "No.", NotAllowed),
        ("dora", "keep", "Fine.", NotAllowed),
        ("bob", "keep", "  ", Invalid),
        ("bob", "remove", "x" * 1001, Invalid),
        ("bob", "gone", "Tidy.", Invalid),
        ("bob", "keep", "a\0b", Invalid),
    ],
)
def test_what_is_refused_changes_nothing(
    world: World,
    request_of_alice: AccessRequest,
    now: datetime,
    who: str,
    verdict: str,
    reason: str,
    refusal: type[Refusal],
) -> None:
    (item,) = items(start(world, now))
    with pytest.raises(refusal):
        decide(getattr(world, who), item, verdict=verdict, reason=reason)
    assert not ReviewDecision.objects.exists()
    assert world.newest(request_of_alice).state == State.ACTIVE


def test_several_are_all_or_nothing(world: World, now: datetime) -> None:
    world.active(minutes=400)
    second(world, world.dan)  # carol is dan's manager
    mine, other = items(start(world, now))
    with pytest.raises(NotAllowed):
        decide(world.bob, mine, other, verdict="remove")
    assert not ReviewDecision.objects.exists()
    with pytest.raises(NotFound):
        reviews.decide(
            actor=world.bob, items=[uuid.uuid4()], verdict="keep", reason="x", now=clock.now()
        )
    with pytest.raises(Invalid):
        decide(world.bob)


def test_an_item_is_decided_once(
    world: World, request_of_alice: AccessRequest, now: datetime
) -> None:
    (item,) = items(start(world, now))
    decide(world.bob, item)
    with pytest.raises(Settled, match="Bob has decided"):
        decide(world.bob, item, verdict="remove")
    assert world.newest(request_of_alice).state == State.ACTIVE


# -- silence and the end


@pytest.mark.parametrize(
    ("silence", "verdict", "state"),
    [("remove", "remove", State.REVOKING), ("report", "unreviewed", State.ACTIVE)],
)
def test_silence_does_what_the_campaign_says(
    world: World,
    request_of_alice: AccessRequest,
    now: datetime,
    silence: str,
    verdict: str,
    state: State,
) -> None:
    campaign = start(world, now, on_silence=silence, due_at=now + timedelta(minutes=30))
    reviews.advance(now=now + timedelta(minutes=29))
    assert not ReviewDecision.objects.exists()
    reviews.advance(now=now + timedelta(minutes=30))
    reviews.advance(now=now + timedelta(minutes=31))
    made = ReviewDecision.objects.get()
    assert (made.verdict, made.actor, made.relationship) == (verdict, None, "portal")
    assert world.newest(request_of_alice).state == state
    assert review_kinds() == ["review_asked", "review_reminder", "review_ready"]
    assert sign_off(campaign, world.dora, now + timedelta(minutes=32)).event == "signed_off"


def test_sign_off_waits_for_every_item_until_it_is_due(
    world: World, request_of_alice: AccessRequest, now: datetime
) -> None:
    campaign = start(world, now)
    with pytest.raises(Settled, match="1 of 1 items"):
        sign_off(campaign, world.dora)
    closed = sign_off(campaign, world.dora, campaign.due_at)
    assert (closed.revision, closed.event, closed.actor) == (2, "signed_off", world.dora)
    assert ReviewDecision.objects.get().verdict == "remove"
    assert world.newest(request_of_alice).state == State.REVOKING


@pytest.mark.parametrize("batch", [1, 2, 50])
def test_silence_reaches_every_item_in_batches_of_any_size(
    world: World, now: datetime, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr(reviews, "BATCH", batch)
    first = world.active(minutes=400)
    rest = [second(world, who) for who in (world.alice, world.dan, world.carol)]
    campaign = start(world, now)
    grants.end(actor=world.alice, request_id=first.request_id, now=clock.now())
    assert reviews.settle(campaign_id=campaign.campaign_id, now=now) == 1
    assert reviews.settle(campaign_id=campaign.campaign_id, now=campaign.due_at) == 3
    assert reviews.settle(campaign_id=campaign.campaign_id, now=campaign.due_at) == 0
    verdicts = ReviewDecision.objects.order_by("id").values_list("verdict", flat=True)
    assert list(verdicts) == ["gone", "remove", "remove", "remove"]
    assert {world.newest(row).state for row in rest} == {State.REVOKING}


def test_nothing_happens_after_the_end(
    world: World, request_of_alice: AccessRequest, now: datetime
) -> None:
    campaign = start(world, now)
    (item,) = items(campaign)
    reviews.cancel(
        actor=world.dora, campaign_id=campaign.campaign_id, reason="Wrong scope.", now=now
    )
    assert reads.waiting_count(person=world.bob) == 0
    for act in (
        lambda: decide(world.bob, item),
        lambda: sign_off(campaign, world.dora),
        lambda: reviews.cancel(
            actor=world.dora, campaign_id=campaign.campaign_id, reason="x", now=now
        ),
    ):
        with pytest.raises(Settled, match="cancelled"):
            act()
    reviews.advance(now=campaign.due_at)
    assert reviews.settle(campaign_id=campaign.campaign_id, now=campaign.due_at) == 0
    assert world.newest(request_of_alice).state == State.ACTIVE


def compliance(login: str) -> User:
    person = User.objects.create_user(login, f"{login}@example.com", name=login.title())
    Membership.objects.create(person=person, group=Group.objects.get(name="compliance"))
    return person


def test_nobody_signs_off_what_they_opened_or_decided_while_another_could(
    world: World, now: datetime
) -> None:
    second(world, world.alice)
    second(world, world.carol)
    campaign = start(world, now, reviewers="owner")
    gina, hugo = compliance("gina"), compliance("hugo")
    ours = [item for item in items(campaign) if item.reviewer_id is None]
    decide(world.carol, *[item for item in items(campaign) if item.reviewer_id == world.carol.pk])
    decide(gina, *ours)
    with pytest.raises(reviews.OwnWork, match=r"You opened it, so somebody else .*: Hugo"):
        sign_off(campaign, world.dora)
    with pytest.raises(reviews.OwnWork, match=r"You decided about 1 of its items, .*: Hugo"):
        sign_off(campaign, gina)
    assert reads.campaign(campaign.campaign_id).is_open
    assert sign_off(campaign, hugo).comment == "Done."


def test_who_had_a_part_in_it_signs_off_where_nobody_else_can_and_it_says_so(
    world: World, now: datetime
) -> None:
    second(world, world.carol)
    campaign = start(world, now, reviewers="owner")
    gone = compliance("gina")
    gone.is_active = False
    gone.save()
    decide(world.dora, *items(campaign))
    assert sign_off(campaign, world.dora).comment == (
        "Signed off by whoever opened it and a reviewer of 1 item:"
        " nobody else of compliance could. Done."
    )
