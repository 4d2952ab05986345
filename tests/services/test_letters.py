"""What each notice says, in both its forms."""

from datetime import datetime, timedelta

from django.db import transaction
from django.urls import reverse

from approvals import handlers
from approvals.models import AccessRequest, Notice, User
from approvals.selectors import clock
from approvals.services import escalation, grants, letters, requests
from tests.connectors.noop import Noop
from tests.services.mails import Deliver, waiting
from tests.world import World

XSS = '<script>alert(1)</script> & "quotes"\n<img src=x onerror=alert(2)>'


def in_zone(person: User, name: str) -> None:
    person.timezone = name
    person.save()


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
    assert Notice.objects.get(channel="email").subject_line == mail.subject


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
    request = world.ask(by=world.dan, subject=world.alice)
    world.decide(world.bob, request)
    world.decide(world.carol, request)
    handlers.work("provisioning")
    assert world.newest(request).state == "active"
    alice, dan = sorted(deliver("active"), key=lambda mail: mail.to)
    dan.says("Alice has orders-db · read-write until")
    assert "nothing to connect to" not in dan.text
    alice.says("You have orders-db · read-write until", "because Dan asked for it for you")


def test_ends_soon_says_what_to_do(world: World, deliver: Deliver, noop: Noop) -> None:
    active = world.active(minutes=60)
    assert active.ends_at is not None
    [item] = waiting("ends_soon")
    assert item.not_before == active.ends_at - timedelta(minutes=6)
    [mail] = deliver("ends_soon", now=item.not_before)
    mail.says("Ends soon · in 6 minutes", "Save your work", "ask for more time")
    assert f"/requests/new/?extends={active.request_id}" in mail.text


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
        "leftover", "missing", "question", "answer",
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
