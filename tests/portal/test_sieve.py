"""The inbox's filters and saved views, and the facts beside a request."""

import html
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from approvals.models import Group, Membership, SavedView, User
from approvals.selectors import clock, sifting
from approvals.selectors.requests import Cursor
from approvals.services import grants
from tests.world import World


def page(client: Client, reader: User, /, **query: str) -> Any:
    client.force_login(reader)
    response = client.get(reverse("inbox"), query)
    assert response.status_code == 200
    return response


def names(response: Any) -> list[str]:
    return [item.record.subject_name for item in response.context["board"].items]


@pytest.fixture
def waiting(world: World) -> World:
    """Alice's late request and dan's for the same, dan's for owner; all wait for somebody."""
    world.ask(now=clock.now() - timedelta(seconds=70))
    Membership.objects.create(person=world.mallory, group=Group.objects.get(name="eng"))
    world.ask(by=world.mallory)
    return world


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, ["Alice", "Mallory"]), ({"who": "mall"}, ["Mallory"]), ({"who": "%"}, []),
        ({"who": "_"}, []), ({"overdue": "1"}, ["Alice"]), ({"risk": "high"}, ["Alice", "Mallory"]),
        ({"risk": "low"}, []), ({"risk": "nonsense"}, ["Alice", "Mallory"]),
        ({"resource": "ORDERS"}, ["Alice", "Mallory"]), ({"resource": "orders-db2"}, []),
        ({"who": "ALICE", "overdue": "1", "risk": "high", "resource": "db"}, ["Alice"]),
        ({"who": "x" * 5_000}, []), ({"who": "' OR 1=1 --"}, []), ({"who": "\\"}, []),
        ({"who": "a\0lice"}, ["Alice"]),
    ],
)  # fmt: skip
def test_filters_narrow_what_waits(
    client: Client, waiting: World, query: dict[str, str], found: list[str]
) -> None:
    assert names(page(client, waiting.bob, **query)) == found


def test_a_filter_that_nothing_passes_says_so(client: Client, waiting: World) -> None:
    text = page(client, waiting.bob, risk="low").content.decode()
    assert "Nothing passes the filter." in text
    assert "Nothing waits for you" not in text


def test_links_and_decisions_keep_the_filter(client: Client, waiting: World) -> None:
    response = page(client, waiting.bob, risk="high")
    text = html.unescape(response.content.decode())
    first = response.context["board"].items[1].record
    assert f"?request={first.request_id}&risk=high" in text
    answer = client.post(
        reverse("request_decide", args=[first.request_id]),
        {"verdict": "approve", "seen_revision": "1", "sieve": "risk=high"},
    )
    assert answer.status_code == 302
    assert "risk=high" in answer["Location"]


def test_the_page_says_what_it_is_filtered_by(client: Client, waiting: World) -> None:
    text = html.unescape(page(client, waiting.bob, who="<ali", risk="high").content.decode())
    assert ": of <ali, high risk</span>" in text
    one = page(client, waiting.bob, overdue="1").content.decode()
    assert "1 passes the filter, 1 is late" in one


def test_filtering_pages_by_keyset(waiting: World) -> None:
    by = sifting.sieve({"risk": "high"})
    first = sifting.inbox(person=waiting.bob, by=by, limit=1)
    after = Cursor(first[0].due_at, first[0].record.request_id)
    second = sifting.inbox(person=waiting.bob, by=by, after=after)
    assert [item.record.subject_name for item in (*first, *second)] == ["Alice", "Mallory"]


def test_a_filtered_inbox_takes_no_more_queries(client: Client, waiting: World) -> None:
    client.force_login(waiting.bob)
    save(client, "Hot", "risk=high")
    with CaptureQueriesContext(connection) as seen:
        client.get(reverse("inbox"), {"risk": "high"})
    assert len(seen) <= 14, "\n".join(query["sql"][:100] for query in seen)


def save(client: Client, name: str, sieve: str) -> Any:
    return client.post(reverse("view_save"), {"name": name, "sieve": sieve})


def test_a_view_is_saved_shown_replaced_and_removed(client: Client, waiting: World) -> None:
    client.force_login(waiting.bob)
    assert save(client, "  Hot  ones ", "risk=high&nonsense=1")["Location"].endswith("?risk=high")
    assert save(client, "Hot ones", "overdue=1").status_code == 302
    view = SavedView.objects.get()
    assert (view.person, view.name, view.query) == (waiting.bob, "Hot ones", {"overdue": "1"})
    text = page(client, waiting.bob).content.decode()
    assert '<a class="chip" href="/inbox/?overdue=1">Hot ones</a>' in text
    assert "Hot ones" not in page(client, waiting.carol).content.decode()
    client.force_login(waiting.carol)
    assert client.post(reverse("view_remove", args=[view.pk])).status_code == 404
    client.force_login(waiting.bob)
    assert client.post(reverse("view_remove", args=[view.pk])).status_code == 302
    assert not SavedView.objects.exists()


@pytest.mark.parametrize(
    ("name", "sieve"),
    [("", "risk=high"), ("x" * 61, "risk=high"), ("a\0", "risk=high"), ("All", ""), ("All", "x=1")],
)
def test_a_view_that_makes_no_sense_is_refused_with_what_was_typed(
    client: Client, world: World, name: str, sieve: str
) -> None:
    client.force_login(world.bob)
    response = save(client, name, sieve)
    assert response.status_code == 400
    assert not SavedView.objects.exists()
    text = response.content.decode()
    assert f'name="name" value="{name}" maxlength="60"' in text
    assert '<details class="drop" id="filter" open>' in text
    assert text.count('id="view-error" role="alert">') == 1
    assert "note bad" not in text


def test_a_refused_view_leaves_the_list_filtered_and_its_links_working(
    client: Client, waiting: World
) -> None:
    client.force_login(waiting.bob)
    save(client, "Hot", "risk=high")
    response = save(client, "x" * 61, "risk=high")  # though these filters are saved already
    text = response.content.decode()
    assert f'value="{"x" * 61}"' in text
    assert {item.record.risk for item in response.context["board"].items} == {"high"}
    assert '<input type="hidden" name="sieve" value="risk=high">' in text
    assert 'href="?' not in text
    assert "Give the view a name of at most 60 characters." in text


def test_twenty_views_are_enough(client: Client, world: World) -> None:
    client.force_login(world.bob)
    for number in range(21):
        save(client, f"View {number}", "risk=high")
    assert SavedView.objects.count() == 20
    save(client, "View 3", "risk=low")  # what exists may still be changed
    assert SavedView.objects.get(name="View 3").query == {"risk": "low"}


def test_a_views_name_is_text(client: Client, waiting: World) -> None:
    client.force_login(waiting.bob)
    save(client, "<script>alert(1)</script>", "who=%3Cb%3E")
    assert "<script>alert" not in page(client, waiting.bob).content.decode()


def test_the_pane_tells_of_earlier_grants_and_what_is_usual(client: Client, world: World) -> None:
    ended = world.active()
    grants.end(actor=world.alice, request_id=ended.request_id, now=clock.now(), comment="")
    from approvals import handlers

    handlers.work("provisioning")
    world.ask()
    text = html.unescape(page(client, world.bob).content.decode())
    assert "1 grant of this role in 90 days, given back early, the last" in text
    assert "usually held for under a minute" in text


def test_what_is_held_on_the_same_resource_is_told_apart(client: Client, world: World) -> None:
    world.active()
    world.ask(what=world.own, ticket="X-1")
    text = html.unescape(page(client, world.carol).content.decode())
    assert "On orders-db Alice also holds <b>orders-db · read-write</b>" in text
