"""The catalogue: what it lists, for whom, and why not."""

from datetime import timedelta

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from approvals.models import Entitlement, Favourite, Group, Membership, Policy, Resource, User
from approvals.portal import catalogue as pages
from approvals.selectors import catalogue, clock
from approvals.services import shelf
from tests.world import World, rule


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


@pytest.fixture
def zeta(world: World, monkeypatch: pytest.MonkeyPatch) -> Entitlement:
    """Return what comes after all that a page lists; before it are three of another kind."""
    monkeypatch.setattr(pages, "SHOWN", 2)
    other = Resource.objects.create(name="zeta", connector="portal", owner=world.carol)
    return Entitlement.objects.create(
        resource=other, name="only", risk="low", policy=world.read.policy
    )


def names(client: Client, **query: str) -> list[str]:
    return [str(item.entitlement) for item in client.get("/catalogue/", query).context["items"]]


def test_counts_are_of_everything_however_little_a_page_lists(
    client: Client, world: World, zeta: Entitlement
) -> None:
    shelf.star(actor=world.alice, entitlement=zeta, now=clock.now())
    client.force_login(world.alice)
    context = client.get("/catalogue/").context
    assert {chip.key: chip.count for chip in context["chips"]} == {"noop": 3, "portal": 1}
    assert (context["all_count"], context["favourites"], len(context["items"])) == (4, 1, 2)
    assert "4 things that you may ask for" in _page(client)
    searched = client.get("/catalogue/", {"q": "zeta"})
    assert (searched.context["all_count"], searched.context["favourites"]) == (1, 1)
    assert "4 things that you may ask for" in searched.content.decode()
    client.force_login(world.mallory)
    assert "0 things that you may ask for" in _page(client)


def test_kind_favourites_and_search_find_what_no_page_lists(
    client: Client, world: World, zeta: Entitlement
) -> None:
    client.force_login(world.alice)
    assert names(client) == ["orders-db · owner", "orders-db · read"]
    assert names(client, q="only") == [str(zeta)]
    assert names(client, kind="portal") == [str(zeta)]
    assert names(client, kind="favourites") == []
    client.post("/catalogue/star/", {"entitlement": zeta.pk, "on": "1"})
    assert names(client, kind="favourites") == [str(zeta)]
    assert names(client, kind="favourites", q="orders") == []
    assert names(client, kind="portal", q="orders") == []


def test_a_page_says_that_it_lists_a_part_and_how_to_see_the_others(
    client: Client, world: World, zeta: Entitlement
) -> None:
    client.force_login(world.alice)
    told = "These are the first 2 of 4, by name. Search for a word or choose a kind to see"
    page = _page(client)
    assert told in page
    assert ">first 2 of 4</span>" in page
    assert "first 2 of 3, by name. Search for a word to see" in _page(client, kind="noop")
    assert "first 2 of 3, by name. Add a word to see" in _page(client, q="orders")
    for query in ({"kind": "portal"}, {"q": "owner"}, {"kind": "favourites"}):
        assert "These are the first" not in _page(client, **query)


def test_what_was_asked_for_lately_is_there_wherever_it_stands(
    client: Client, world: World, zeta: Entitlement
) -> None:
    world.ask(what=zeta)
    colleagues_ask(world, world.write)
    client.force_login(world.alice)
    assert [item.entitlement for item in client.get("/catalogue/").context["again"]] == [zeta]
    assert alike(client) == [(world.write.pk, 2)]
    zeta.resource.is_retired = True
    zeta.resource.save()
    assert client.get("/catalogue/").context["again"] == []


@pytest.mark.parametrize("shown", [2, 200])
def test_queries_are_as_few_however_much_a_page_leaves_out(
    client: Client,
    world: World,
    zeta: Entitlement,
    monkeypatch: pytest.MonkeyPatch,
    django_assert_max_num_queries: DjangoAssertNumQueries,
    shown: int,
) -> None:
    monkeypatch.setattr(pages, "SHOWN", shown)
    world.ask(what=zeta)
    colleagues_ask(world, world.write)
    client.force_login(world.alice)
    for query in ({}, {"q": "o"}, {"kind": "noop"}):
        client.get("/catalogue/", query)
        with django_assert_max_num_queries(15):
            client.get("/catalogue/", query)


@pytest.mark.parametrize(
    "groups", [(), ("eng",), ("data", "eng"), ("en",), ("ENG",), ("eng%", "none"), ("null", "0")]
)
def test_what_may_be_asked_for_is_counted_as_the_policies_say(
    world: World, groups: tuple[str, ...]
) -> None:
    auto = {"auto_approve": True}
    everyone = {"name": "all", "everyone": True, "longest": 60} | auto
    for number, rules in enumerate(
        [
            [everyone],
            [rule("a", groups=["none"], longest=60, **auto), everyone],
            [rule("a", groups=["none", "data"], longest=60, **auto)],
            [rule(name, groups=[name], longest=60, **auto) for name in ("x", "ENG")],
        ]
    ):
        policy = Policy.objects.create(name=f"of-{number}", document={"rules": rules})
        Entitlement.objects.create(
            resource=world.resource, name=f"of-{number}", risk="low", policy=policy
        )
    Entitlement.objects.create(resource=world.resource, name="of-nobody", risk="low")
    mine = frozenset(groups)
    offers = catalogue.offers(catalogue.search("", most=99), groups=mine)
    (row,) = catalogue.tally("", groups=mine, stars=frozenset())
    assert (row.connector, row.found, row.favourites) == ("noop", 8, 0)
    assert row.askable == sum(offer.eligible for offer in offers.values())
    assert row.askable >= 2


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
