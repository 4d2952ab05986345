"""What people are told: every kind in both forms, once, and only while it is true."""

import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from html.parser import HTMLParser
from typing import Any

import pytest
from django.core.mail import EmailMultiAlternatives
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from approvals import handlers
from approvals.channels.email import DeliveryFailed
from approvals.models import AccessRequest, Membership, Notice, OutboxItem, User
from approvals.selectors import chains, clock
from approvals.services import (
    directory,
    escalation,
    grants,
    letters,
    notices,
    notifications,
    requests,
)
from tests.connectors.noop import Noop
from tests.services import smtp
from tests.world import World

XSS = '<script>alert(1)</script> & "quotes"\n<img src=x onerror=alert(2)>'


class Page(HTMLParser):
    """What a mail's HTML form shows and holds."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: list[str] = []
        self.links: list[str] = []
        self.handlers: list[str] = []
        self._silent = 0
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._silent += tag in ("style", "title")
        self.links += [value or "" for name, value in attrs if name == "href"]
        self.handlers += [name for name, _ in attrs if name.startswith("on")]

    def handle_endtag(self, tag: str) -> None:
        self._silent -= tag in ("style", "title")

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@dataclass
class Mail:
    to: str
    subject: str
    text: str
    page: Page
    html: str
    headers: dict[str, str] = field(default_factory=dict)

    def says(self, *facts: str) -> bool:
        """Both forms hold every fact, however their lines are broken."""
        flat = " ".join(self.text.split())
        for fact in facts:
            assert fact in flat, f"{fact!r} is not in the text:\n{self.text}"
            assert fact in self.page.text, f"{fact!r} is not in the HTML:\n{self.page.text}"
        return True


Deliver = Callable[..., list[Mail]]


@pytest.fixture
def deliver(mailoutbox: list[EmailMultiAlternatives]) -> Deliver:
    """Send the waiting notices of a kind at a moment; return the mails that came of them."""

    def run(kind: str, *, now: datetime | None = None) -> list[Mail]:
        begin = len(mailoutbox)
        for item in waiting(kind):
            notifications.send(item, now or clock.now())
            item.delete()
        return [mail_of(message) for message in mailoutbox[begin:]]

    return run


def mail_of(message: EmailMultiAlternatives) -> Mail:
    html = str(message.alternatives[0][0])
    headers = {str(k): str(v) for k, v in message.extra_headers.items()}
    body = str(message.body)
    return Mail(message.to[0], str(message.subject), body, Page(html), html, headers)


def waiting(kind: str) -> list[OutboxItem]:
    return list(OutboxItem.objects.filter(topic="notice.send", payload__kind=kind).order_by("id"))


def in_zone(person: User, name: str) -> None:
    person.timezone = name
    person.save()


def told(kind: str) -> list[str]:
    return list(
        Notice.objects.filter(kind=kind)
        .order_by("id")
        .values_list("recipient__username", flat=True)
    )


# -- what each kind says -----------------------------------------------------------------------


def test_an_approver_reads_who_what_how_long_why_and_by_when(
    world: World, deliver: Deliver, now: datetime
) -> None:
    request = world.ask(minutes=120, ticket="INC-4411", now=now)
    [mail] = deliver("approval_needed", now=now)
    assert mail.to == "bob@example.com"
    assert mail.subject == "Decide: Alice asks for orders-db · read-write"
    due = f"{now + timedelta(seconds=60):%H:%M:%S} UTC"
    assert mail.says(
        f"Waiting for you · escalates at {due}, in 1 minute",
        "Alice asks for orders-db · read-write for 2 hours",
        "Reprocess stuck refunds.",
        "High",
        "INC-4411",
        "Level 1 of 2, Manager",
        f"approve or deny it by {due}",
        f"If you stay silent, Erin is asked at {due}.",
        "Nothing is decided by this link.",
    )
    link = f"http://127.0.0.1:8000/inbox/?request={request.request_id}"
    assert link in mail.text
    assert link in mail.page.links
    assert Notice.objects.get().subject_line == mail.subject


def test_the_second_level_reads_who_approved_and_who_else_is_asked(
    world: World, deliver: Deliver
) -> None:
    request = world.ask()
    world.decide(world.bob, request)
    carol, dan = (mail for mail in deliver("approval_needed") if "bob" not in mail.to)
    assert (carol.to, dan.to) == ("carol@example.com", "dan@example.com")
    carol.says("Level 2 of 2, Data owners", "Also asked", "Dan", "Approved by", "Bob")


def test_a_quorum_says_how_many_are_there(world: World, deliver: Deliver) -> None:
    world.ask(what=world.own, ticket="INC-1")
    [carol, _] = deliver("approval_needed")
    carol.says("Approvals", "0 of 2 so far")


def test_a_request_for_someone_else_names_both(world: World, deliver: Deliver) -> None:
    world.ask(by=world.alice, subject=world.dan)
    [mail] = deliver("approval_needed")
    mail.says("Alice asks for orders-db · read-write", "Access for", "Dan")


def test_a_reminder_says_that_it_still_waits(world: World, deliver: Deliver, now: datetime) -> None:
    request = world.ask(now=now)
    remind(request, at=now + timedelta(seconds=20))
    [mail] = deliver("reminder", now=now + timedelta(seconds=20))
    assert mail.subject == "Reminder: Alice asks for orders-db · read-write"
    mail.says("Still waiting for you", "in 40 seconds", "Erin is asked at")


def remind(request: AccessRequest, *, at: datetime) -> None:
    with transaction.atomic():
        assert escalation.remind(
            request_id=request.request_id, level=1, escalations=0, at=at, now=at
        )


def test_an_escalation_tells_the_newly_asked_and_the_requester(
    world: World, deliver: Deliver, now: datetime
) -> None:
    request = world.ask(now=now)
    later = now + timedelta(seconds=60)
    escalation.advance(request.request_id, now=later)
    [mail] = deliver("escalated", now=later)
    lapse = f"{now + timedelta(seconds=120):%H:%M:%S} UTC"
    assert mail.to == "erin@example.com"
    mail.says(
        "Escalated to you",
        "The level Manager stayed silent, so now you are asked.",
        f"If nobody decides by {lapse}, the request lapses and Alice gets no access.",
    )
    [mail] = deliver("moved_on", now=later)
    assert mail.to == "alice@example.com"
    mail.says("now waits for Bob or Erin", "Level 1, Manager", f"decides by {lapse}")
    assert f"/requests/{request.request_id}/" in mail.text


def test_an_approval_says_by_whom_and_what_comes_next(world: World, deliver: Deliver) -> None:
    request = world.ask(minutes=90)
    world.decide(world.bob, request, comment="Fine by me.")
    world.decide(world.carol, request, comment="Only refunds.")
    [mail] = deliver("decided")
    assert mail.subject == "Approved: orders-db · read-write for 1 hour 30 minutes"
    mail.says(
        "Approved by Bob: “Fine by me.”",
        "Approved by Carol: “Only refunds.”",
        "It is being made at the target now.",
    )


def test_an_automatic_approval_names_its_rule(world: World, deliver: Deliver) -> None:
    world.ask(what=world.read)
    [mail] = deliver("decided")
    mail.says("The rule “all” approves it without a person.")


def test_a_denial_says_by_whom_why_and_what_to_do(world: World, deliver: Deliver) -> None:
    request = world.ask()
    world.decide(world.bob, request, "deny", comment="Use the replica.")
    [mail] = deliver("decided")
    assert mail.subject == "Denied: orders-db · read-write for 30 minutes"
    mail.says("was denied by Bob", "Bob said", "Use the replica.", "ask again")


def test_a_lapse_says_that_nobody_decided(world: World, deliver: Deliver, now: datetime) -> None:
    request = world.ask(now=now)
    later = now + timedelta(hours=1)
    escalation.advance(request.request_id, now=later)
    [mail] = deliver("decided", now=later)
    assert mail.subject.startswith("Lapsed: ")
    mail.says("nobody decided in time", "The level Manager stayed silent", "ask again")
    bob, erin = sorted(deliver("settled", now=later), key=lambda mail: mail.to)
    assert (bob.to, erin.to) == ("bob@example.com", "erin@example.com")
    bob.says("lapsed", "nothing for you to do any more")


def test_a_cancellation_tells_those_who_were_asked(world: World, deliver: Deliver) -> None:
    request = world.ask()
    requests.cancel(actor=world.alice, request_id=request.request_id, now=clock.now())
    [bob] = deliver("settled")
    bob.says("was cancelled by Alice", "There is nothing for you to do any more.")
    [alice] = deliver("decided")
    alice.says("Your request for orders-db · read-write was cancelled by you")


def test_a_completed_level_tells_the_others_of_it(
    world: World, deliver: Deliver, now: datetime
) -> None:
    request = world.ask(now=now)
    later = now + timedelta(seconds=61)
    escalation.advance(request.request_id, now=later)
    world.decide(world.bob, request, now=later, comment="Fine.")
    [mail] = deliver("level_done", now=later)
    assert mail.to == "erin@example.com"
    mail.says("Bob approved Alice's request", "Fine.", "next level, Data owners", "nothing")


def test_active_says_how_to_connect_and_when_it_ends(
    world: World, deliver: Deliver, noop: Noop
) -> None:
    active = world.active(minutes=30)
    assert active.ends_at is not None
    [mail] = deliver("active")
    ends = f"{active.ends_at:%H:%M} UTC"
    assert ends in mail.subject
    mail.says(
        "You have orders-db · read-write until",
        "in 30 minutes",
        "There is nothing to connect to.",
        f"{ends} it is taken away by itself",
    )


def test_active_tells_whoever_asked_for_another_without_how_to_connect(
    world: World, deliver: Deliver, noop: Noop
) -> None:
    request = world.ask(what=world.read, by=world.alice, subject=world.dan)
    handlers.work("provisioning")
    assert world.newest(request).state == "active"
    alice, dan = sorted(deliver("active"), key=lambda mail: mail.to)
    alice.says("Dan has orders-db · read until")
    assert "nothing to connect to" not in alice.text
    dan.says("You have orders-db · read until", "because Alice asked for it for you")


def test_ends_soon_says_what_to_do(world: World, deliver: Deliver, noop: Noop) -> None:
    active = world.active(minutes=60)
    assert active.ends_at is not None
    [item] = waiting("ends_soon")
    assert item.not_before == active.ends_at - timedelta(minutes=12)
    [mail] = deliver("ends_soon", now=item.not_before)
    mail.says("Ends soon · in 12 minutes", "Save your work", "ask again")


def test_ended_says_when_it_was_due_and_when_the_target_confirmed(
    world: World, deliver: Deliver, noop: Noop
) -> None:
    ended = world.ended(minutes=30)
    assert ended.removal_due_at is not None
    assert ended.removal_confirmed_at is not None
    [mail] = deliver("ended", now=ended.removal_confirmed_at)
    mail.says(
        "Your orders-db · read-write has ended",
        "Its time ran out",
        f"{ended.removal_due_at:%H:%M:%S} UTC",
        f"{ended.removal_confirmed_at:%H:%M:%S} UTC",
        "less than 0.1 seconds",
    )


def test_ended_early_says_by_whom_with_what_words_and_the_lag(
    world: World, deliver: Deliver, noop: Noop
) -> None:
    active = world.active()
    grants.end(
        actor=world.bob, request_id=active.request_id, now=clock.now(), comment="Incident over."
    )
    noop.control(before_seconds=0.2)
    handlers.work("provisioning")
    [mail] = deliver("ended")
    mail.says("Ended early by Bob", "Bob said", "Incident over.")
    lag = world.newest(active).removal_lag
    assert lag is not None
    mail.says(f"{lag.total_seconds():.1f} seconds")


def test_failed_tells_the_reason_to_requester_and_owner(
    world: World, deliver: Deliver, noop: Noop
) -> None:
    noop.control(fail="permanent")
    world.ask(what=world.read)
    handlers.work("provisioning")
    alice, carol = sorted(deliver("failed"), key=lambda mail: mail.to)
    assert (alice.to, carol.to) == ("alice@example.com", "carol@example.com")
    alice.says("could not be made", "The test refuses for good: end it.", "Carol, who owns")
    carol.says("Alice's orders-db · read could not be made", "let Alice ask again", "you own")


@pytest.fixture
def stuck(world: World, noop: Noop, settings: Any) -> AccessRequest:
    """A removal that the target refuses, long enough for the alarm."""
    settings.STUCK_AFTER = timedelta(0)
    active = world.active()
    noop.control(fail="transient")
    grants.end(actor=world.alice, request_id=active.request_id, now=clock.now())
    handlers.work("provisioning")
    return world.newest(active)


def test_stuck_tells_owner_and_operators_since_when_and_what_to_do(
    stuck: AccessRequest, deliver: Deliver
) -> None:
    assert stuck.removal_due_at is not None
    carol, admin = deliver("stuck", now=stuck.removal_due_at + timedelta(minutes=12))
    assert (carol.to, admin.to) == ("carol@example.com", "admin@example.com")
    admin.says(
        "Alice may still have orders-db · read-write",
        "for 12 minutes",
        "The test refuses for now.",
        "1 failed",
        "credentials",
        "remove the role at orders-db by hand",
        "You get this because you are an operator",
    )
    carol.says("because you own orders-db")


def test_every_kind_of_the_notices_has_its_letter() -> None:
    kinds = {
        "approval_needed", "reminder", "escalated", "moved_on", "decided", "settled",
        "level_done", "active", "ends_soon", "ended", "failed", "stuck",
    }  # fmt: skip
    assert set(letters.KINDS) == kinds


def test_links_lead_to_the_pages(world: World, deliver: Deliver) -> None:
    request = world.ask()
    [mail] = deliver("approval_needed")
    inbox = f"{reverse('inbox')}?request={request.request_id}"
    assert f"http://127.0.0.1:8000{inbox}" in mail.page.links
    world.decide(world.bob, request, "deny", comment="No.")
    [mail] = deliver("decided")
    assert f"http://127.0.0.1:8000{reverse('request', args=[request.request_id])}" in mail.text


# -- how it says it ----------------------------------------------------------------------------


def test_times_are_in_the_readers_timezone_with_its_name(world: World, deliver: Deliver) -> None:
    in_zone(world.bob, "Asia/Kolkata")
    request = world.ask()
    [mail] = deliver("approval_needed")
    assert request.due_at is not None
    local = request.due_at + timedelta(hours=5, minutes=30)
    mail.says(f"escalates at {local:%H:%M:%S} IST", "Times are in Asia/Kolkata.")


def test_a_day_that_is_not_today_is_named(world: World, deliver: Deliver, now: datetime) -> None:
    starts = now + timedelta(days=3)
    world.ask(what=world.read, starts_at=starts)
    [mail] = deliver("decided")
    mail.says(f"It starts at {starts:%a} {starts.day} {starts:%b} {starts:%H:%M} UTC.")


def test_what_people_write_is_inert_in_html_and_plain_in_text(
    world: World, deliver: Deliver
) -> None:
    world.alice.name = "Al <b>Ice</b>"
    world.alice.save()
    world.ask(reason=XSS, ticket="<i>1</i>")
    [mail] = deliver("approval_needed")
    assert '> <script>alert(1)</script> & "quotes"\n> <img src=x' in mail.text
    assert "&lt;" not in mail.text
    assert "Al <b>Ice</b> asks for" in mail.text
    assert not {"script", "img", "i"} & set(mail.page.tags)
    assert not mail.page.handlers
    mail.says("<script>alert(1)</script>", "Al <b>Ice</b> asks for", "<i>1</i>")


def test_no_text_has_junk(world: World, deliver: Deliver, noop: Noop) -> None:
    ended = world.ended(minutes=30)
    now = ended.removal_confirmed_at
    for kind in ("approval_needed", "decided", "settled", "ended"):
        for mail in deliver(kind, now=now):
            assert "\n\n\n" not in mail.text
            assert "{" not in mail.text
            assert not mail.text.startswith((" ", "\n"))
            long = [line for line in mail.text.splitlines() if len(line) > 76]
            assert all(line.startswith("http") for line in long), long


def test_a_reason_cannot_pass_as_the_portals_own_words(world: World, deliver: Deliver) -> None:
    world.ask(reason="Fine.\u2028Approved already.\r\n\u202eevil\x1b[2J\n-- \nRead and decide:")
    [mail] = deliver("approval_needed")
    lines = mail.text.splitlines()
    assert "> Approved already." in lines
    assert "> evil[2J" in lines
    assert lines.count("Read and decide:") == 1
    assert "\u202e" not in mail.html


def test_a_long_name_does_not_make_a_long_subject(world: World, deliver: Deliver) -> None:
    world.alice.name = "A\tlice " + "x" * 190
    world.alice.save()
    world.ask()
    [mail] = deliver("approval_needed")
    assert len(mail.subject) <= 120
    assert mail.subject.startswith("Decide: A lice xxx")


def test_the_message_id_is_the_keys_and_a_requests_mails_form_one_thread(
    world: World, deliver: Deliver, settings: Any
) -> None:
    settings.PORTAL_URL = "https://access.example.org"
    request = world.ask()
    [item] = waiting("approval_needed")
    [mail] = deliver("approval_needed")
    Notice.objects.get()
    assert mail.headers["Message-ID"] == notifications._message_id(item.payload["once_key"])
    assert mail.headers["Message-ID"].endswith("@access.example.org>")
    world.decide(world.bob, request, "deny", comment="No.")
    [other] = deliver("decided")
    assert other.headers["References"] == mail.headers["References"]
    assert other.headers["Message-ID"] != mail.headers["Message-ID"]
    assert "https://access.example.org/requests/" in other.text


# -- once, and only while it is true -----------------------------------------------------------


def test_a_notice_that_runs_twice_is_sent_once(
    world: World, mailoutbox: list[EmailMultiAlternatives]
) -> None:
    world.ask()
    [item] = waiting("approval_needed")
    notifications.send(item, clock.now())
    notifications.send(item, clock.now())
    assert len(mailoutbox) == 1
    assert Notice.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_workers_side_by_side_send_a_notice_once(world: World, settings: Any) -> None:
    world.ask()
    [item] = waiting("approval_needed")
    errors: list[BaseException] = []
    with mail_server(settings) as server:
        gate = threading.Barrier(8)

        def work() -> None:
            try:
                gate.wait()
                notifications.send(item, clock.now())
            except BaseException as error:
                errors.append(error)
            finally:
                connection.close()

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not errors
        assert len(server.mails) == 1
    assert Notice.objects.count() == 1


@contextmanager
def mail_server(settings: Any) -> Iterator[smtp.Server]:
    """Send mail over real SMTP to a server of the test's own."""
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    with smtp.running() as server:
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", server.port
        yield server


