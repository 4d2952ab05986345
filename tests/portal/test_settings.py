"""Settings: the timezone, and nothing that is the directory's."""

import pytest
from django.test import Client
from django.urls import reverse

from approvals.directory.models import PublicKey
from approvals.models import User
from tests.world import World


def test_times_are_shown_in_the_chosen_timezone(client: Client, world: World) -> None:
    client.force_login(world.alice)
    response = client.post("/settings/", {"timezone": "Asia/Tokyo"}, follow=True)
    page = response.content.decode()
    assert "Saved." in page
    assert "(Asia/Tokyo)" in page
    assert User.objects.get(pk=world.alice.pk).timezone == "Asia/Tokyo"
    history = User.history.filter(id=world.alice.pk).latest()
    assert history.history_change_reason == "Chosen on the settings page"
    assert " JST" in client.get(f"/requests/{world.ask().request_id}/").content.decode()


def test_it_can_be_taken_back(client: Client, world: World) -> None:
    client.force_login(world.alice)
    client.post("/settings/", {"timezone": "Asia/Tokyo"})
    client.post("/settings/", {"timezone": ""})
    assert User.objects.get(pk=world.alice.pk).timezone == ""


def test_a_timezone_that_is_none_is_refused(client: Client, world: World) -> None:
    client.force_login(world.alice)
    response = client.post("/settings/", {"timezone": "../../etc/passwd"})
    assert response.status_code == 400
    assert "Choose a timezone of the list." in response.content.decode()


def test_nothing_else_can_be_changed(client: Client, world: World) -> None:
    client.force_login(world.mallory)
    client.post(
        "/settings/",
        {"timezone": "UTC", "username": "admin", "manager": world.alice.pk, "is_active": "0"},
    )
    after = User.objects.get(pk=world.mallory.pk)
    assert (after.username, after.manager, after.is_active) == ("mallory", world.bob, True)


def test_it_shows_the_account_and_the_way_to_the_password(client: Client, world: World) -> None:
    client.force_login(world.alice)
    page = client.get("/settings/").content.decode()
    assert "alice@example.com" in page
    assert "/accounts/password/change/" in page
    assert 'action="/accounts/logout/"' in page


@pytest.mark.parametrize(
    ("pasted", "why"),
    [
        ("ssh-ed25519 AAAA<b> me & you", "This is no public SSH key."),
        ("  nonsense", "Paste one line such as"),
        ("", "Paste one line such as"),
    ],
)
def test_a_key_that_is_refused_is_still_there_with_why(
    client: Client, world: World, pasted: str, why: str
) -> None:
    client.force_login(world.alice)
    response = client.post(reverse("key_add"), {"text": pasted})
    assert response.status_code == 400
    assert response.context["key_text"] == pasted
    page = response.content.decode()
    shown = pasted.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    assert f">{shown}</textarea>" in page
    assert f'id="ssh-error" role="alert">{why}' in page
    assert "Use this browser’s" in page  # the rest of the settings is as ever
    assert not PublicKey.objects.exists()
    assert "note bad" not in client.get(reverse("settings")).content.decode()


def test_a_private_key_is_not_sent_back(client: Client, world: World) -> None:
    client.force_login(world.alice)
    secret = "-----BEGIN OPENSSH PRIVATE KEY----- b3BlbnNzaC1rZXk="
    page = client.post(reverse("key_add"), {"text": secret}).content.decode()
    assert "This is a private key." in page
    assert "b3BlbnNzaC1rZXk" not in page
