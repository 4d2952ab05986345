"""The notice centre and what people chose: what stands in it, what is mailed, when, and what not."""

from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest
from django.core.mail import EmailMultiAlternatives
from django.db import connection
from django.test.utils import CaptureQueriesContext

from approvals import handlers
from approvals.channels import registry
from approvals.channels.protocol import DeliveryFailed, Message, Reachable
from approvals.domain.notices import REVIEW_ASKS, SORTS
from approvals.domain.refusals import Invalid, NotFound
from approvals.models import Notice, NoticeEntry, NoticePreferences, OutboxItem, Policy, User
from approvals.outbox import queue
from approvals.selectors import clock, noticing
from approvals.services import digests, letters, notice_centre, preferences, requests
from tests.services.mails import mail_server
from tests.world import DATA, MANAGER, World, rule

#: A Monday, 12:00 in Berlin, which the people of these tests choose.
NOON = datetime(2025, 11, 24, 11, 0, tzinfo=UTC)


def choose(person: User, *, now: datetime = NOON, **more: Any) -> None:
    User.objects.filter(pk=person.pk).update(timezone="Europe/Berlin")
    person.timezone = "Europe/Berlin"
    chosen: dict[str, Any] = {
        "modes": {}, "quiet_begins": None, "quiet_ends": None, "quiet_weekdays": range(7),
        "digest_hour": 8,
    }  # fmt: skip
    preferences.set_notices(actor=person, now=now, **(chosen | more))


@pytest.fixture
def patient(world: World) -> World:
    """The small company, whose approvers have a week."""
    week = {"within": 7 * 86_400, "remind": 7 * 86_400 - 1, "escalate": []}
    policy = Policy.objects.get(name="orders-read-write")
    levels = [MANAGER | week, DATA | week]
    policy.document = {"rules": [rule("eng", groups=["eng"], longest=3600, levels=levels)]}
    policy.save()
    return world


def texts(person: User, **more: Any) -> list[str]:
    return [line.text for line in noticing.centre(person=person, **more)]


def unread(person: User) -> int:
    return noticing.unread_count(person=person)


def work(now: datetime | None = None) -> None:
    handlers.work("notices", now=now or clock.now())


def test_every_kind_of_letter_is_of_one_sort() -> None:
    kinds = [kind for sort in SORTS for kind in sort.kinds]
    assert sorted(kinds) == sorted([*letters.KINDS, *REVIEW_ASKS])


# -- the centre --------------------------------------------------------------------------------


def test_what_is_mailed_stands_in_the_centre_once(
    world: World, mailoutbox: list[EmailMultiAlternatives]
) -> None:
    request = world.ask()
    [item] = OutboxItem.objects.filter(topic="notice.send")
    work()
    item.pk = None
    item.save()
    work()
    assert [mail.to for mail in mailoutbox] == [["bob@example.com"]]
    [line] = noticing.centre(person=world.bob)
    assert (line.request_id, line.is_asking, line.is_unread) == (request.request_id, True, True)
    assert line.text == mailoutbox[0].subject
    assert unread(world.bob) == 1
    assert unread(world.mallory) == 0


def test_who_has_no_mail_address_is_told_in_the_portal(
    world: World, mailoutbox: list[EmailMultiAlternatives]
) -> None:
    User.objects.filter(pk=world.bob.pk).update(email="")
    world.ask()
    work()
    assert not mailoutbox
    assert len(texts(world.bob)) == 1
    assert [row.channel for row in Notice.objects.all()] == ["portal"]
    assert not OutboxItem.objects.filter(topic="notice.send").exists()


def test_a_dead_mail_server_keeps_nothing_from_the_centre(world: World, settings: Any) -> None:
    world.ask()
    with mail_server(settings):
        pass
    work()
    assert unread(world.bob) == 1
    [item] = OutboxItem.objects.filter(topic="notice.send")
    assert "refused" in item.last_error
    with mail_server(settings) as server:
        work(now=item.not_before + timedelta(seconds=1))
        assert len(server.to("bob@example.com")) == 1
    assert len(texts(world.bob)) == 1


def test_a_question_that_others_settled_is_settled_and_does_not_count(world: World) -> None:
    request = world.ask()
    world.decide(world.bob, request)
    work()
    assert (unread(world.carol), unread(world.dan)) == (1, 1)
    world.decide(world.carol, request, "deny", comment="No.")
    # At once, before any worker has told anybody.
    assert (unread(world.carol), unread(world.dan)) == (0, 0)
    [line] = noticing.centre(person=world.dan)
    assert line.settled == f"Settled: denied by {world.carol.get_full_name()}"
    assert (line.state, line.is_unread, line.is_asking) == ("denied", False, False)
    assert noticing.centre(person=world.carol)[0].settled == "Settled: denied by you"
    work()
    assert unread(world.dan) == 1  # that it is settled
    assert not NoticeEntry.objects.filter(asks=True, read_at=None).exists()