def test_a_recipient_whom_the_server_refuses_does_not_hold_up_the_others(
    world: World, settings: Any
) -> None:
    request = world.ask()
    world.decide(world.bob, request)
    with mail_server(settings) as server:
        server.refused.add("carol@example.com")
        handlers.work("notices")
        assert [mail["To"] for mail in server.mails] == ["dan@example.com"]
        [mail] = server.mails
        body = mail.get_body(("plain",))
        assert body is not None
        assert "Level 2 of 2" in body.get_content()
        assert mail["Auto-Submitted"] == "auto-generated"
        [left] = waiting("approval_needed")
        assert "550" in left.last_error
        assert left.not_before > clock.now() - timedelta(seconds=5)
        server.refused.clear()
        OutboxItem.objects.filter(pk=left.pk).update(not_before=clock.now())
        handlers.work("notices")
        assert len(server.to("carol@example.com")) == 1
    assert not waiting("approval_needed")


def test_a_dead_mail_server_raises_and_leaves_no_notice(world: World, settings: Any) -> None:
    world.ask()
    [item] = waiting("approval_needed")
    with mail_server(settings):
        pass
    with pytest.raises(DeliveryFailed, match="ConnectionRefused"):
        notifications.send(item, clock.now())
    assert not Notice.objects.exists()


