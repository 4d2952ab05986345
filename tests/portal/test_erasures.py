"""The pages of an erasure: one asks, another sees what it takes and decides."""

import uuid

import pytest
from django.test import Client

from approvals.models import User
from approvals.services import erasure as asking
from audit.models import Erasure
from audit.selectors import clock
from audit.services import erasing
from tests.audit.sealer import new_signer, seal, sealer
from tests.world import World

FORM = {"login": "alice", "ground": "objection", "reference": "DSR-114"}


def asked(client: Client, world: World) -> str:
    client.force_login(world.dora)
    response = client.post("/audit/erasures/", FORM)
    assert response.status_code == 302
    address: str = response["Location"]
    return address


def test_what_it_takes_is_shown_before_it_is_decided(client: Client, world: World) -> None:
    world.ended()
    address = asked(client, world)
    page = client.get(address).content.decode()
    assert "Revisions of requests" in page
    assert "Erasure of Alice" in page
    assert "Approve and erase" not in page  # dora asked for it
    assert client.post(f"{address}decide/", {"verdict": "approve"}).status_code == 403
    client.force_login(world.admin)
    assert "Approve and erase" in client.get(address).content.decode()


def test_its_steps_are_found_in_the_audit_log(client: Client, world: World) -> None:
    address = asked(client, world)
    client.force_login(world.admin)
    client.post(f"{address}decide/", {"verdict": "refuse", "comment": "Must be kept."})
    client.force_login(world.dora)
    for search in ({"kind": "erasures"}, {"q": "alice", "kind": "erasures"}, {"q": "dora DSR-114"}):
        page = client.get("/audit/", search).content.decode()
        assert "Asked for the erasure</b> of Alice" in page, search
        assert f'href="{address}"' in page, search
    page = client.get("/audit/", {"q": "admin", "kind": "erasures"}).content.decode()
    assert "Refused the erasure</b> of Alice" in page
    assert "Must be kept." in page


def test_another_one_approves_and_she_is_signed_out(client: Client, world: World) -> None:
    world.ended()
    address, hers = asked(client, world), Client()
    hers.force_login(world.alice)
    assert hers.get("/").status_code == 200
    client.force_login(world.admin)
    response = client.post(f"{address}decide/", {"verdict": "approve"}, follow=True)
    assert "about to be carried out" in response.content.decode()
    assert hers.get("/").status_code == 302
    assert not User.objects.get(pk=world.alice.pk).is_active


def test_what_must_end_first_is_said_and_nothing_is_decided(client: Client, world: World) -> None:
    request = world.ask()
    address = asked(client, world)
    client.force_login(world.admin)
    assert request.reference in client.get(address).content.decode()
    response = client.post(f"{address}decide/", {"verdict": "approve"})
    assert response.status_code == 409
    assert request.reference in response.content.decode()
    assert [row.event for row in Erasure.objects.all()] == ["asked"]


def test_a_refusal_says_why(client: Client, world: World) -> None:
    address = asked(client, world)
    client.force_login(world.admin)
    assert client.post(f"{address}decide/", {"verdict": "refuse"}).status_code == 400
    page = client.post(
        f"{address}decide/", {"verdict": "refuse", "comment": "Must be kept."}, follow=True
    ).content.decode()
    assert "Must be kept." in page
    assert client.post(f"{address}decide/", {"verdict": "approve"}).status_code == 409


@pytest.mark.parametrize(
    "wrong",
    [{"login": "nobody"}, {"ground": "whim"}, {"reference": ""}, {"reference": "about Alice"},
     {"login": "a\0b"}, {"reference": "x" * 201}],
)  # fmt: skip
def test_a_wrong_form_is_shown_again(client: Client, world: World, wrong: dict[str, str]) -> None:
    client.force_login(world.dora)
    assert client.post("/audit/erasures/", FORM | wrong).status_code == 400
    assert not Erasure.objects.exists()


def test_nonsense_is_no_verdict(client: Client, world: World) -> None:
    address = asked(client, world)
    client.force_login(world.admin)
    assert client.post(f"{address}decide/", {"verdict": "maybe"}).status_code == 400
    assert client.get(f"/audit/erasures/{uuid.uuid4()}/").status_code == 404


@pytest.mark.django_db(transaction=True)
def test_pages_of_an_erased_person_open(client: Client, world: World) -> None:
    ended = world.ended(reason="Mine.")
    signer = new_signer()
    seal(signer)
    made = asking.ask(
        actor=world.dora, login="alice", ground="other", reference="D-1", now=clock.now()
    )
    asking.approve(actor=world.admin, erasure_id=made.erasure_id, comment="", now=clock.now())
    seal(signer)
    with sealer():
        assert erasing.carry_out(now=clock.now()) == 1
    client.force_login(world.admin)
    addresses = [
        "/audit/erasures/", f"/audit/erasures/{made.erasure_id}/", "/audit/",
        f"/requests/{ended.request_id}/", "/reports/", "/reports/who-had-access/",
        "/reports/approval-decisions/", "/inbox/decided/",
    ]  # fmt: skip
    for address in addresses:
        page = client.get(address)
        assert page.status_code == 200, address
        assert b"Alice" not in page.content, address
        assert b"Mine." not in page.content, address
    assert "not sealed yet" in client.get(f"/requests/{ended.request_id}/").content.decode()
