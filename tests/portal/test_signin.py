"""Signing in and out, passwords, and how guessing is slowed down."""

import re

import pytest
from django.core import mail
from django.core.cache import cache
from django.test import Client

from tests.world import World

PASSWORD = "correct horse battery"


@pytest.fixture(autouse=True)
def _no_attempts_left_over(db: None) -> None:
    cache.clear()


@pytest.fixture
def known(world: World) -> World:
    world.alice.set_password(PASSWORD)
    world.alice.save()
    return world


def _sign_in(client: Client, name: str, password: str, **more: str) -> int:
    response = client.post("/accounts/login/", {"login": name, "password": password} | more)
    return response.status_code


@pytest.mark.parametrize("name", ["alice", "ALICE", "alice@example.com"])
def test_login_name_and_address_open_the_portal(client: Client, known: World, name: str) -> None:
    response = client.post("/accounts/login/", {"login": name, "password": PASSWORD})
    assert response["Location"] == "/"
    assert "My access" in client.get("/").content.decode()


def test_the_page_looks_like_ours_and_offers_no_sign_up(client: Client, world: World) -> None:
    page = client.get("/accounts/login/").content.decode()
    assert "jitportal/portal.css" in page
    assert "signup" not in page
    assert "Who can sign in" not in page
    assert "Nobody signs up here" in client.get("/accounts/signup/").content.decode()


def test_the_demo_says_who_can_sign_in(
    client: Client, world: World, settings: pytest.FixtureRequest
) -> None:
    settings.DEMO = True  # type: ignore[attr-defined]
    page = client.get("/accounts/login/").content.decode()
    for name in ("alice", "bob", "carol", "erin", "dora", "admin", "password <code>demo</code>"):
        assert name in page


def test_a_wrong_password_and_an_unknown_name_are_told_alike(client: Client, known: World) -> None:
    pages = [
        client.post("/accounts/login/", {"login": name, "password": "wrong"}).content.decode()
        for name in ("alice", "nobody")
    ]
    notes = [re.findall(r'class="note bad"[^>]*>([^<]+)', page) for page in pages]
    assert notes[0] == notes[1]
    assert notes[0]


def test_guessing_is_slowed_down(client: Client, known: World) -> None:
    for _ in range(5):
        assert _sign_in(client, "alice", "wrong") == 200
    assert _sign_in(client, "alice", PASSWORD) in (200, 429)
    assert client.get("/").status_code == 302


def test_too_many_attempts_get_a_page_that_says_so(client: Client, known: World) -> None:
    codes = [_sign_in(client, f"name{number}", "wrong") for number in range(35)]
    assert codes[-1] == 429
    response = client.post("/accounts/login/", {"login": "x", "password": "y"})
    assert "Too many attempts" in response.content.decode()


@pytest.mark.parametrize(
    "target", ["//evil.example", "https://evil.example", "\\\\evil.example", "javascript:alert(1)"]
)
def test_signing_in_leads_nowhere_else(client: Client, known: World, target: str) -> None:
    response = client.post(
        "/accounts/login/", {"login": "alice", "password": PASSWORD, "next": target}
    )
    assert response["Location"] == "/"


def test_signing_in_leads_to_where_one_wanted(client: Client, known: World) -> None:
    page = client.get("/catalogue/?q=orders", follow=True)
    assert page.redirect_chain[0][0] == "/accounts/login/?next=/catalogue/%3Fq%3Dorders"
    response = client.post(
        "/accounts/login/",
        {"login": "alice", "password": PASSWORD, "next": "/catalogue/?q=orders"},
    )
    assert response["Location"] == "/catalogue/?q=orders"


def test_the_session_changes_at_sign_in_and_ends_at_sign_out(client: Client, known: World) -> None:
    session = client.session
    session["x"] = 1
    session.save()
    before = session.session_key
    _sign_in(client, "alice", PASSWORD)
    assert client.session.session_key != before
    assert client.get("/accounts/logout/").status_code == 200
    assert client.get("/").status_code == 200
    client.post("/accounts/logout/")
    assert client.get("/").status_code == 302


