"""Access reviews: who is asked, what follows from an answer and from none, what can't be done."""

import uuid
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.core.mail import EmailMultiAlternatives
from django.db import IntegrityError, transaction

from approvals import handlers
from approvals.domain.refusals import Invalid, NotAllowed, NotFound, Refusal, Settled
from approvals.domain.states import State
from approvals.models import (
    AccessRequest,
    NoticeEntry,
    OutboxItem,
    ReviewCampaign,
    ReviewDecision,
    ReviewItem,
    ReviewShown,
    User,
)
from approvals.selectors import clock
from approvals.selectors import reviews as reads
from approvals.services import erasure as asking
from approvals.services import grants, review_notices, review_opening, reviews
from audit.models import Entry
from audit.services import erasing, verifying
from tests.audit.sealer import new_signer, seal, sealer
from tests.audit.tampering import tamper
from tests.services.mails import Mail, mail_of
from tests.world import World

HOURS = 10


def start(world: World, now: datetime, **more: Any) -> ReviewCampaign:
    values: dict[str, Any] = {
        "actor": world.dora, "name": "Q4", "due_at": now + timedelta(hours=HOURS), "now": now,
    }  # fmt: skip
    return review_opening.open_campaign(**(values | more))


def items(campaign: ReviewCampaign) -> list[ReviewItem]:
    return list(ReviewItem.objects.filter(campaign_id=campaign.campaign_id).order_by("id"))


def decide(
    who: User, *chosen: ReviewItem, verdict: str = "keep", reason: str = "On call this week."
) -> reviews.Decided:
    return reviews.decide(
        actor=who,
        items=[item.item_id for item in chosen],
        verdict=verdict,
        reason=reason,
        now=clock.now(),
    )


def sign_off(campaign: ReviewCampaign, who: User, now: datetime | None = None) -> ReviewCampaign:
    return reviews.sign_off(
        actor=who, campaign_id=campaign.campaign_id, comment="Done.", now=now or clock.now()
    )


@pytest.fixture
def request_of_alice(world: World) -> AccessRequest:
    return world.active(minutes=400)


def second(world: World, who: User) -> AccessRequest:
    """Read access of somebody else's, which its rule approves at once."""
    made = world.ask(what=world.read, by=who, minutes=400)
    handlers.work("due")
    handlers.work("provisioning")
    found = world.newest(made)
    assert found.state == State.ACTIVE
    return found


# -- who is asked


def test_what_is_active_is_pinned_with_the_manager(
    world: World, request_of_alice: AccessRequest, now: datetime
) -> None:
    world.ask(what=world.own, ticket="T-1")  # waits, so that there is nothing to review yet
    campaign = start(world, now)
    (item,) = items(campaign)
    assert (item.request_id, item.subject, item.entitlement) == (
        request_of_alice.request_id, world.alice, world.write,
    )  # fmt: skip
    assert (item.reviewer, item.relationship) == (world.bob, "manager")
    assert campaign.items == 1
    assert reads.waiting_count(person=world.bob) == 1
    assert reads.waiting_count(person=world.alice) == 0


@pytest.mark.parametrize("asked", ["manager", "owner"])
def test_nobody_is_asked_about_their_own_access(world: World, now: datetime, asked: str) -> None:
    second(world, world.carol)  # she owns the resource, and erin is her manager
    (item,) = items(start(world, now, reviewers=asked))
    if asked == "manager":
        assert (item.reviewer, item.relationship) == (world.erin, "manager")
    else:
        assert (item.reviewer, item.relationship) == (None, "compliance")
        with pytest.raises(NotAllowed):
            decide(world.carol, item)
        assert decide(world.dora, item).decisions[0].relationship == "compliance"


def test_it_falls_to_the_owner_where_the_manager_is_gone(
    world: World, request_of_alice: AccessRequest, now: datetime
) -> None:
    User.objects.filter(pk=world.bob.pk).update(is_active=False)
    (item,) = items(start(world, now))
    assert (item.reviewer, item.relationship) == (world.carol, "owner")


def test_compliance_takes_over_from_a_reviewer_who_leaves(
    world: World, request_of_alice: AccessRequest, now: datetime
) -> None:
    (item,) = items(start(world, now))
    with pytest.raises(NotAllowed):
        decide(world.dora, item)
    User.objects.filter(pk=world.bob.pk).update(is_active=False)
    assert reads.waiting_count(person=world.dora) == 1
    assert decide(world.dora, item).decisions[0].relationship == "compliance"


