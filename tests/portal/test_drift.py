"""The page of what targets hold beside what was granted."""

import pytest
from django.test import Client

from approvals import handlers
from approvals.connectors.protocol import GrantSpec
from approvals.models import Finding, Observation, Resource
from approvals.selectors import clock
from approvals.selectors import drift as reads
from approvals.services import reconciliation
from tests.connectors.moments import now
from tests.connectors.noop import Noop
from tests.world import World

PAGE = "/access/drift/"

pytestmark = pytest.mark.usefixtures("at_once")


def make(noop: Noop, login: str, entitlement: str) -> None:
    noop.grant(
        GrantSpec(
            now=now(), request_id="by-hand", subject_login=login, subject_email="", resource="orders-db",
            entitlement=entitlement, resource_settings={}, entitlement_settings={},
        )
    )  # fmt: skip


def look(world: World, times: int = 2) -> None:
    for _ in range(times):
        reconciliation.observe(resource_id=world.resource.pk)


def read(client: Client, query: str = "") -> str:
    return client.get(PAGE + query).content.decode()


def test_before_anything_differs_it_teaches(client: Client, world: World) -> None:
    client.force_login(world.dora)
    assert "not looked at yet" in read(client)
    look(world)
    page = read(client)
    assert "as granted" in page
    assert "Every target holds what was granted." in page
    assert "removed again" in page
    Resource.objects.update(is_retired=True)
    assert "There is no target yet." in read(client)


def test_it_shows_who_holds_what_since_when_and_what_is_done(
    client: Client, world: World, noop: Noop
) -> None:
    client.force_login(world.admin)
    request = world.ended()
    make(noop, "alice", "read-write")
    make(noop, "<b>bot", "owner")
    look(world, 1)
    assert "&lt;b&gt;bot" not in read(client), "one look is not enough"
    look(world, 1)
    page = read(client)
    assert "Ended in the portal, and still or again at the target" in page
    assert request.reference in page
    assert "Being removed again" in page
    assert "1 left over, 1 unknown name" in page
    assert "&lt;b&gt;bot" in page
    assert "Alice" in page
    handlers.work("provisioning")
    look(world, 1)
    assert request.reference not in read(client)
    assert "Repaired" in read(client, "?over=1")
    assert "removed again" in client.get(f"/requests/{request.request_id}/").content.decode()


def test_it_is_narrowed_by_resource_and_kind(client: Client, world: World, noop: Noop) -> None:
    client.force_login(world.dora)
    make(noop, "dan", "read")
    make(noop, "the-bot", "owner")
    look(world)
    assert "the-bot" not in read(client, "?kind=standing")
    assert "Dan" in read(client, "?kind=standing&resource=orders-db")
    nothing = read(client, "?resource=elsewhere%00")
    assert "Nothing of that kind." in nothing
    assert "the-bot" not in nothing
    assert "Nothing of that kind." in read(client, "?kind=<x>")


def test_a_target_that_can_not_be_observed_says_why(
    client: Client, world: World, noop: Noop
) -> None:
    client.force_login(world.dora)
    look(world)
    Observation.objects.update(error="It keeps no list of sessions.", permanent=True)
    page = read(client)
    assert "can’t be observed" in page
    assert "It keeps no list of sessions." in page
    noop.control(fail="transient")
    look(world)
    page = read(client)
    assert "no answer" in page
    assert "It last answered" in page


def test_operators_have_it_looked_at_now(client: Client, world: World) -> None:
    look(world)
    assert reads.due(now=clock.now()) == {}
    client.force_login(world.dora)
    assert "Look now" not in read(client)
    address = f"{PAGE}look/{world.resource.pk}/"
    assert client.post(address).status_code == 403
    assert reads.due(now=clock.now()) == {}
    client.force_login(world.admin)
    assert "Look now" in read(client)
    assert "as soon as a worker is free" in client.post(address, follow=True).content.decode()
    assert [*reads.due(now=clock.now())] == [world.resource.pk]


def test_why_a_standing_access_stays_is_said_once(client: Client, world: World, noop: Noop) -> None:
    make(noop, "dan", "read")
    look(world)
    [row] = Finding.objects.all()
    address = f"{PAGE}keep/{row.pk}/"
    client.force_login(world.carol)
    assert client.post(address, {"reason": "x"}).status_code == 403
    client.force_login(world.dora)
    refused = client.post(address, {"reason": " ", "kind": "standing"})
    assert refused.status_code == 400
    assert "Say why it may stay" in refused.content.decode()
    sent = {"reason": "He runs it <at night>.", "kind": "standing", "resource": "orders-db"}
    answer = client.post(address, sent)
    wanted = f"{PAGE}?resource=orders-db&kind=standing#finding-{row.pk}"
    assert answer["Location"] == wanted
    page = read(client)
    assert "Kept by Dora" in page
    assert "He runs it &lt;at night&gt;." in page
    assert "Say why it stays" not in page
