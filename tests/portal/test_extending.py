"""The page that asks for more time, and where an extension is shown."""

from datetime import timedelta

import pytest
from django.test import Client

from approvals import handlers
from approvals.models import AccessRequest, CurrentRequest
from approvals.selectors import clock
from tests.world import World


@pytest.fixture
def active(world: World) -> AccessRequest:
    request = world.ask(what=world.read, minutes=30, reason="Look at the refunds.")
    handlers.work("provisioning")
    return world.newest(request)


def signed_in(person: object) -> Client:
    client = Client()
    client.force_login(person)  # type: ignore[arg-type]
    return client


def test_the_button_leads_to_a_form_that_is_filled(world: World, active: AccessRequest) -> None:
    client = signed_in(world.alice)
    page = client.get(f"/requests/{active.request_id}/").content.decode()
    link = f"/requests/new/?extends={active.request_id}"
    assert f'href="{link}"' in page
    form = client.get(link)
    text = form.content.decode()
    assert form.status_code == 200
    assert "Look at the refunds." in text
    assert active.reference in text
    assert 'name="starts_at"' not in text
    assert 'id="subject"' not in text
    assert 'value="1800" data-clears="other" checked' in text


def test_sending_it_extends_and_both_pages_say_so(world: World, active: AccessRequest) -> None:
    client = signed_in(world.alice)
    sent = client.post(
        "/requests/new/",
        {"extends": str(active.request_id), "length": "3600", "reason": "Not done yet."},
    )
    row = CurrentRequest.objects.get(extends=active.request_id)
    assert (sent.status_code, sent["Location"]) == (302, f"/requests/{row.request_id}/")
    extension = world.newest(row.request_id)
    assert extension.duration == timedelta(hours=1)
    page = client.get(f"/requests/{active.request_id}/").content.decode()
    assert extension.reference in page
    assert 'id="extend"' not in page, "one is enough"
    card = client.get("/").content.decode()
    assert f'id="extend-{active.request_id}"' not in card, "one is enough"
    assert f'id="extension-{active.request_id}" href="/requests/{row.request_id}/"' in card
    assert active.reference in client.get(f"/requests/{row.request_id}/").content.decode()
    again = client.post(
        "/requests/new/",
        {"extends": str(active.request_id), "length": "3600", "reason": "Once more."},
    )
    assert again.status_code == 400
    assert "open request" in again.content.decode()


def test_what_goes_on_stands_after_what_it_goes_on_from(
    world: World, active: AccessRequest
) -> None:
    client = signed_in(world.alice)
    sent = client.post(
        "/requests/new/",
        {"extends": str(active.request_id), "length": "3600", "reason": "Once more."},
    )
    assert sent.status_code == 302
    first, second = client.get("/").context["cards"]
    assert (first.record.state, second.record.state) == ("active", "approved")
    page = client.get("/").content.decode()
    assert "Goes on from" in page
    assert "Waiting for the target" not in page


def test_for_somebody_else_s_access_it_is_the_same_subject(
    world: World, active: AccessRequest
) -> None:
    client = signed_in(world.bob)  # her manager sees it
    sent = client.post(
        "/requests/new/",
        {"extends": str(active.request_id), "length": "3600", "reason": "x", "subject": "bob"},
    )
    assert sent.status_code == 403, "the rule asks nobody, so only she may"
    assert signed_in(world.mallory).get(
        f"/requests/new/?extends={active.request_id}"
    ).status_code == 404  # fmt: skip
    assert client.get("/requests/new/?extends=nonsense").status_code == 404


def test_the_approver_sees_that_it_is_an_extension(world: World) -> None:
    first = world.active()
    world.ask(extends=first.request_id)
    page = signed_in(world.bob).get("/inbox/").content.decode()
    assert f"extension of {first.reference}" in page


def test_who_can_not_extend_sees_no_button(world: World, active: AccessRequest) -> None:
    page = signed_in(world.dora).get(f"/requests/{active.request_id}/").content.decode()
    assert 'id="extend"' not in page
    waiting = world.ask(what=world.write)
    page = signed_in(world.alice).get(f"/requests/{waiting.request_id}/").content.decode()
    assert 'id="extend"' not in page


def test_the_preview_shows_the_chain_of_extensions(world: World, active: AccessRequest) -> None:
    answer = signed_in(world.alice).post(
        "/requests/new/preview/", {"extends": str(active.request_id), "length": "3600"}
    )
    assert "Approved at once" in answer.content.decode()
    assert clock.now() < (active.ends_at or clock.now())
