"""The catalogue: what it lists, for whom, and why not."""

from datetime import timedelta

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from approvals.models import Entitlement, Favourite, Group, Membership, Resource, User
from approvals.selectors import clock
from tests.world import World


def _page(client: Client, **query: str) -> str:
    response = client.get("/catalogue/", query)
    assert response.status_code == 200
    return response.content.decode()


def test_it_lists_what_may_be_asked_for_with_how_long_and_how(client: Client, world: World) -> None:
    client.force_login(world.alice)
    page = _page(client)
    assert "3 things that you may ask for" in page
    assert "orders-db · read-write" in page
    assert "Up to 8 h." in page
    assert "approved at once" in page
    assert f"/requests/new/?entitlement={world.write.pk}" in page
    assert "High<span" in page


def test_who_may_not_ask_is_told_who_may(client: Client, world: World) -> None:
    client.force_login(world.mallory)
    page = _page(client)
    assert "0 things that you may ask for" in page
    assert "Why not me?" in page
    assert "Only members of data or eng may ask for this; you are in no group." in page
    assert "Carol owns orders-db" in page
    assert "/requests/new/" not in page


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", 3), ("read", 2), ("READ-write", 1), ("orders owner", 1), ("prod", 3), ("nothing", 0),
        ("read\0", 2), ("%", 0), ("' OR 1=1", 0), ("x" * 5_000, 0), ("\u202eread", 0),
    ],
)  # fmt: skip
def test_every_word_must_match(client: Client, world: World, query: str, found: int) -> None:
    client.force_login(world.alice)
    assert client.get("/catalogue/", {"q": query}).context["found"] == found


def test_kinds_narrow_the_list_and_are_counted(client: Client, world: World) -> None:
    other = Resource.objects.create(name="portal", connector="portal", owner=world.carol)
    Entitlement.objects.create(resource=other, name="auditor", risk="low", policy=world.read.policy)
    client.force_login(world.alice)
    response = client.get("/catalogue/")
    assert {chip.key: chip.count for chip in response.context["chips"]} == {"noop": 3, "portal": 1}
    narrowed = client.get("/catalogue/", {"kind": "portal"})
    assert [item.entitlement.name for item in narrowed.context["items"]] == ["auditor"]


def test_what_is_open_shows_its_state_instead_of_a_button(client: Client, world: World) -> None:
    record = world.ask()
    client.force_login(world.alice)
    page = _page(client, q="read-write")
    assert f"/requests/{record.request_id}/" in page
    assert '<span class="state pending">Pending</span>' in page
    assert f"entitlement={world.write.pk}" not in page


def test_what_was_asked_for_lately_comes_first(client: Client, world: World) -> None:
    client.force_login(world.alice)
    assert "Again?" not in _page(client)
    world.decide(world.bob, world.ask(), "deny")
    response = client.get("/catalogue/")
    assert [item.entitlement for item in response.context["again"]] == [world.write]


def test_usual_time_comes_from_what_was(client: Client, world: World) -> None:
    client.force_login(world.alice)
    assert "usually" not in _page(client)
    world.ended()
    assert "usually under a minute" in _page(client)


def test_retired_things_are_not_listed(client: Client, world: World) -> None:
    world.write.is_retired = True
    world.write.save()
    client.force_login(world.alice)
    assert "read-write" not in _page(client)


def test_htmx_gets_the_results_alone(client: Client, world: World) -> None:
    client.force_login(world.alice)
    response = client.get("/catalogue/", {"q": "owner"}, headers={"HX-Request": "true"})
    page = response.content.decode()
    assert page.lstrip().startswith('<div id="results"')
    assert "orders-db · owner" in page
    restored = client.get(
        "/catalogue/", headers={"HX-Request": "true", "HX-History-Restore-Request": "true"}
    )
    assert "<html" in restored.content.decode()


def test_a_fragment_never_holds_the_sign_in_page(client: Client, world: World) -> None:
    response = client.get(
        "/catalogue/",
        headers={"HX-Request": "true", "HX-Current-URL": "http://testserver/catalogue/?q=a"},
    )
    assert response["HX-Redirect"] == "/accounts/login/?next=%2Fcatalogue%2F%3Fq%3Da"
    assert response.content == b""


