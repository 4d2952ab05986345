"""The request's page: who sees it, what it says, what can be done there."""

import uuid
from datetime import timedelta

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from approvals import handlers
from approvals.domain.states import State
from approvals.models import AccessRequest, Notice
from approvals.selectors import clock
from approvals.services import escalation, grants
from tests.connectors.noop import Noop
from tests.world import World

XSS = "<script>alert(1)</script>\"'\u202e"


def _page(client: Client, record: AccessRequest) -> str:
    response = client.get(f"/requests/{record.request_id}/")
    assert response.status_code == 200
    return response.content.decode()


def _notice(record: AccessRequest, world: World, kind: str, *people: str) -> None:
    for name in people:
        person = getattr(world, name)
        Notice(
            request_id=record.request_id,
            kind=kind,
            channel="email",
            recipient=person,
            recipient_name=person.get_full_name(),
            address=person.email,
            subject_line="x",
            once_key=f"{kind}{name}",
            occurred_at=clock.now(),
        ).save()


def test_foreign_and_unknown_requests_are_not_found(client: Client, world: World) -> None:
    record = world.ask()
    client.force_login(world.mallory)
    for path in ("", "status/"):
        assert client.get(f"/requests/{record.request_id}/{path}").status_code == 404
        assert client.get(f"/requests/{uuid.uuid4()}/{path}").status_code == 404
    for path in ("cancel/", "end/"):
        assert client.post(f"/requests/{record.request_id}/{path}").status_code == 404
    assert client.get("/requests/not-a-uuid/").status_code == 404
    assert world.newest(record).revision == 1


@pytest.mark.parametrize("who", ["alice", "bob", "dora", "admin"])
def test_whom_it_concerns_sees_it(client: Client, world: World, who: str) -> None:
    client.force_login(getattr(world, who))
    assert "Reprocess stuck refunds." in _page(client, world.ask())


@pytest.mark.parametrize("path", ["cancel/", "end/"])
def test_changes_are_posted_only(client: Client, world: World, path: str) -> None:
    record = world.ask()
    client.force_login(world.alice)
    assert client.get(f"/requests/{record.request_id}/{path}").status_code == 405
    assert world.newest(record).revision == 1


@pytest.mark.parametrize("path", ["cancel/", "end/"])
def test_changes_need_the_forms_proof(world: World, path: str) -> None:
    client = Client(enforce_csrf_checks=True)
    record = world.ask()
    client.force_login(world.alice)
    response = client.post(f"/requests/{record.request_id}/{path}")
    assert response.status_code == 403
    assert "This form is out of date" in response.content.decode()
    assert world.newest(record).revision == 1


def test_while_pending_it_says_who_decides_and_who_is_next(client: Client, world: World) -> None:
    record = world.ask()
    client.force_login(world.alice)
    page = _page(client, record)
    assert "Who decides" in page
    assert "escalates in " in page
    assert "No answer: then Erin may decide too, lapses 1 m later." in page
    assert "Decide in the inbox" not in page
    assert "1 revision, none ever changed" in page


def test_whoever_may_decide_is_led_to_the_inbox(client: Client, world: World) -> None:
    record = world.ask()
    client.force_login(world.bob)
    assert f"/inbox/?request={record.request_id}" in _page(client, record)
    world.decide(world.bob, record)
    page = _page(client, record)
    assert "Decide in the inbox" not in page
    assert "you approved" in page


def test_the_history_says_who_for_whom_and_why(client: Client, world: World) -> None:
    record = world.ended(reason="Stuck refunds of the 23rd.")
    client.force_login(world.alice)
    page = _page(client, record)
    for words in (
        "<b>Requested</b> by Alice",
        "policy “orders-read-write” version 1, rule “eng”",
        "“<bdi>Stuck refunds of the 23rd.</bdi>”",
        "Bob approved",
        "for Manager (1 of 1)",
        "<b>Approved</b> by Carol",
        "for Data owners (1 of 1)",
        "“<bdi>Looked at it.</bdi>”",
        "<b>Active</b> until",
        "<b>Ending</b> because its time is up",
        "<b>Expired</b> and gone from the target",
        "6 revisions, none ever changed",
    ):
        assert words in page
    numbers = [page.index(f">#{number}<") for number in range(6, 0, -1)]
    assert numbers == sorted(numbers)


def test_silence_is_told_with_whom_it_moved_to(client: Client, world: World) -> None:
    record = world.ask()
    assert record.due_at is not None
    escalation.advance(record.request_id, now=record.due_at)
    client.force_login(world.alice)
    page = _page(client, record)
    assert "<b>Escalated</b> to Erin" in page
    assert "level 1, Manager, was silent for 1 m" in page
    escalation.advance(record.request_id, now=record.due_at + timedelta(minutes=5))
    page = _page(client, record)
    assert "<b>Lapsed</b> nobody decided in time" in page
    assert "data-polls" not in page


def test_the_removal_is_measured(client: Client, world: World) -> None:
    record = world.active()
    grants.end(actor=world.alice, request_id=record.request_id, now=clock.now())
    client.force_login(world.alice)
    page = _page(client, record)
    assert "the target has yet to confirm it" in page
    assert "not yet" in page
    handlers.work("provisioning")
    page = _page(client, record)
    final = world.newest(record)
    assert final.removal_due_at is not None
    assert f'due <time datetime="{final.removal_due_at.isoformat()}"' in page
    assert "· removed <time" in page
    assert "late</b>" in page
    assert "given back by Alice" in page


