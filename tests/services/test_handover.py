"""What a target gives is shown to the subject, once, and to nobody else."""

import psycopg
import pytest
from django.test import Client

from approvals.connectors.protocol import Handover as Given
from approvals.domain.refusals import Invalid, NotFound, Settled
from approvals.models import Handover, PublicKey
from approvals.selectors import clock
from approvals.services import handover, ssh_keys
from jitportal.embedded import roles
from tests.conftest import as_role
from tests.world import World

SECRET = "correct-horse-battery"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEq0CQTf1d5WRvmrZ4qbZ6xsvUkwIM0pXRPDKS1SeD6p"


def given() -> list[Given]:
    return [
        Given(label="Password", text=SECRET),
        Given(label="Certificate", text="ssh-cert", once=False),
    ]


def test_a_secret_is_shown_once_and_the_rest_again(world: World) -> None:
    record = world.active()
    handover.keep(record.request_id, given(), now=clock.now())
    stored = Handover.objects.get(label="Password")
    assert SECRET.encode() not in bytes(stored.sealed)
    first = handover.take(actor=world.alice, request_id=record.request_id)
    assert [each.text for each in first] == [SECRET, "ssh-cert"]
    again = handover.take(actor=world.alice, request_id=record.request_id)
    assert [each.text for each in again] == ["ssh-cert"]


def test_nobody_but_the_subject_sees_it(world: World) -> None:
    record = world.active()
    handover.keep(record.request_id, given(), now=clock.now())
    for other in (world.bob, world.dora):
        with pytest.raises(NotFound):
            handover.take(actor=other, request_id=record.request_id)


def test_what_the_access_left_behind_is_cleared(world: World) -> None:
    record = world.ended()
    handover.keep(record.request_id, given(), now=clock.now())
    with pytest.raises(Settled):
        handover.take(actor=world.alice, request_id=record.request_id)
    assert handover.clear() == 2


def test_the_page_shows_it_and_is_not_kept_by_the_browser(world: World, client: Client) -> None:
    record = world.active()
    handover.keep(record.request_id, given(), now=clock.now())
    client.force_login(world.alice)
    page = client.get(f"/requests/{record.request_id}/").content.decode()
    assert "Show them now" in page
    assert SECRET not in page
    answer = client.post(f"/requests/{record.request_id}/credentials/")
    assert SECRET in answer.content.decode()
    assert "no-store" in answer["Cache-Control"]
    assert SECRET not in client.post(f"/requests/{record.request_id}/credentials/").content.decode()


def test_the_auditors_role_can_not_read_it(world: World) -> None:
    with as_role(roles.AUDITOR) as raw:
        raw.execute("SELECT request_id FROM approvals_handover")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            raw.execute("SELECT sealed FROM approvals_handover")


def test_a_public_key_is_kept_without_its_comment(world: World) -> None:
    key = ssh_keys.add(actor=world.alice, text=f"{KEY} alice@laptop\n")
    assert key.text == KEY
    assert key.fingerprint.startswith("SHA256:")
    assert ssh_keys.lines(world.alice.pk) == (KEY,)
    with pytest.raises(Invalid, match="in use"):
        ssh_keys.add(actor=world.bob, text=KEY)
    with pytest.raises(NotFound):
        ssh_keys.remove(actor=world.bob, key_id=key.pk)
    ssh_keys.remove(actor=world.alice, key_id=key.pk)
    assert not PublicKey.objects.exists()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "one line"),
        ("hello", "one line"),
        ("ssh-ed25519 AAAA", "no public SSH key"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl", "private key"),
        ("ssh-ed25519-cert-v01@openssh.com AAAA", "one line"),
        ("ssh-ed25519 " + "A" * 9000, "one line"),
    ],
)
def test_what_is_no_public_key_is_refused(world: World, text: str, says: str) -> None:
    with pytest.raises(Invalid, match=says):
        ssh_keys.add(actor=world.alice, text=text)