def test_a_mail_that_no_server_takes_for_days_is_given_up(world: World, settings: Any) -> None:
    world.ask(what=world.read)
    [item] = waiting("decided")
    with mail_server(settings):
        pass
    item.first_failed_at = clock.now() - timedelta(days=3, seconds=1)
    notifications.send(item, clock.now())
    assert not Notice.objects.exists()


def test_no_mail_is_sent_inside_a_transaction(world: World) -> None:
    world.ask()
    [item] = waiting("approval_needed")
    with transaction.atomic(), pytest.raises(AssertionError, match="transaction"):
        notifications.send(item, clock.now())


@pytest.mark.parametrize("field", ["is_active", "email"])
def test_the_inactive_and_the_unreachable_get_nothing(
    world: World, deliver: Deliver, field: str
) -> None:
    world.ask(what=world.read)
    User.objects.filter(pk=world.alice.pk).update(**{field: False if field == "is_active" else ""})
    assert deliver("decided") == []
    assert not Notice.objects.exists()


def test_someone_who_does_not_exist_and_a_request_that_does_not_are_passed_over(
    world: World, deliver: Deliver
) -> None:
    world.ask()
    [item] = waiting("approval_needed")
    item.payload["recipient"] = 10**9
    notifications.send(item, clock.now())
    item.payload |= {"recipient": world.bob.pk, "request_id": str(uuid.uuid4())}
    notifications.send(item, clock.now())
    assert not Notice.objects.exists()


