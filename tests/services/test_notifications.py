"""Notices are sent once, to those who can be reached, and only while they are true."""

import threading
import uuid
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.core.mail import EmailMultiAlternatives
from django.db import connection, transaction
from django.db.models import QuerySet
from django.test.utils import CaptureQueriesContext

from approvals import handlers
from approvals.channels.email import DeliveryFailed
from approvals.models import AccessRequest, Membership, Notice, OutboxItem, User
from approvals.selectors import chains, clock
from approvals.services import directory, escalation, grants, notices, notifications
from tests import one_clock
from tests.connectors.noop import Noop
from tests.services.mails import Deliver, mail_server, waiting
from tests.world import World


def mailed() -> QuerySet[Notice]:
    return Notice.objects.filter(channel="email")


def told(kind: str) -> list[str]:
    return list(
        mailed().filter(kind=kind).order_by("id").values_list("recipient__username", flat=True)
    )


def test_the_message_id_is_the_keys_and_a_requests_mails_form_one_thread(
    world: World, deliver: Deliver, settings: Any
) -> None:
    settings.PORTAL_URL = "https://access.example.org"
    request = world.ask()
    [item] = waiting("approval_needed")
    [mail] = deliver("approval_needed")
    mailed().get()
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
    assert mailed().count() == 1


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
    assert mailed().count() == 1


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
    assert not mailed().exists()


def test_a_mail_that_no_server_takes_for_days_is_given_up(world: World, settings: Any) -> None:
    world.ask(what=world.read)
    [item] = waiting("decided")
    with mail_server(settings):
        pass
    item.first_failed_at = clock.now() - timedelta(days=3, seconds=1)
    notifications.send(item, clock.now())
    assert not mailed().exists()


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
    assert not mailed().exists()


def test_someone_who_does_not_exist_and_a_request_that_does_not_are_passed_over(
    world: World, deliver: Deliver
) -> None:
    world.ask()
    [item] = waiting("approval_needed")
    item.payload["recipient"] = 10**9
    notifications.send(item, clock.now())
    item.payload |= {"recipient": world.bob.pk, "request_id": str(uuid.uuid4())}
    notifications.send(item, clock.now())
    assert not mailed().exists()


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
    one_clock.settle()
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
    assert len(queries) <= 18, [query["sql"][:80] for query in queries]