def test_a_scope_narrows_what_is_pinned(
    world: World, request_of_alice: AccessRequest, now: datetime
) -> None:
    low = second(world, world.dan)
    assert {i.request_id for i in items(start(world, now))} == {
        request_of_alice.request_id, low.request_id,
    }  # fmt: skip
    by_risk = start(world, now, scope="risk", risk="low")
    assert [i.request_id for i in items(by_risk)] == [low.request_id]
    assert len(items(start(world, now, scope="resource", resource=world.resource))) == 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": " "},
        {"name": "x" * 101},
        {"due_at": datetime.fromisoformat("2020-01-01T00:00:00+00:00")},
        {"scope": "resource"},
        {"scope": "risk", "risk": "none"},
        {"scope": "risk", "risk": "medium"},  # there is no active access of it
        {"reviewers": "nobody"},
        {"on_silence": "shrug"},
    ],
)
def test_a_wrong_opening_is_refused(
    world: World, request_of_alice: AccessRequest, now: datetime, wrong: dict[str, Any]
) -> None:
    with pytest.raises(Invalid):
        start(world, now, **wrong)
    assert not ReviewCampaign.objects.exists()
    assert not ReviewItem.objects.exists()


@pytest.mark.parametrize("who", ["alice", "bob", "admin", "carol"])
def test_only_compliance_runs_campaigns(
    world: World, request_of_alice: AccessRequest, now: datetime, who: str
) -> None:
    person = getattr(world, who)
    with pytest.raises(NotAllowed):
        start(world, now, actor=person)
    campaign = start(world, now)
    decide(world.bob, *items(campaign))
    with pytest.raises(NotAllowed):
        sign_off(campaign, person)
    with pytest.raises(NotAllowed):
        reviews.cancel(actor=person, campaign_id=campaign.campaign_id, reason="x", now=now)


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


def test_an_extension_goes_on_being_the_items_access(
    world: World, request_of_alice: AccessRequest, now: datetime
) -> None:
    (item,) = items(start(world, now, due_at=now + timedelta(days=9)))
    longer = world.ask(extends=request_of_alice.request_id, minutes=60)
    world.decide(world.bob, longer)
    world.decide(world.carol, longer)
    end = request_of_alice.ends_at
    assert end is not None
    handlers.work("provisioning", now=end)
    grants.end_due(now=end)
    handlers.work("provisioning", now=end)
    assert world.newest(longer).state == State.ACTIVE
    assert reads.live([item.item_id]) == {item.item_id: longer.request_id}
    (made,) = decide(world.bob, item, verdict="remove").decisions
    assert made.request_id == longer.request_id
    assert world.newest(longer).state == State.REVOKING


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
    assert [row.verdict for row in decide(world.bob, item, verdict="remove").gone] == ["gone"]
    assert world.newest(again).state == State.ACTIVE


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


# -- what the database refuses by itself


def decision(item: ReviewItem, who: User | None, **more: Any) -> ReviewDecision:
    values: dict[str, Any] = {
        "item_id": item.item_id, "campaign_id": item.campaign_id, "request_id": item.request_id,
        "actor": who, "actor_name": "x", "relationship": "manager", "verdict": "keep",
        "reason": "x", "occurred_at": clock.now(),
    }  # fmt: skip
    return ReviewDecision(**(values | more))


def test_the_database_refuses_what_the_code_would(
    world: World, request_of_alice: AccessRequest, now: datetime
) -> None:
    campaign = start(world, now)
    (item,) = items(campaign)
    closed = campaign.close(event="signed_off", actor=world.dora, comment="", now=now)
    renamed = campaign.close(event="cancelled", actor=world.dora, comment="", now=now)
    renamed.due_at += timedelta(days=1)
    for row in (
        decision(item, world.alice),
        decision(item, None),
        decision(item, world.bob, reason=""),
        decision(item, world.bob, verdict="unreviewed"),
        decision(item, world.bob, campaign_id=uuid.uuid4()),
        decision(item, world.bob, item_id=uuid.uuid4()),
        closed,
        renamed,
    ):
        with pytest.raises(IntegrityError), transaction.atomic():
            row.save()
    decision(item, world.bob).save()
    closed.save()
    with pytest.raises(IntegrityError, match=r"campaign is over|unique"), transaction.atomic():
        decision(item, world.bob).save()


