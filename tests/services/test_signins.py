"""Sign-ins, failures and sign-outs as records."""

import json
from typing import Any

import pytest
from django.contrib.auth import authenticate
from django.contrib.auth.signals import user_login_failed
from django.core.cache import cache
from django.db import connection
from django.test import Client

from approvals.models import SignIn, User
from approvals.selectors import clock
from approvals.services import signins
from audit.domain import entries
from audit.models import Entry, MutationBlocked
from tests.world import World

PASSWORD = "correct horse battery"
AGENT = "Mozilla/5.0 (X11)"


@pytest.fixture(autouse=True)
def _no_attempts_left_over(db: None) -> None:
    cache.clear()


@pytest.fixture
def known(world: World) -> World:
    world.alice.set_password(PASSWORD)
    world.alice.save()
    return world


def _sign_in(login: str, password: str = PASSWORD) -> Client:
    client = Client(REMOTE_ADDR="203.0.113.7", HTTP_USER_AGENT=AGENT)
    client.post("/accounts/login/", {"login": login, "password": password})
    return client


def _entry(row: SignIn) -> entries.Entry:
    found = Entry.objects.get(model="sign_in", object_id=str(row.uid))
    assert found.record_id == row.pk
    return entries.read(bytes(found.data))


@pytest.mark.parametrize("login", ["alice", "ALICE", "alice@example.com"])
def test_a_sign_in_is_recorded(known: World, login: str) -> None:
    _sign_in(login)
    row = SignIn.objects.get()
    assert (row.what, row.person_id, row.person_name) == ("signed_in", known.alice.pk, "Alice")
    assert (row.method, row.address, row.agent) == ("password", "203.0.113.7", AGENT)
    said = _entry(row)
    assert (said.op, said.rev, said.prev, said.actor) == (
        "signed_in", 1, "", str(known.alice.uid),
    )  # fmt: skip
    assert {"person_id", "person_name", "what", "method", "address", "agent"} <= said.fields.keys()


def test_a_sign_out_is_recorded(known: World) -> None:
    _sign_in("alice").post("/accounts/logout/")
    assert [row.what for row in SignIn.objects.order_by("id")] == ["signed_in", "signed_out"]
    assert {row.person_id for row in SignIn.objects.all()} == {known.alice.pk}
    Client().post("/accounts/logout/")
    assert SignIn.objects.count() == 2


@pytest.mark.parametrize("login", ["alice", "ALICE@example.com"])
def test_a_failure_names_whose_login_it_was(known: World, login: str) -> None:
    _sign_in(login, "wrong")
    row = SignIn.objects.get()
    assert (row.what, row.person_id) == ("failed", known.alice.pk)
    assert _entry(row).actor == entries.SYSTEM  # nobody has proved to be alice


def test_the_failure_of_one_who_left_names_them(known: World) -> None:
    known.alice.is_active = False
    known.alice.save()
    _sign_in("alice")
    row = SignIn.objects.get()
    assert (row.what, row.person_id) == ("failed", known.alice.pk)


@pytest.mark.parametrize("typed", ["hunter2-typed-as-a-name", "no.body@example.org"])
def test_what_was_typed_is_nowhere(known: World, typed: str) -> None:
    _sign_in(typed, "secret-of-mine")
    row = SignIn.objects.get()
    assert (row.what, row.person_id, row.person_name) == ("failed", None, "")
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_jsonb(s)::text FROM approvals_signin s")
        held = cursor.fetchone()[0]
    data = bytes(Entry.objects.get(model="sign_in").data).decode()
    for text in (typed, "secret-of-mine"):
        assert text not in held + data
    _sign_in("alice", "secret-of-mine")
    assert "secret-of-mine" not in json.dumps(
        [list(values) for values in SignIn.objects.values_list()], default=str
    )


def test_a_failure_outside_a_page_is_recorded_too(known: World) -> None:
    assert authenticate(None, username="alice", password="wrong") is None
    user_login_failed.send(sender=__name__, credentials={"username": "a\0b"}, request=None)
    assert [(r.what, r.address) for r in SignIn.objects.all()] == [("failed", "")] * 2


@pytest.mark.parametrize(
    ("address", "kept"),
    [
        ("2001:DB8::0:1", "2001:db8::1"), ("203.0.113.7", "203.0.113.7"), ("unix:", ""),
        ("<script>", ""), ("", ""),
    ],
)  # fmt: skip
def test_only_addresses_are_kept_as_addresses(world: World, address: str, kept: str) -> None:
    assert _record(world.alice, address=address).address == kept


def test_a_browsers_own_words_are_cut_and_cleaned(world: World) -> None:
    assert _record(world.alice, agent="x" * 999).agent == "x" * 300
    assert _record(world.alice, agent="a\0b\r\nc\ud800d\u202e").agent == "abcd"


def _record(person: User, *, address: str = "", agent: str = "") -> SignIn:
    return signins.record(
        what=SignIn.What.SIGNED_IN, person=person, method="password", address=address,
        agent=agent, now=clock.now(),
    )  # fmt: skip


def test_without_its_record_nobody_signs_in(known: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: Any) -> None:
        raise RuntimeError("the database is full")

    monkeypatch.setattr(signins, "record", fail)
    client = Client(raise_request_exception=False)
    response = client.post("/accounts/login/", {"login": "alice", "password": PASSWORD})
    assert response.status_code == 500
    assert client.get("/")["Location"].startswith("/accounts/login/")


def test_a_record_is_never_changed(world: World) -> None:
    row = _record(world.alice)
    row.agent = "another"
    with pytest.raises(MutationBlocked):
        row.save()
    with pytest.raises(MutationBlocked):
        SignIn.objects.update(agent="another")
