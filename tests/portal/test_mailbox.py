"""The demo's page with the mail that was sent, and the folder that it comes from."""

from pathlib import Path
from typing import Any

import pytest
from django.core.mail import EmailMultiAlternatives, get_connection
from django.test import Client
from django.urls import reverse

from approvals import handlers
from approvals.selectors import demo_mail
from tests.world import World

BACKEND = "approvals.channels.demo_backend.FolderBackend"


@pytest.fixture
def folder(tmp_path: Path, settings: Any) -> Path:
    """A demo whose mail goes into a folder."""
    settings.DEMO = True
    settings.DEMO_MAIL_DIR = str(tmp_path / "mail")
    settings.EMAIL_BACKEND = BACKEND
    return tmp_path / "mail"


def sent(folder: Path) -> list[demo_mail.Mail]:
    return demo_mail.newest(folder)[0]


def test_a_mail_is_kept_whole_and_read_back(folder: Path) -> None:
    mail = EmailMultiAlternatives(
        "Grüße · an „Bob“", "Zeile 1\nZeile 2 · ü\n", to=["bob@example.com"]
    )
    mail.attach_alternative("<p>ü</p>", "text/html")
    assert get_connection().send_messages([mail, mail]) == 2
    [first, second] = sent(folder)
    assert first.name > second.name
    assert (first.subject, first.to) == ("Grüße · an „Bob“", "bob@example.com")
    assert first.text.splitlines() == ["Zeile 1", "Zeile 2 · ü"]
    assert first.html.strip() == "<p>ü</p>"
    assert sorted(path.suffix for path in folder.iterdir()) == [".eml", ".eml"]


def test_the_page_lists_what_was_sent_newest_first(
    world: World, client: Client, folder: Path
) -> None:
    request = world.ask()
    handlers.work("notices")
    world.decide(world.bob, request)
    handlers.work("notices")
    client.force_login(world.alice)
    page = client.get(reverse("demo_mail"))
    assert page.status_code == 200
    subjects = [mail.to for mail in page.context["mails"]]
    assert subjects == ["dan@example.com", "carol@example.com", "bob@example.com"]
    assert b"Decide: Alice asks for orders-db" in page.content
    only = client.get(reverse("demo_mail"), {"to": "bob@example.com"})
    assert [mail.to for mail in only.context["mails"]] == ["bob@example.com"]
    assert only.context["people"] == ["bob@example.com", "carol@example.com", "dan@example.com"]
    none = client.get(reverse("demo_mail"), {"to": "<b>@example.com"})
    assert none.context["mails"] == []
    assert b"<b>@" not in none.content


def test_an_empty_folder_is_no_error(world: World, client: Client, folder: Path) -> None:
    client.force_login(world.alice)
    assert b"No mail yet" in client.get(reverse("demo_mail")).content


def test_a_mail_is_shown_in_both_forms(world: World, client: Client, folder: Path) -> None:
    world.ask(reason="<script>alert(1)</script>")
    handlers.work("notices")
    [mail] = sent(folder)
    client.force_login(world.alice)
    page = client.get(reverse("demo_message", args=[mail.name]))
    assert page.status_code == 200
    assert b"<script>alert" not in page.content
    assert b"&gt; &lt;script&gt;alert(1)" in page.content
    assert b'src="?form=html"' in page.content
    assert "frame-src 'self'" in page["Content-Security-Policy"]
    assert "script-src 'self'" in page["Content-Security-Policy"]


def test_the_html_form_is_served_into_a_sandbox(world: World, client: Client, folder: Path) -> None:
    world.ask()
    handlers.work("notices")
    [mail] = sent(folder)
    client.force_login(world.alice)
    page = client.get(reverse("demo_message", args=[mail.name]), {"form": "html"})
    assert page.content.decode().splitlines() == mail.html.splitlines()
    policy = dict(
        part.strip().partition(" ")[::2] for part in page["Content-Security-Policy"].split(";")
    )
    assert policy == {
        "sandbox": "allow-popups allow-popups-to-escape-sandbox",
        "default-src": "'none'",
        "style-src": "'unsafe-inline'",
        "form-action": "'none'",
        "base-uri": "'none'",
        "frame-ancestors": "'self'",
    }
    assert page["X-Frame-Options"] == "SAMEORIGIN"


@pytest.mark.parametrize(
    "name",
    [
        "..",
        "....",
        "..%2f..%2fsecret",
        "secret",
        ".env",
        "x" * 5000,
        "\0",
        "0" * 20 + "-" + "0" * 8,
    ],
)
def test_no_other_file_is_read(world: World, client: Client, folder: Path, name: str) -> None:
    folder.mkdir()
    (folder / "secret.eml").write_text("Subject: secret\n\nsecret")
    (folder.parent / "secret.eml").write_text("Subject: secret\n\nsecret")
    client.force_login(world.alice)
    for form in ("", "?form=html"):
        answer = client.get(reverse("demo_mail") + f"{name}/{form}")
        assert answer.status_code == 404
        assert b"Subject: secret" not in answer.content
    assert sent(folder) == []
    assert demo_mail.one(folder, name=name) is None
    assert demo_mail.one(folder, name=f"../mail/{'0' * 20}-{'0' * 8}") is None


def test_who_is_not_signed_in_is_sent_to_sign_in(client: Client, folder: Path, db: None) -> None:
    answer = client.get(reverse("demo_mail"))
    assert (answer.status_code, answer["Location"].split("?")[0]) == (302, reverse("account_login"))
    answer = client.get(reverse("demo_message", args=["0" * 20 + "-" + "0" * 8]))
    assert answer.status_code == 302


@pytest.mark.parametrize("change", [{"DEMO": False}, {"DEMO_MAIL_DIR": ""}])
def test_there_is_no_such_page_outside_a_demo(
    world: World, client: Client, folder: Path, settings: Any, change: dict[str, Any]
) -> None:
    for name, value in change.items():
        setattr(settings, name, value)
    assert client.get(reverse("demo_mail")).status_code == 404
    client.force_login(world.admin)
    assert client.get(reverse("demo_mail")).status_code == 404
    name = "0" * 20 + "-" + "0" * 8
    assert client.get(reverse("demo_message", args=[name])).status_code == 404


def test_it_only_reads(world: World, client: Client, folder: Path) -> None:
    client.force_login(world.alice)
    assert client.post(reverse("demo_mail")).status_code == 405