def test_a_settled_request_asks_nobody(world: World, deliver: Deliver) -> None:
    request = world.ask()
    world.decide(world.bob, request, "deny", comment="No.")
    assert deliver("approval_needed") == []
    assert told("approval_needed") == []


def test_someone_who_may_not_decide_any_more_is_not_asked(world: World, deliver: Deliver) -> None:
    request = world.ask()
    world.decide(world.bob, request)
    Membership.objects.get(person=world.dan).delete()
    directory.changed(keys=["g:data"], now=clock.now())
    assert "dan@example.com" not in [mail.to for mail in deliver("approval_needed")]
    assert told("approval_needed") == ["carol"]


def test_reminders_that_piled_up_are_one(world: World, deliver: Deliver, now: datetime) -> None:
    request = world.ask(now=now)
    world.decide(world.bob, request)
    with transaction.atomic():
        record = world.newest(request)
        view = chains.load(record, now=now)
        assert view is not None
        notices.remind(record, view, at=now, now=now)
        notices.remind(record, view, at=now + timedelta(seconds=20), now=now)
    assert len(deliver("reminder")) == 2  # carol and dan, once each
    assert sorted(told("reminder")) == ["carol", "dan"]


def test_an_escalation_that_a_decision_overtook_is_not_told(
    world: World, deliver: Deliver, now: datetime
) -> None:
    request = world.ask(now=now)
    later = now + timedelta(seconds=61)
    escalation.advance(request.request_id, now=later)
    world.decide(world.erin, request, now=later)
    assert deliver("moved_on", now=later) == []
    assert deliver("escalated", now=later) == []