@pytest.mark.django_db(transaction=True)
def test_all_of_it_is_in_the_ledger_and_verifies(
    world: World, request_of_alice: AccessRequest, now: datetime
) -> None:
    second(world, world.dan)
    campaign = start(world, now, scope="resource", resource=world.resource)
    mine, other = items(campaign)
    decide(world.bob, mine, verdict="remove")
    decide(world.carol, other)
    sign_off(campaign, world.dora)
    names = Entry.objects.filter(model__startswith="review").values_list("model", flat=True)
    assert sorted(names) == [
        "review_campaign", "review_campaign", "review_decision", "review_decision",
        "review_item", "review_item",
    ]  # fmt: skip
    seal(new_signer())
    report = verifying.run(by="a test")
    assert report.ok, [*report.as_text()]
    tamper("UPDATE approvals_reviewdecision SET verdict = 'keep' WHERE verdict = 'remove'")
    assert {row.model for row in verifying.run(by="a test").problems} == {"review_decision"}


CANARY = "Canarywren"


def told_of(word: str) -> set[str]:
    """Return which columns of the review tables a word stands in."""
    return {
        f"{model.__name__}.{name}"
        for model in (ReviewCampaign, ReviewItem, ReviewDecision)
        for row in model._default_manager.values()
        for name, value in row.items()
        if word in str(value)
    }


@pytest.mark.django_db(transaction=True)
def test_an_erasure_takes_a_person_out_of_the_reviews(world: World, now: datetime) -> None:
    User.objects.filter(pk=world.alice.pk).update(name=f"Alice {CANARY}")
    User.objects.filter(pk=world.dan.pk).update(manager=world.alice)
    alice = User.objects.get(pk=world.alice.pk)
    hers = world.active(by=alice, minutes=400)
    second(world, User.objects.get(pk=world.dan.pk))
    campaign = start(world, now, name=f"About Alice {CANARY}")
    mine, other = items(campaign)
    decide(world.bob, mine, reason="She needs it.")
    decide(alice, other, reason="He needs it.")
    sign_off(campaign, world.dora)
    grants.end(actor=alice, request_id=hers.request_id, now=clock.now())
    handlers.work("provisioning")
    assert told_of(CANARY) == {
        "ReviewCampaign.name", "ReviewItem.subject_name", "ReviewItem.reviewer_name",
        "ReviewDecision.actor_name",
    }  # fmt: skip
    signer = new_signer()
    seal(signer)
    erasing._not_before.clear()
    made = asking.ask(
        actor=world.dora, login="alice", ground="objection", reference="DSR-1", now=clock.now()
    )
    asking.approve(actor=world.admin, erasure_id=made.erasure_id, comment="", now=clock.now())
    with sealer():
        assert erasing.carry_out(now=clock.now()) == 1
    seal(signer)
    assert told_of(CANARY) == set()
    assert {row.reason for row in ReviewDecision.objects.all()} == {"[erased]"}
    assert {row.name for row in ReviewCampaign.objects.all()} == {"[erased]"}
    assert {row.subject_name for row in ReviewItem.objects.all()} == {"[erased]", "Dan"}
    report = verifying.run(by="a test")
    assert report.ok, [*report.as_text()]


# -- mails


def review_kinds() -> list[str]:
    rows = OutboxItem.objects.filter(topic=review_notices.TOPIC).order_by("id")
    return [row.payload["kind"] for row in rows]


def test_reviewers_are_asked_and_reminded_as_long_as_something_waits(
    world: World,
    request_of_alice: AccessRequest,
    now: datetime,
    mailoutbox: list[EmailMultiAlternatives],
) -> None:
    def deliver() -> list[Mail]:
        """Send what waits about reviews; return the mails that came of it."""
        begin = len(mailoutbox)
        for item in OutboxItem.objects.filter(topic=review_notices.TOPIC):
            review_notices.send(item, clock.now())
            item.delete()
        return [mail_of(message) for message in mailoutbox[begin:]]

    campaign = start(world, now, due_at=now + timedelta(hours=5))
    (mail,) = deliver()
    assert mail.to == world.bob.email
    assert NoticeEntry.objects.filter(person=world.bob, notice__kind="review_asked").exists()
    mail.says("Q4", "1 access", "is removed")
    reviews.advance(now=now + timedelta(hours=2))
    assert deliver() == []
    for _ in range(2):
        reviews.advance(now=now + timedelta(hours=3))
    (mail,) = deliver()
    assert mail.subject.startswith("Still to review")
    reviews.advance(now=now + timedelta(hours=3.5))
    assert deliver() == []
    reviews.advance(now=now + timedelta(hours=4.6))
    decide(world.bob, *items(campaign))
    assert deliver() == [], "it is not true any more"
    reviews.advance(now=now + timedelta(hours=4.7))
    (mail,) = deliver()
    assert (mail.to, mail.subject) == (world.dora.email, "Ready to sign off: Q4")
    reviews.advance(now=now + timedelta(hours=4.8))
    assert deliver() == []