def test_few_queries_for_many_things(
    client: Client, world: World, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(20):
        Entitlement.objects.create(
            resource=world.resource, name=f"more-{number}", risk="low", policy=world.read.policy
        )
    world.ask()
    colleagues_ask(world, world.own)
    client.force_login(world.alice)
    assert "People like you" in client.get("/catalogue/").content.decode()
    with django_assert_max_num_queries(15):
        client.get("/catalogue/")


def colleagues_ask(world: World, what: Entitlement, *, count: int = 2) -> list[User]:
    """Let that many people of alice's group ask for something."""
    found = []
    for number in range(count):
        person = User.objects.create_user(f"peer{number}", f"peer{number}@example.com")
        Membership.objects.create(person=person, group=Group.objects.get(name="eng"))
        world.ask(by=person, what=what, ticket="X-1")
        found.append(person)
    return found


def alike(client: Client) -> list[tuple[int, int]]:
    rows = client.get("/catalogue/").context["alike"]
    return [(item.entitlement.pk, item.people) for item in rows]


def test_what_people_of_ones_group_ask_for_is_suggested(client: Client, world: World) -> None:
    colleagues_ask(world, world.own)
    client.force_login(world.alice)
    assert alike(client) == [(world.own.pk, 2)]
    assert "2 people like you ask for it." in _page(client)
    assert client.get("/catalogue/", {"q": "owner"}).context["alike"] == []


def test_one_persons_asking_is_told_to_nobody(client: Client, world: World) -> None:
    colleagues_ask(world, world.own, count=1)
    client.force_login(world.alice)
    assert alike(client) == []


def test_what_one_asked_for_or_may_not_ask_for_is_not_suggested(
    client: Client, world: World
) -> None:
    people = colleagues_ask(world, world.own)
    for person in people:
        person.manager = world.bob
        person.save()
    world.ask(what=world.own, ticket="X-1")
    client.force_login(world.alice)
    assert alike(client) == []
    client.force_login(world.mallory)  # has the same manager, but is in no group
    assert alike(client) == []


def test_what_was_asked_for_long_ago_is_not_suggested(client: Client, world: World) -> None:
    for number in range(2):
        person = User.objects.create_user(f"old{number}", f"old{number}@example.com")
        Membership.objects.create(person=person, group=Group.objects.get(name="eng"))
        world.ask(by=person, what=world.read, now=clock.now() - timedelta(days=91))
    client.force_login(world.alice)
    assert alike(client) == []


def test_a_star_makes_a_favourite_and_takes_it_away(client: Client, world: World) -> None:
    client.force_login(world.alice)
    for _ in range(2):  # again changes nothing
        response = client.post("/catalogue/star/", {"entitlement": world.own.pk, "on": "1"})
        assert response.status_code == 302
    assert Favourite.objects.get().person == world.alice
    response = client.get("/catalogue/", {"kind": "favourites"})
    assert [item.entitlement.pk for item in response.context["items"]] == [world.own.pk]
    client.force_login(world.bob)
    assert "No favourites yet." in _page(client, kind="favourites")
    client.post("/catalogue/star/", {"entitlement": world.own.pk, "on": "0"})
    assert Favourite.objects.count() == 1  # bob's star is not alice's
    client.force_login(world.alice)
    answer = client.post(
        "/catalogue/star/", {"entitlement": world.own.pk, "on": "0", "place": "again"},
        headers={"HX-Request": "true"},
    )  # fmt: skip
    assert f'id="star-again-{world.own.pk}"' in answer.content.decode()
    assert not Favourite.objects.exists()


@pytest.mark.parametrize("wanted", ["", "0", "x", "9" * 30, "a/b", "\0"])
def test_a_star_for_nothing_is_404(client: Client, world: World, wanted: str) -> None:
    client.force_login(world.alice)
    assert client.post("/catalogue/star/", {"entitlement": wanted}).status_code == 404