def test_a_withdrawn_request_is_settled_too(world: World) -> None:
    request = world.ask()
    work()
    requests.cancel(actor=world.alice, request_id=request.request_id, now=clock.now())
    assert unread(world.bob) == 0
    assert noticing.centre(person=world.bob)[0].settled == "Settled: cancelled"


def test_reading_one_and_all_are_the_persons_own(world: World) -> None:
    world.ask()
    work()
    [line] = noticing.centre(person=world.bob)
    now = clock.now()
    with pytest.raises(NotFound):
        notice_centre.read(actor=world.carol, notice_id=line.id, now=now)
    assert notice_centre.read_all(actor=world.carol, up_to=line.id, now=now) == 0
    assert notice_centre.read_all(actor=world.bob, up_to=line.id - 1, now=now) == 0
    assert unread(world.bob) == 1
    notice_centre.read(actor=world.bob, notice_id=line.id, now=now)
    notice_centre.read(actor=world.bob, notice_id=line.id, now=now + timedelta(hours=1))
    assert NoticeEntry.objects.get(notice_id=line.id).read_at == now
    assert unread(world.bob) == 0
    assert texts(world.bob, only_unread=True) == []


def test_counting_and_listing_cost_few_queries(world: World) -> None:
    world.ask()
    work()
    with CaptureQueriesContext(connection) as queries:
        noticing.unread_count(person=world.bob)
    assert len(queries) == 1
    with CaptureQueriesContext(connection) as queries:
        noticing.centre(person=world.bob)
    assert len(queries) <= 4


# -- what is chosen ----------------------------------------------------------------------------


