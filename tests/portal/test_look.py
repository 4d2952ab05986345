"""The look: a theme and single keys that stay chosen, signed in or not, and light over the wire."""

import gzip
import re
from pathlib import Path

import pytest
from django.contrib.messages import constants
from django.contrib.messages.storage.base import Message
from django.template.loader import render_to_string
from django.test import Client

from tests.world import World

STATIC = Path(__file__).parents[2] / "jitportal" / "static" / "jitportal"


def test_the_theme_follows_the_system_until_somebody_chooses(client: Client, world: World) -> None:
    client.force_login(world.alice)
    page = client.get("/").content.decode()
    assert '<html lang="en">' in page
    assert '<meta name="color-scheme" content="light dark">' in page
    client.post("/settings/look/", {"theme": "dark"})
    page = client.get("/").content.decode()
    assert '<html lang="en" data-theme="dark">' in page
    assert '<meta name="color-scheme" content="dark">' in page
    client.post("/settings/look/", {"theme": "system"})
    assert '<html lang="en">' in client.get("/").content.decode()


@pytest.mark.django_db
def test_pages_before_sign_in_have_it_too(client: Client) -> None:
    client.post("/settings/look/", {"theme": "light"})
    assert 'data-theme="light"' in client.get("/accounts/login/").content.decode()


def test_the_admin_has_it_too(client: Client, world: World) -> None:
    client.force_login(world.admin)
    client.post("/settings/look/", {"theme": "dark"})
    page = client.get("/admin/").content.decode()
    assert '<meta name="color-scheme" content="dark">' in page
    assert "dark_mode.css" not in page


@pytest.mark.django_db
@pytest.mark.parametrize("value", ['"><script>', "DARK", "", "on"])
def test_what_is_no_theme_changes_nothing(client: Client, value: str) -> None:
    assert "theme" not in client.post("/settings/look/", {"theme": value}).cookies
    client.cookies["theme"] = value
    assert '<html lang="en">' in client.get("/accounts/login/").content.decode()


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("to", "ends_at"),
    [
        ("/inbox/?request=1", "/inbox/?request=1"),
        ("https://elsewhere.example/", "/"),
        ("//elsewhere.example/", "/"),
        ("javascript:alert(1)", "/"),
        ("", "/"),
    ],
)
def test_it_leads_back_within_the_portal_only(client: Client, to: str, ends_at: str) -> None:
    assert client.post("/settings/look/", {"theme": "dark", "next": to})["Location"] == ends_at


def test_the_switch_leads_back_to_where_it_was_pressed(client: Client, world: World) -> None:
    client.force_login(world.alice)
    page = client.get("/catalogue/?q=read").content.decode()
    form = page[page.index('action="/settings/look/"') :]
    assert 'name="next" value="/catalogue/?q=read"' in form[: form.index("</form>")]
    assert 'name="theme" value="light"' in form[: form.index("</form>")]


def test_single_keys_can_be_switched_off(client: Client, world: World) -> None:
    client.force_login(world.alice)
    assert "data-keys" not in client.get("/").content.decode()
    client.post("/settings/look/", {"keys": "off"})
    assert re.search(r'<body [^>]*data-keys="off"', client.get("/").content.decode())
    assert re.search(r'value="off" checked', client.get("/settings/").content.decode())


def test_live_updates_can_be_paused(client: Client, world: World) -> None:
    client.force_login(world.alice)
    assert "data-live" not in client.get("/").content.decode()
    client.post("/settings/look/", {"live": "off"})
    assert re.search(r'<body [^>]*data-live="off"', client.get("/").content.decode())
    assert re.search(r'name="live" value="off" checked', client.get("/settings/").content.decode())


def test_cookies_are_out_of_the_reach_of_scripts(client: Client, world: World) -> None:
    cookie = client.post("/settings/look/", {"theme": "dark"}).cookies["theme"]
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Lax", "/")


def test_what_went_wrong_is_no_toast() -> None:
    said = [Message(constants.ERROR, "Broken <b>"), Message(constants.WARNING, "Mind")]
    page = render_to_string("_messages.html", {"messages": said})
    assert '<p class="note bad" role="alert" data-dismiss>Broken &lt;b&gt;</p>' in page
    assert re.findall(r'<p class="toast warn"[^>]*>([^<]*)', page) == ["Mind"]


def test_what_was_done_is_a_toast(client: Client, world: World) -> None:
    client.force_login(world.alice)
    page = client.post("/settings/", {"timezone": "UTC"}, follow=True).content.decode()
    assert '<p class="toast" data-dismiss>Saved.</p>' in page


def test_text_files_are_compressed_and_fonts_are_not(client: Client) -> None:
    whole = (STATIC / "portal.css").read_bytes()
    answer = client.get("/static/jitportal/portal.css", HTTP_ACCEPT_ENCODING="gzip")
    sent = b"".join(answer)
    assert answer["Content-Encoding"] == "gzip"
    assert gzip.decompress(sent) == whole
    assert len(sent) < len(whole) / 2
    assert "Accept-Encoding" in answer["Vary"]
    again = client.get(
        "/static/jitportal/portal.css",
        HTTP_IF_NONE_MATCH=answer["ETag"],
        HTTP_ACCEPT_ENCODING="gzip",
    )
    assert again.status_code == 304
    font = client.get("/static/jitportal/fonts/inter-latin.woff2", HTTP_ACCEPT_ENCODING="gzip")
    assert "Content-Encoding" not in font
    part = client.get(
        "/static/jitportal/portal.css", HTTP_RANGE="bytes=0-9", HTTP_ACCEPT_ENCODING="gzip"
    )
    assert (part.status_code, b"".join(part)) == (206, whole[:10])
    plain = client.get("/static/jitportal/portal.css")
    assert "Content-Encoding" not in plain


@pytest.mark.django_db
def test_pages_are_not_compressed(client: Client) -> None:
    answer = client.get("/accounts/login/", HTTP_ACCEPT_ENCODING="gzip")
    assert "Content-Encoding" not in answer
