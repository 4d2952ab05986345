"""My access: cards, the table, its pages, and what it costs."""

from datetime import timedelta

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from approvals.domain.states import State
from approvals.selectors import clock
from approvals.services import grants, requests
from tests.world import World

AT_MOST = 12


def test_it_is_only_for_the_signed_in(client: Client, world: World) -> None:
    response = client.get("/")
    assert response.status_code == 302
    assert response["Location"] == "/accounts/login/?next=/"


def test_an_empty_page_teaches_what_to_do(client: Client, world: World) -> None:
    client.force_login(world.mallory)
    page = client.get("/").content.decode()
    assert "You hold no access now." in page
    assert "You have asked for nothing yet." in page
    assert 'href="/catalogue/"' in page


def test_active_access_says_when_it_ends_and_can_be_given_back(
    client: Client, world: World
) -> None:
    record = world.active(minutes=60)
    client.force_login(world.alice)
    page = client.get("/").content.decode()
    assert '<span class="state active">Active</span>' in page
    assert "left of 1 h · ends" in page
    assert f"/requests/{record.request_id}/#connect" in page
    response = client.post(
        f"/requests/{record.request_id}/end/", {"back": "my_access"}, follow=True
    )
    assert response.redirect_chain == [("/", 302)]
    assert world.newest(record).state == State.REVOKING
    page = response.content.decode()
    assert "Being removed since" in page
    assert "it is gone once the target confirms it" in page


def test_approved_access_says_what_it_waits_for_and_can_be_cancelled(
    client: Client, world: World
) -> None:
    record = world.approved(starts_at=clock.now() + timedelta(hours=3))
    client.force_login(world.alice)
    page = client.get("/").content.decode()
    assert "<b>Starts " in page
    client.post(f"/requests/{record.request_id}/cancel/", {"back": "my_access"})
    assert world.newest(record).state == State.CANCELLED


def test_approved_access_without_a_start_waits_for_the_target(client: Client, world: World) -> None:
    world.approved()
    client.force_login(world.alice)
    assert "Waiting for the target" in client.get("/").content.decode()


def test_a_pending_request_says_whom_it_waits_for_and_what_the_clock_does(
    client: Client, world: World
) -> None:
    record = world.ask()
    client.force_login(world.alice)
    page = client.get("/").content.decode()
    assert "Level 1 of 2 · Manager · Bob" in page
    assert "escalates in " in page
    world.decide(world.bob, record)
    page = client.get("/").content.decode()
    assert "Level 2 of 2 · Data owners · Carol, Dan" in page


def test_a_denial_comes_with_its_reason(client: Client, world: World) -> None:
    world.decide(world.bob, world.ask(), "deny", comment="Use the masked view.")
    client.force_login(world.alice)
    page = client.get("/").content.decode()
    assert "Denied by Bob: “<bdi>Use the masked view.</bdi>”" in page


def test_what_was_asked_for_others_names_them(client: Client, world: World) -> None:
    world.ask(by=world.bob, subject=world.alice)
    client.force_login(world.bob)
    assert "for Alice" in client.get("/").content.decode()
    client.force_login(world.alice)
    assert "asked by Bob" in client.get("/").content.decode()


def test_other_peoples_requests_are_not_listed(client: Client, world: World) -> None:
    record = world.ask()
    client.force_login(world.mallory)
    assert str(record.request_id) not in client.get("/").content.decode()


def test_pages_follow_each_other_without_gaps(client: Client, world: World) -> None:
    made = []
    for _ in range(30):
        record = world.ask()
        requests.cancel(actor=world.alice, request_id=record.request_id, now=clock.now())
        made.append(str(record.request_id))
    client.force_login(world.alice)
    first = client.get("/")
    second = client.get("/", {"before": first.context["older"]})
    seen = [str(row.record.request_id) for page in (first, second) for row in page.context["rows"]]
    assert seen == made[::-1]
    assert second.context["older"] == ""
    assert "data-polls" not in second.content.decode()


@pytest.mark.parametrize("cursor", ["x", "2026-01-01~x", "~", "2026-01-01T00:00~" + "0" * 32])
def test_a_broken_cursor_is_refused(client: Client, world: World, cursor: str) -> None:
    client.force_login(world.alice)
    response = client.get("/", {"before": cursor})
    assert response.status_code == 400
    assert "Start from the first page" in response.content.decode()


def test_htmx_gets_only_what_changed(client: Client, world: World) -> None:
    record = world.ask()
    client.force_login(world.alice)
    seen = client.get("/").context["seen"]
    headers = {"HX-Request": "true"}
    assert client.get("/", {"seen": seen}, headers=headers).status_code == 204
    world.decide(world.bob, record)
    response = client.get("/", {"seen": seen}, headers=headers)
    assert response.status_code == 200
    assert response.content.decode().lstrip().startswith('<div id="live"')
    assert "<html" not in response.content.decode()


def test_it_stops_asking_when_nothing_can_change(client: Client, world: World) -> None:
    world.decide(world.bob, world.ask(), "deny")
    client.force_login(world.alice)
    assert "data-polls" not in client.get("/").content.decode()


def test_it_costs_the_same_however_much_there_is(
    client: Client, world: World, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for what in (world.read, world.own):
        world.ask(what=what, ticket="T-1")
    record = world.active()
    grants.end(actor=world.alice, request_id=record.request_id, now=clock.now())
    client.force_login(world.alice)
    with django_assert_max_num_queries(AT_MOST) as few:
        client.get("/")
    for _ in range(5):
        again = world.ask(what=world.own, by=world.dan, subject=world.dan, ticket="T-1")
        requests.cancel(actor=world.dan, request_id=again.request_id, now=clock.now())
    client.force_login(world.dan)
    with django_assert_max_num_queries(AT_MOST) as many:
        client.get("/")
    assert len(many) <= len(few)
