"""The page that ends everything of one person."""

import pytest
from django.test import Client

from approvals.models import AccessRequest
from tests.world import World


@pytest.fixture
def active(world: World) -> AccessRequest:
    return world.active()


def test_it_shows_first_what_would_end(client: Client, world: World, active: AccessRequest) -> None:
    client.force_login(world.dora)
    assert "End everything of one person" in client.get("/reports/").content.decode()
    page = client.get("/access/end/?person=alice").content.decode()
    assert active.reference in page
    assert world.newest(active).state == "active"
    assert "Nobody has the login name" in client.get("/access/end/?person=x%00").content.decode()


@pytest.mark.parametrize("confirm", ["", "bob", "yes"])
def test_it_ends_nothing_unless_confirmed(
    client: Client, world: World, active: AccessRequest, confirm: str
) -> None:
    client.force_login(world.admin)
    body = {"person": "alice", "reason": "Left her badge.", "confirm": confirm}
    answer = client.post("/access/end/", body)
    assert answer.status_code == 400
    assert "Left her badge." in answer.content.decode()
    assert world.newest(active).state == "active"


def test_it_ends_everything(client: Client, world: World, active: AccessRequest) -> None:
    client.force_login(world.admin)
    body = {"person": "alice@example.com", "reason": "Incident.", "confirm": "Alice"}
    answer = client.post("/access/end/", body, follow=True)
    assert "1 of Alice&#x27;s accesses are being removed" in answer.content.decode()
    assert world.newest(active).state == "revoking"
