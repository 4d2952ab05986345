"""Channels beside each other: one that takes nothing keeps a notice from no other."""

from dataclasses import dataclass, field
from datetime import time

import pytest
from django.core.mail import EmailMultiAlternatives

from approvals.channels import email, portal, registry
from approvals.channels.protocol import DeliveryFailed, Message, Reachable
from approvals.models import Notice, NoticePreferences, OutboxItem
from approvals.selectors import clock
from approvals.services import notifications
from approvals.services.letters.letter import Letter
from tests.services.mails import waiting
from tests.world import World


@dataclass
class Chat:
    """A channel that reaches everybody, or nobody while it is dead."""

    NAME: str = "chat"
    INTERRUPTS: bool = True
    is_dead: bool = True
    sent: list[Message] = field(default_factory=list)

    def address(self, person: Reachable) -> str | None:
        return f"@{person.username}"

    def send(self, message: Message) -> None:
        if self.is_dead:
            raise DeliveryFailed("the chat is away")
        self.sent.append(message)


@pytest.fixture(params=["before", "after"])
def chat(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Chat:
    found = Chat()
    order = (portal, found, email) if request.param == "before" else (portal, email, found)
    monkeypatch.setattr(registry, "CHANNELS", order)
    return found


def channels() -> list[str]:
    return sorted(Notice.objects.values_list("channel", flat=True))


def test_a_dead_channel_keeps_a_notice_from_no_other(
    world: World, chat: Chat, mailoutbox: list[EmailMultiAlternatives]
) -> None:
    world.ask()
    [item] = waiting("approval_needed")
    for _ in range(2):
        with pytest.raises(DeliveryFailed, match="the chat is away"):
            notifications.send(item, clock.now())
        assert channels() == ["email", "portal"]
        assert len(mailoutbox) == 1
    chat.is_dead = False
    notifications.send(item, clock.now())
    assert channels() == ["chat", "email", "portal"]
    assert (len(mailoutbox), len(chat.sent)) == (1, 1)


def test_dead_mail_keeps_a_notice_from_no_other(
    world: World, chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dead(message: Message) -> None:
        raise DeliveryFailed("no mail server")

    monkeypatch.setattr(email, "send", dead)
    world.ask()
    [item] = waiting("approval_needed")
    with pytest.raises(DeliveryFailed) as both:
        notifications.send(item, clock.now())
    assert {"no mail server", "the chat is away"} == set(str(both.value).split("; "))
    chat.is_dead = False
    with pytest.raises(DeliveryFailed, match=r"^no mail server$"):
        notifications.send(item, clock.now())
    assert channels() == ["chat", "portal"]


def test_what_is_about_no_request_goes_by_the_others_too(
    world: World, chat: Chat, mailoutbox: list[EmailMultiAlternatives]
) -> None:
    letter = Letter(
        subject="Look", eyebrow="Ledger", headline="Look", why="You operate it.", action="Look",
        url="https://access.example.com/audit/",
    )  # fmt: skip
    with pytest.raises(DeliveryFailed, match="the chat is away"):
        notifications.deliver(
            kind="ledger", letter=letter, to=world.admin, once_key="a:b:c", thread="a",
            reference="", now=clock.now(), in_centre=True,
        )  # fmt: skip
    assert channels() == ["email", "portal"]
    assert len(mailoutbox) == 1


def test_what_is_put_off_is_put_off_once_for_all_channels(world: World, chat: Chat) -> None:
    now = clock.now()
    NoticePreferences.objects.create(
        person=world.bob, modes={}, quiet_begins=time(0), quiet_ends=time(23, 59),
        quiet_weekdays=list(range(7)), digest_hour=8,
    )  # fmt: skip
    world.ask()
    [item] = waiting("approval_needed")
    OutboxItem.objects.exclude(pk=item.pk).delete()
    notifications.send(item, now)
    assert channels() == ["portal"]
    assert len(waiting("approval_needed")) == 2
