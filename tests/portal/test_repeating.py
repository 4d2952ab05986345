"""Asking again: the form filled from a request that is over, and what is usual for it."""

import html
from datetime import timedelta

import pytest
from django.test import Client

from approvals.models import AccessRequest, Entitlement
from approvals.selectors import clock
from approvals.selectors import requests as reads
from approvals.services import requests
from tests.world import World


@pytest.fixture
def over(world: World) -> AccessRequest:
    """A request of alice that is over."""
    record = world.ask(minutes=45, reason="Reprocess <refunds>.", ticket="INC-7")
    requests.cancel(actor=world.alice, request_id=record.request_id, now=clock.now())
    return world.newest(record)


def test_a_request_that_is_over_leads_to_the_filled_form(
    client: Client, world: World, over: AccessRequest
) -> None:
    client.force_login(world.alice)
    link = f"/requests/new/?again={over.request_id}"
    assert link in client.get(f"/requests/{over.request_id}/").content.decode()
    page = client.get(link).content.decode()
    assert "Reprocess &lt;refunds&gt;." in page
    assert 'value="INC-7"' in page
    assert 'value="45 m"' in page
    assert f'name="entitlement" value="{world.write.pk}"' in page
    assert "Manager" in page  # the chain that it would take


def test_an_open_request_offers_no_repeat(client: Client, world: World) -> None:
    record = world.ask()
    client.force_login(world.alice)
    assert "?again=" not in client.get(f"/requests/{record.request_id}/").content.decode()


def test_requests_of_others_are_not_repeated(
    client: Client, world: World, over: AccessRequest
) -> None:
    for who in (world.mallory, world.bob, world.dora):
        client.force_login(who)
        assert client.get(f"/requests/new/?again={over.request_id}").status_code == 404
    client.force_login(world.alice)
    assert client.get("/requests/new/?again=nonsense").status_code == 404


def test_what_was_sent_for_somebody_is_for_them_again(client: Client, world: World) -> None:
    record = world.ask(by=world.dan, subject=world.alice)
    requests.cancel(actor=world.dan, request_id=record.request_id, now=clock.now())
    client.force_login(world.dan)
    page = client.get(f"/requests/new/?again={record.request_id}").content.decode()
    assert 'name="subject" value="alice"' in page


def test_a_link_fills_the_form_and_can_do_no_more(client: Client, world: World) -> None:
    client.force_login(world.alice)
    response = client.get(
        "/requests/new/",
        {
            "entitlement": str(world.write.pk), "duration": "2h", "csrfmiddlewaretoken": "x",
            "reason": "\"><script>alert(1)</script>", "ticket": "T" * 5_000, "extends": "",
        },
    )  # fmt: skip
    page = html.unescape(response.content.decode())
    assert response.status_code == 200
    assert "<script>alert" not in response.content.decode()
    assert f'name="ticket" value="{"T" * 100}" maxlength' in page
    assert 'value="7200" data-clears="other" checked' in page
    assert not AccessRequest.objects.exists()


def usual(world: World, what: Entitlement, rule: str = "eng", **more: bool) -> float | None:
    return reads.usual_seconds({what.pk: rule}, **more).get(what.pk)


def test_the_usual_time_is_that_of_people_in_90_days(client: Client, world: World) -> None:
    now = clock.now()
    assert usual(world, world.write) is None
    for days, seconds in ((95, 5), (3, 30), (2, 40), (1, 50)):
        at = now - timedelta(days=days)
        record = world.ask(now=at)
        world.decide(world.bob, record, now=at + timedelta(seconds=seconds - 3))
        world.decide(world.carol, record, now=at + timedelta(seconds=seconds))
        requests.cancel(actor=world.alice, request_id=record.request_id, now=at + timedelta(1))
    assert usual(world, world.write) == 40
    assert usual(world, world.write, "another rule") is None
    assert usual(world, world.write, extends=True) is None
    planned = world.ask(starts_at=now + timedelta(days=1), now=now - timedelta(hours=1))
    world.decide(world.bob, planned, now=now - timedelta(minutes=59, seconds=30))
    world.decide(world.carol, planned, now=now - timedelta(minutes=59))
    assert usual(world, world.write) == 40  # nobody hurries for a start that was wished
    requests.cancel(actor=world.alice, request_id=planned.request_id, now=now)
    world.ask(what=world.read)
    assert usual(world, world.read, "all") is None  # it asks nobody
    for person in (world.alice, world.dan):
        client.force_login(person)
        for path in ("/catalogue/", f"/requests/new/?entitlement={world.write.pk}"):
            assert "usually under a minute" in client.get(path).content.decode(), path