def test_access_that_ended_is_neither_active_nor_ending_soon(
    world: World, deliver: Deliver, noop: Noop
) -> None:
    active = world.active()
    grants.end(actor=world.alice, request_id=active.request_id, now=clock.now())
    assert deliver("active") == []
    assert deliver("ends_soon") == []


def test_a_warning_after_the_end_is_not_sent(world: World, deliver: Deliver, noop: Noop) -> None:
    active = world.active()
    assert deliver("ends_soon", now=active.ends_at) == []


def test_a_removal_that_was_confirmed_meanwhile_alarms_nobody(
    stuck: AccessRequest, world: World, noop: Noop, deliver: Deliver
) -> None:
    noop.control()
    OutboxItem.objects.filter(topic="grant.withdraw").update(not_before=clock.now())
    handlers.work("provisioning")
    assert world.newest(stuck).state == "revoked"
    assert deliver("stuck") == []


def test_an_alarm_comes_once_however_often_the_removal_fails(
    stuck: AccessRequest, deliver: Deliver
) -> None:
    OutboxItem.objects.filter(topic="grant.withdraw").update(not_before=clock.now())
    handlers.work("provisioning")
    assert len(waiting("stuck")) == 4
    assert len(deliver("stuck")) == 2


def test_a_notice_costs_few_queries(world: World, mailoutbox: list[EmailMultiAlternatives]) -> None:
    world.ask()
    items = waiting("approval_needed")
    chains._pinned.cache_clear()
    with CaptureQueriesContext(connection) as queries:
        notifications.send(items[0], clock.now())
    assert len(mailoutbox) == 1
    assert len(queries) <= 14, [query["sql"][:80] for query in queries]
