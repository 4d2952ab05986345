"""The frame: navigation by role, landmarks, the policy against scripts, times, tags."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from django.template import engines
from django.test import Client
from django.utils import timezone

from approvals.templatetags import portal as tags
from tests.world import World

NOW = datetime(2025, 11, 24, 15, 0, tzinfo=UTC)


def _nav(client: Client) -> str:
    page = client.get("/").content.decode()
    return page[page.index("<nav") : page.index("</nav>")]


def test_navigation_shows_what_a_role_may_open(client: Client, world: World) -> None:
    seen = {}
    for name in ("alice", "dora", "admin"):
        client.force_login(getattr(world, name))
        seen[name] = _nav(client)
    assert "Reports" not in seen["alice"]
    assert "Audit log" in seen["dora"]
    assert "Policies" not in seen["dora"]
    assert "Policies" in seen["admin"]


def test_the_inbox_says_how_much_waits(client: Client, world: World) -> None:
    client.force_login(world.bob)
    assert "waiting for you" not in _nav(client)
    world.ask()
    assert re.search(r">1<span class=\"hidden\"> waiting for you", _nav(client))


@pytest.mark.parametrize("path", ["/", "/catalogue/", "/settings/"])
def test_every_page_has_its_landmarks_and_nothing_inline(
    client: Client, world: World, path: str
) -> None:
    client.force_login(world.admin)
    response = client.get(path)
    page = response.content.decode()
    assert '<a class="skip" href="#main">' in page
    assert '<main id="main"' in page
    assert '<nav class="nav" aria-label="Main">' in page
    assert 'role="status" aria-live="polite"' in page
    assert '<html lang="en">' in page
    assert page.count("<h1") == 1
    assert page.count('aria-current="page"') >= 1
    assert not re.search(r"<script(?![^>]*\ssrc=)", page)
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=", page)
    policy = response["Content-Security-Policy"]
    assert "script-src 'self'" in policy
    assert "style-src 'self'" in policy
    assert "unsafe" not in policy
    assert "no-store" in response["Cache-Control"]


def test_ids_are_unique(client: Client, world: World) -> None:
    world.active()
    client.force_login(world.alice)
    for path in ("/", "/catalogue/", f"/requests/new/?entitlement={world.own.pk}", "/settings/"):
        ids = re.findall(r'\sid="([^"]+)"', client.get(path).content.decode())
        assert len(ids) == len(set(ids)), path


def test_only_pages_of_a_demo_say_so(
    client: Client, world: World, settings: pytest.FixtureRequest
) -> None:
    client.force_login(world.alice)
    assert 'class="demo"' not in client.get("/").content.decode()
    settings.DEMO = True  # type: ignore[attr-defined]
    assert 'class="demo"' in client.get("/").content.decode()


@pytest.mark.parametrize(
    ("delta", "words"),
    [
        (timedelta(0), "just now"),
        (timedelta(seconds=-40), "40 s ago"),
        (timedelta(minutes=-3, seconds=-30), "3 m ago"),
        (timedelta(minutes=11), "in 11 m"),
        (timedelta(hours=-14), "today"),
        (timedelta(days=-1), "yesterday"),
        (timedelta(days=-2), "22 Nov"),
        (timedelta(days=-400), "20 Oct 2024"),
    ],
)
def test_moments_are_said_relative_to_now(delta: timedelta, words: str) -> None:
    text = tags.ago(NOW + delta, NOW)
    assert f">{words}</time>" in text
    assert 'datetime="20' in text


def test_clock_times_are_in_the_persons_timezone_with_the_day_where_it_matters() -> None:
    with timezone.override("Asia/Tokyo"):
        assert ">00:00<" in tags.clock(NOW, NOW)
        assert ">yesterday 23:00<" in tags.clock(NOW - timedelta(hours=1), NOW)
        assert "Tuesday 25 November 2025, 00:00:00.000 JST" in tags.clock(NOW, NOW)
        assert ">00:00:00.071<" in tags.clock_ms(NOW + timedelta(milliseconds=71), NOW)


def test_due_says_how_pressing_it_is() -> None:
    assert "due num soon" in tags.due(NOW + timedelta(minutes=11), NOW, words="escalates")
    assert ">escalates in 11 m<" in tags.due(NOW + timedelta(minutes=11), NOW, words="escalates")
    assert '"due num"' in tags.due(NOW + timedelta(hours=3), NOW)
    assert ">4 m late<" in tags.due(NOW - timedelta(minutes=4), NOW)
    assert tags.due(None, NOW) == ""


def test_quotes_are_escaped_and_keep_their_direction() -> None:
    assert tags.quoted("<b>\u202e") == "“<bdi>&lt;b&gt;\u202e</bdi>”"
    assert tags.quoted("") == ""


def test_scripts_count_from_the_databases_clock(
    client: Client, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timezone, "now", lambda: datetime(2001, 1, 1, tzinfo=UTC))
    template = engines["django"].from_string("{% now_iso %}")
    assert template.render({"now": NOW}) == NOW.isoformat()
    assert template.render({}).startswith("2001")


def test_missing_moments_are_silent() -> None:
    template = engines["django"].from_string(
        "{{ x|ago }}{{ x|clock }}{{ x|clock_ms }}{{ x|day }}{{ x|duration }}{{ x|quoted }}"
    )
    assert template.render({"x": None}) == ""