def test_what_is_for_the_portal_only_is_not_mailed(
    world: World, mailoutbox: list[EmailMultiAlternatives]
) -> None:
    choose(world.alice, modes={"outcome": "portal"})
    world.ask(what=world.read)
    work()
    assert not mailoutbox
    assert len(texts(world.alice)) == 1
    assert not OutboxItem.objects.filter(lane="notices").exists()


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        ({"modes": {"asked": "portal"}}, "mode_asked"),
        ({"modes": {"alarms": "digest"}}, "mode_alarms"),
        ({"modes": {"gossip": "now"}}, "modes"),
        ({"modes": {"outcome": "never"}}, "modes"),
        ({"quiet_begins": time(22)}, "quiet_ends"),
        ({"quiet_begins": time(8), "quiet_ends": time(8)}, "quiet_ends"),
        ({"quiet_begins": time(22), "quiet_ends": time(7), "quiet_weekdays": []}, "quiet_weekdays"),
        ({"quiet_weekdays": [7]}, "quiet_weekdays"),
        ({"digest_hour": 24}, "digest_hour"),
    ],
)
def test_what_may_not_be_chosen_is_refused(world: World, bad: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as refusal:
        choose(world.alice, **bad)
    assert refusal.value.field == field
    assert not NoticePreferences.objects.exists()


def test_mail_in_quiet_hours_comes_once_when_they_end(patient: World, settings: Any) -> None:
    world = patient
    choose(world.bob, quiet_begins=time(22), quiet_ends=time(7))
    night, morning = NOON + timedelta(hours=12), NOON + timedelta(hours=19)
    request = world.ask(now=night)
    with mail_server(settings) as server:
        work(now=night)
        assert server.to("bob@example.com") == []
        assert unread(world.bob) == 1
        work(now=morning - timedelta(seconds=1))
        assert server.to("bob@example.com") == []
        [item] = OutboxItem.objects.filter(payload__recipient=world.bob.pk, topic="notice.send",
                                           payload__kind="approval_needed")  # fmt: skip
        assert item.not_before == morning
        work(now=morning)
        [mail] = server.to("bob@example.com")
        assert request.access_name in str(mail["Subject"])
        work(now=morning)
        assert len(server.to("bob@example.com")) == 1


def test_what_became_untrue_in_quiet_hours_is_not_mailed(patient: World, settings: Any) -> None:
    world = patient
    choose(world.bob, quiet_begins=time(22), quiet_ends=time(7))
    night, morning = NOON + timedelta(hours=12), NOON + timedelta(hours=19)
    request = world.ask(now=night)
    with mail_server(settings) as server:
        work(now=night)
        world.decide(world.bob, request, "deny", comment="No.", now=night)
        work(now=morning)
        assert server.to("bob@example.com") == []
        assert len(server.to("alice@example.com")) == 1


def test_a_mail_that_was_put_off_goes_the_way_that_is_chosen_by_then(
    patient: World, settings: Any
) -> None:
    world = patient
    choose(world.bob, quiet_begins=time(22), quiet_ends=time(7))
    night, morning = NOON + timedelta(hours=12), NOON + timedelta(hours=19)
    world.ask(now=night)
    with mail_server(settings) as server:
        work(now=night)
        choose(world.bob, modes={"asked": "digest"}, now=night)
        work(now=morning)
        assert server.mails == []
        work(now=morning + timedelta(hours=1))
        [mail] = server.to("bob@example.com")
        assert mail["Subject"] == "Digest: 1 notice, 1 request waits for your decision"


class Chat:
    """A further channel, as a module beside the others would be one."""

    NAME = "chat"
    INTERRUPTS = True

    def __init__(self) -> None:
        self.taken: list[Message] = []
        self.is_down = False

    def address(self, person: Reachable) -> str | None:
        return f"@{person.username}" if person.username != "carol" else None

    def send(self, message: Message) -> None:
        if self.is_down:
            raise DeliveryFailed("chat is down")
        self.taken.append(message)


def test_another_channel_needs_its_name_in_the_registry_alone(
    patient: World, monkeypatch: pytest.MonkeyPatch, mailoutbox: list[EmailMultiAlternatives]
) -> None:
    world, chat = patient, Chat()
    monkeypatch.setattr(registry, "CHANNELS", (*registry.CHANNELS, chat))
    choose(world.alice, modes={"outcome": "portal"})
    request = world.ask(now=NOON)
    chat.is_down = True
    work(now=NOON)
    assert [mail.to for mail in mailoutbox] == [["bob@example.com"]]
    chat.is_down = False
    work(now=NOON + timedelta(seconds=5))
    [message] = chat.taken
    assert (message.address, message.subject) == ("@bob", mailoutbox[0].subject)
    assert message.url.endswith(f"/inbox/?request={request.request_id}")
    assert len(mailoutbox) == 1
    assert [row.channel for row in Notice.objects.order_by("id")] == ["portal", "email", "chat"]
    world.decide(world.bob, request, now=NOON)
    work(now=NOON + timedelta(seconds=9))
    assert [each.address for each in chat.taken] == ["@bob", "@dan"]


# -- the digest --------------------------------------------------------------------------------


def test_a_digest_is_one_mail_a_day_with_what_waits_and_none_when_empty(
    world: World, settings: Any
) -> None:
    choose(world.alice, modes={"outcome": "digest", "access": "digest", "ended": "digest"})
    morning = NOON + timedelta(hours=20)
    with mail_server(settings) as server:
        world.ask(what=world.read, now=NOON)
        work(now=NOON)
        assert server.to("alice@example.com") == []
        assert unread(world.alice) == 1
        request = world.ask(now=NOON)
        world.decide(world.bob, request, "deny", comment="No.", now=NOON)
        work(now=NOON)
        assert OutboxItem.objects.filter(topic="notice.digest").count() == 1
        work(now=morning - timedelta(seconds=1))
        assert server.to("alice@example.com") == []
        work(now=morning)
        [mail] = server.to("alice@example.com")
        assert mail["Subject"] == "Digest: 2 notices"
        body = mail.get_body(("plain",))
        assert body is not None
        flat = " ".join(body.get_content().split())
        assert all(text in flat for text in texts(world.alice))
        assert "/notices/" in flat
        work(now=morning + timedelta(days=1))
        work(now=morning + timedelta(days=2))
        assert len(server.to("alice@example.com")) == 1
    assert not NoticeEntry.objects.exclude(digest_at=None).exists()
    assert not OutboxItem.objects.filter(topic="notice.digest").exists()


def test_what_was_read_or_settled_before_is_not_in_the_digest(
    patient: World, settings: Any
) -> None:
    world = patient
    choose(world.bob, modes={"asked": "digest"})
    morning = NOON + timedelta(hours=20)
    with mail_server(settings) as server:
        request = world.ask(now=NOON)
        work(now=NOON)
        assert unread(world.bob) == 1
        world.decide(world.bob, request, "deny", comment="No.", now=NOON)
        work(now=morning)
        assert server.to("bob@example.com") == []
    assert not OutboxItem.objects.filter(topic="notice.digest").exists()
    assert not NoticeEntry.objects.exclude(digest_at=None).exists()


def test_a_second_digest_of_a_day_waits_for_the_next(world: World, settings: Any) -> None:
    choose(world.alice, modes={"outcome": "digest"})
    morning = NOON + timedelta(hours=20)
    with mail_server(settings) as server:
        world.ask(what=world.read, now=NOON)
        work(now=NOON)
        work(now=morning)
        choose(world.alice, modes={"outcome": "digest"}, digest_hour=18, now=morning)
        request = world.ask(now=morning)
        world.decide(world.bob, request, "deny", comment="No.", now=morning)
        work(now=morning)
        evening = morning + timedelta(hours=10)
        work(now=evening)
        assert len(server.to("alice@example.com")) == 1
        work(now=evening + timedelta(days=1))
        assert len(server.to("alice@example.com")) == 2


def test_choosing_another_hour_moves_what_waits(world: World, settings: Any) -> None:
    choose(world.alice, modes={"outcome": "digest"})
    world.ask(what=world.read, now=NOON)
    with mail_server(settings) as server:
        work(now=NOON)
        choose(world.alice, modes={"outcome": "digest"}, digest_hour=15)
        work(now=NOON + timedelta(hours=3))
        assert len(server.to("alice@example.com")) == 1
    assert not OutboxItem.objects.filter(topic="notice.digest").exists()


def test_a_digest_that_the_server_refuses_comes_later_with_all_that_waits(
    world: World, settings: Any
) -> None:
    choose(world.alice, modes={"outcome": "digest"})
    morning = NOON + timedelta(hours=20)
    world.ask(what=world.read, now=NOON)
    with mail_server(settings) as server:
        server.refused.add("alice@example.com")
        work(now=NOON)
        work(now=morning)
        [item] = OutboxItem.objects.filter(topic="notice.digest")
        assert "550" in item.last_error
        server.refused.clear()
        work(now=morning + timedelta(minutes=1))
        assert len(server.to("alice@example.com")) == 1


@pytest.mark.parametrize(
    ("now", "due"),
    [
        # The last day before the clock goes forward, and back: 23 and 25 hours to the same hour.
        (datetime(2025, 3, 29, 7, 0, 1, tzinfo=UTC), datetime(2025, 3, 30, 6, tzinfo=UTC)),
        (datetime(2025, 10, 25, 6, 0, 1, tzinfo=UTC), datetime(2025, 10, 26, 7, tzinfo=UTC)),
    ],
)
def test_a_digest_keeps_its_hour_when_the_clock_changes(
    world: World, settings: Any, now: datetime, due: datetime
) -> None:
    choose(world.alice, modes={"outcome": "digest"}, now=now)
    world.ask(what=world.read, now=now)
    with mail_server(settings) as server:
        work(now=now)
        assert OutboxItem.objects.get(topic="notice.digest").not_before == due
        work(now=due - timedelta(seconds=1))
        assert server.to("alice@example.com") == []
        work(now=due)
        assert len(server.to("alice@example.com")) == 1


def test_quiet_hours_last_through_the_hour_that_comes_twice(patient: World, settings: Any) -> None:
    world, night = patient, datetime(2025, 10, 25, 22, 0, tzinfo=UTC)
    choose(world.bob, quiet_begins=time(23), quiet_ends=time(2, 30), now=night)
    world.ask(now=night)
    with mail_server(settings) as server:
        work(now=night)
        work(now=datetime(2025, 10, 26, 1, 29, 59, tzinfo=UTC))  # 02:29:59 for the second time
        assert server.to("bob@example.com") == []
        work(now=datetime(2025, 10, 26, 1, 30, tzinfo=UTC))
        assert len(server.to("bob@example.com")) == 1


def test_what_comes_while_a_digest_is_being_sent_is_in_another(world: World, settings: Any) -> None:
    choose(world.alice, modes={"outcome": "digest"})
    morning = NOON + timedelta(hours=20)
    with mail_server(settings) as server:
        world.ask(what=world.read, now=NOON)
        work(now=NOON)
        [held] = queue.claim(lane="notices", limit=9, now=morning)
        request = world.ask(now=morning)
        world.decide(world.bob, request, "deny", comment="No.", now=morning)
        work(now=morning)
        assert OutboxItem.objects.filter(topic="notice.digest").count() == 2
        # The first worker read what waits before that came.
        late = NoticeEntry.objects.latest("notice_id")
        NoticeEntry.objects.filter(pk=late.pk).update(read_at=morning)
        digests.send(held, morning)
        queue.done([held])
        NoticeEntry.objects.filter(pk=late.pk).update(
            read_at=None, digest_at=morning + timedelta(days=1)
        )
        work(now=morning + timedelta(days=1))
        assert [mail["Subject"] for mail in server.to("alice@example.com")] == [
            "Digest: 1 notice",
            "Digest: 1 notice",
        ]
