"""Who is told about a review, by the centre and by mail, and when that is settled."""

from datetime import datetime, time, timedelta
from typing import Any

import pytest
from django.core.mail import EmailMultiAlternatives
from django.db import connection
from django.test.utils import CaptureQueriesContext

from approvals import handlers
from approvals.domain.notices import REVIEW_ASKS
from approvals.domain.refusals import Invalid
from approvals.models import (
    AccessRequest,
    NoticeEntry,
    OutboxItem,
    User,
)
from approvals.selectors import clock, noticing
from approvals.services import review_notices, reviews
from tests.services.mails import Mail, mail_of, mail_server
from tests.services.reviewing import (
    decide,
    items,
    second,
    sign_off,
    start,
)
from tests.services.test_notice_centre import NOON, choose
from tests.world import World


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


# -- as people chose, and until it is settled


def lines(person: User) -> list[tuple[str, str, bool]]:
    """Return what the centre says of reviews: which kind, what became of it, whether it counts."""
    found = noticing.centre(person=person)
    return [(row.kind, row.settled, row.is_unread) for row in found if row.kind in REVIEW_ASKS]


def work(now: datetime) -> None:
    handlers.work("notices", now=now)


def test_what_asks_for_a_review_comes_in_the_digest_to_who_chose_that(
    world: World, request_of_alice: AccessRequest, settings: Any
) -> None:
    choose(world.bob, modes={"reviews": "digest"})
    start(world, NOON, due_at=NOON + timedelta(days=9))
    with mail_server(settings) as server:
        work(NOON)
        assert server.to("bob@example.com") == []
        assert lines(world.bob) == [("review_asked", "", True)]
        work(NOON + timedelta(hours=20))
        [mail] = server.to("bob@example.com")
        assert str(mail["Subject"]) == "Digest: 1 notice"
        assert "Review 1 access by" in mail.get_body(("plain",)).get_content()  # type: ignore[union-attr]


def test_what_asks_for_a_review_waits_for_the_end_of_quiet_hours(
    world: World, request_of_alice: AccessRequest, settings: Any
) -> None:
    choose(world.bob, quiet_begins=time(12), quiet_ends=time(14))
    end = NOON + timedelta(hours=2)
    start(world, NOON, due_at=NOON + timedelta(days=9))
    with mail_server(settings) as server:
        work(NOON)
        assert server.to("bob@example.com") == []
        assert lines(world.bob) == [("review_asked", "", True)]
        work(end)
        work(end)
        [mail] = server.to("bob@example.com")
        assert str(mail["Subject"]).startswith("Review 1 access by")
    assert len(lines(world.bob)) == 1


def test_a_review_that_was_decided_in_quiet_hours_is_not_mailed(
    world: World, request_of_alice: AccessRequest, settings: Any
) -> None:
    choose(world.bob, quiet_begins=time(12), quiet_ends=time(14))
    campaign = start(world, NOON, due_at=NOON + timedelta(days=9))
    with mail_server(settings) as server:
        work(NOON)
        decide(world.bob, *items(campaign))
        work(NOON + timedelta(hours=2))
        assert server.to("bob@example.com") == []


def test_it_may_not_be_for_the_portal_only(world: World) -> None:
    with pytest.raises(Invalid):
        choose(world.bob, modes={"reviews": "portal"})


def test_what_was_asked_is_settled_when_nothing_of_it_waits(world: World, now: datetime) -> None:
    world.active(minutes=400)
    second(world, world.alice)
    second(world, world.dan)  # carol is asked about it
    campaign = start(world, now)
    work(now)
    mine = [item for item in items(campaign) if item.reviewer == world.bob]
    decide(world.bob, mine[0])
    assert lines(world.bob) == [("review_asked", "", True)], "another one waits"
    counted = noticing.unread_count(person=world.bob)
    decide(world.bob, mine[1], verdict="remove", reason="Moved team.")
    assert lines(world.bob) == [("review_asked", "Settled: nothing of it waits for you", False)]
    assert noticing.unread_count(person=world.bob) == counted - 1
    assert lines(world.carol) == [("review_asked", "", True)], "hers waits"


def test_what_asks_compliance_is_settled_by_whoever_of_them_decides(
    world: World, now: datetime
) -> None:
    second(world, world.carol)  # she owns the resource, so that compliance is asked
    campaign = start(world, now, reviewers="owner")
    work(now)
    assert lines(world.dora) == [("review_asked", "", True)]
    decide(world.dora, *items(campaign))
    assert [row[1:] for row in lines(world.dora)] == [
        ("Settled: nothing of it waits for you", False)
    ]
    reviews.advance(now=now)
    work(now)
    assert lines(world.dora)[0] == ("review_ready", "", True)
    sign_off(campaign, world.dora)
    assert lines(world.dora) == [
        ("review_ready", "Settled: signed off by Dora", False),
        ("review_asked", "Settled: signed off by Dora", False),
    ]


def test_cancelling_and_silence_settle_what_was_asked(
    world: World, request_of_alice: AccessRequest, now: datetime
) -> None:
    first, other = start(world, now), start(world, now)
    work(now)
    assert [row[1:] for row in lines(world.bob)] == [("", True)] * 2
    reviews.cancel(actor=world.dora, campaign_id=first.campaign_id, reason="Twice.", now=now)
    assert [row[1:] for row in lines(world.bob)] == [
        ("", True), ("Settled: cancelled by Dora", False),
    ]  # fmt: skip
    reviews.settle(campaign_id=other.campaign_id, now=other.due_at)
    assert lines(world.bob)[0][1:] == ("Settled: nothing of it waits for you", False)


def test_listing_them_costs_two_queries_more(
    world: World, request_of_alice: AccessRequest, now: datetime
) -> None:
    start(world, now)
    start(world, now)
    work(now)
    with CaptureQueriesContext(connection) as queries:
        assert len(lines(world.bob)) == 2
    assert len(queries) <= 6