def test_a_leavers_session_is_over(client: Client, known: World) -> None:
    _sign_in(client, "alice", PASSWORD)
    known.alice.is_active = False
    known.alice.save()
    assert client.get("/").status_code == 302


def test_the_password_can_be_changed(client: Client, known: World) -> None:
    _sign_in(client, "alice", PASSWORD)
    fresh = "quite another sentence"
    response = client.post(
        "/accounts/password/change/",
        {"oldpassword": PASSWORD, "password1": fresh, "password2": "different"},
    )
    assert 'class="error"' in response.content.decode()
    client.post(
        "/accounts/password/change/",
        {"oldpassword": PASSWORD, "password1": fresh, "password2": fresh},
    )
    known.alice.refresh_from_db()
    assert known.alice.check_password(fresh)


def test_a_forgotten_password_is_replaced_by_mail(client: Client, known: World) -> None:
    for address in ("alice@example.com", "nobody@example.com"):
        response = client.post("/accounts/password/reset/", {"email": address}, follow=True)
        assert "Look at your mail" in response.content.decode()
    (letter,) = [m for m in mail.outbox if m.to == ["alice@example.com"]]
    link = re.search(r"https?://\S+(/accounts/password/reset/key/\S+)", str(letter.body))
    assert link is not None
    page = client.get(link[1], follow=True)
    assert "Choose a new password" in page.content.decode()
    fresh = "quite another sentence"
    response = client.post(
        page.request["PATH_INFO"], {"password1": fresh, "password2": fresh}, follow=True
    )
    assert "Your password is changed" in response.content.decode()
    known.alice.refresh_from_db()
    assert known.alice.check_password(fresh)
    assert "This link is used up" in Client().get(link[1], follow=True).content.decode()


def test_mails_of_sign_in_look_like_ours_and_invite_nobody(client: Client, known: World) -> None:
    said = {
        "alice@example.com": ("Choose a new password for jitportal", "Your sign-in name is"),
        "nobody@example.com": ("No account at jitportal has this address", "nobody@example.com"),
    }
    for address in said:
        client.post("/accounts/password/reset/", {"email": address})
    assert [letter.to for letter in mail.outbox] == [[address] for address in said]
    for letter in mail.outbox:
        subject, words = said[letter.to[0]]
        assert letter.subject == subject
        assert isinstance(letter, mail.EmailMultiAlternatives)
        (html,) = (str(form[0]) for form in letter.alternatives)
        assert 'class="card"' in html
        assert f"<title>{subject}</title>" in html
        for text in (str(letter.body), html):
            assert words in text
            assert "jitportal" in text
            assert "signup" not in text
            assert "Thank you" not in text
    link = re.search(r"https?://\S+/key/\S+", str(mail.outbox[0].body))
    assert link is not None
    letter = mail.outbox[0]
    assert isinstance(letter, mail.EmailMultiAlternatives)
    assert f'href="{link[0]}"' in str(letter.alternatives[0][0])


@pytest.mark.parametrize(
    "path",
    [
        "/accounts/login/", "/accounts/logout/", "/accounts/signup/", "/accounts/inactive/",
        "/accounts/password/reset/", "/accounts/password/reset/done/",
        "/accounts/password/change/", "/accounts/reauthenticate/", "/accounts/confirm-email/",
        "/accounts/password/reset/key/done/",
    ],
)  # fmt: skip
@pytest.mark.parametrize("signed_in", [True, False])
def test_no_page_brings_inline_scripts_or_styles(
    client: Client, known: World, path: str, signed_in: bool
) -> None:
    if signed_in:
        client.force_login(known.alice)
    response = client.get(path, follow=True)
    page = response.content.decode()
    assert response.status_code == 200
    assert not re.search(r"<script(?![^>]*\ssrc=)", page)
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=", page)