def test_failures_at_the_target_are_told_and_repeated_ones_once(
    client: Client, world: World, noop: Noop
) -> None:
    record = world.active()
    grants.end(actor=world.alice, request_id=record.request_id, now=clock.now())
    noop.control(fail="transient")
    handlers.work("provisioning")
    client.force_login(world.alice)
    page = _page(client, record)
    assert page.count("Removing the access failed") == 1
    assert "It is tried again until it succeeds." in page
    assert "The test refuses for now." in page


def test_a_failed_grant_says_why(client: Client, world: World, noop: Noop) -> None:
    record = world.approved()
    noop.control(fail="permanent")
    handlers.work("provisioning")
    client.force_login(world.alice)
    page = _page(client, record)
    assert "Making the access failed" in page
    assert "<b>Failed</b> the access was not made" in page
    assert "The test refuses for good" in page


def test_notices_are_told_in_short(client: Client, world: World) -> None:
    record = world.ask()
    _notice(record, world, "approval_needed", "bob")
    _notice(record, world, "settled", "carol", "dan", "erin")
    client.force_login(world.alice)
    page = _page(client, record)
    assert "E-mailed to Bob: please decide" in page
    assert "E-mailed to 3 people: it is settled" in page
    assert ">who</summary>Carol, Dan, Erin</details>" in page


def test_how_to_connect_is_for_the_subject_and_only_while_active(
    client: Client, world: World
) -> None:
    record = world.active()
    client.force_login(world.alice)
    page = _page(client, record)
    assert 'id="connect"' in page
    assert "There is nothing to connect to." in page
    client.force_login(world.bob)
    assert 'id="connect"' not in _page(client, record)
    grants.end(actor=world.alice, request_id=record.request_id, now=clock.now())
    client.force_login(world.alice)
    assert 'id="connect"' not in _page(client, record)


def test_the_manager_may_revoke_with_a_comment(client: Client, world: World) -> None:
    record = world.active()
    client.force_login(world.bob)
    assert "Revoke now" in _page(client, record)
    response = client.post(
        f"/requests/{record.request_id}/end/", {"comment": " Incident over. "}, follow=True
    )
    assert response.status_code == 200
    newest = world.newest(record)
    assert (newest.state, newest.end_reason, newest.comment) == (
        State.REVOKING, "revoked", "Incident over.",
    )  # fmt: skip
    assert "revoked by Bob" in response.content.decode()


def test_a_second_click_is_told_what_is(client: Client, world: World) -> None:
    record = world.active()
    client.force_login(world.alice)
    client.post(f"/requests/{record.request_id}/end/")
    response = client.post(f"/requests/{record.request_id}/end/")
    assert response.status_code == 409
    assert "This access is revoking, not active." in response.content.decode()


def test_those_who_only_look_may_not_cancel(client: Client, world: World) -> None:
    record = world.ask()
    client.force_login(world.dora)
    assert "Cancel request" not in _page(client, record)
    response = client.post(f"/requests/{record.request_id}/cancel/")
    assert response.status_code == 403
    assert "Only the requester, the subject or an operator" in response.content.decode()
    assert world.newest(record).state == State.PENDING


@pytest.mark.parametrize("comment", ["a\0b", "x" * 2_001])
def test_a_bad_comment_is_refused(client: Client, world: World, comment: str) -> None:
    record = world.active()
    client.force_login(world.bob)
    response = client.post(f"/requests/{record.request_id}/end/", {"comment": comment})
    assert response.status_code == 400
    assert world.newest(record).state == State.ACTIVE


def test_the_way_back_leads_nowhere_else(client: Client, world: World) -> None:
    record = world.ask()
    client.force_login(world.alice)
    response = client.post(
        f"/requests/{record.request_id}/cancel/", {"back": "https://evil.example", "next": "//evil"}
    )
    assert response["Location"] == f"/requests/{record.request_id}/"


def test_the_polled_part_answers_only_when_something_changed(client: Client, world: World) -> None:
    record = world.ask()
    client.force_login(world.alice)
    url = f"/requests/{record.request_id}/status/"
    seen = client.get(f"/requests/{record.request_id}/").context["seen"]
    assert f"{url}?seen={seen}" in _page(client, record)
    assert client.get(url, {"seen": seen}).status_code == 204
    _notice(record, world, "approval_needed", "bob")
    assert client.get(url, {"seen": seen}).status_code == 200
    world.decide(world.bob, record, "deny")
    page = client.get(url, {"seen": seen}).content.decode()
    assert page.lstrip().startswith('<div id="request"')
    assert "<html" not in page
    assert "data-polls" not in page


def test_free_text_is_shown_as_text(client: Client, world: World) -> None:
    record = world.ask(reason=XSS, ticket=XSS)
    world.decide(world.bob, record, "deny", comment=XSS)
    for person in (world.alice, world.bob, world.dora):
        client.force_login(person)
        page = _page(client, record)
        assert "<script>alert" not in page
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    client.force_login(world.alice)
    home = client.get("/").content.decode()
    assert "<script>alert" not in home
    assert "&lt;script&gt;" in home


@pytest.mark.parametrize("who", ["alice", "bob", "carol", "dora"])
@pytest.mark.parametrize("state", ["pending", "active", "ended"])
def test_it_costs_few_queries(
    client: Client,
    world: World,
    django_assert_max_num_queries: DjangoAssertNumQueries,
    who: str,
    state: str,
) -> None:
    record = {"pending": world.ask, "active": world.active, "ended": world.ended}[state]()
    if state == "pending" and who == "carol":
        world.decide(world.bob, record)
    client.force_login(getattr(world, who))
    with django_assert_max_num_queries(12):
        _page(client, record)
