"""Error pages: each says what happened and what to do, and none depends on what broke."""

import pytest
from django.http import HttpRequest
from django.test import Client
from django.views import defaults
from pytest_django import DjangoAssertNumQueries

from tests.world import World


def test_404_says_so_to_anybody(client: Client, world: World) -> None:
    for person in (None, world.alice):
        if person:
            client.force_login(person)
        response = client.get("/nothing/here/")
        assert response.status_code == 404
        page = response.content.decode()
        assert "Page not found" in page
        assert ('class="nav"' in page) is (person is not None), "no empty navigation"


def test_500_needs_neither_request_nor_database(
    django_assert_num_queries: DjangoAssertNumQueries, world: World
) -> None:
    with django_assert_num_queries(0):
        response = defaults.server_error(HttpRequest())
    assert response.status_code == 500
    assert "Something broke here" in response.content.decode()


def test_400_needs_no_request(world: World) -> None:
    response = defaults.bad_request(HttpRequest(), ValueError())
    assert "That was not understood" in response.content.decode()


def test_a_wrong_host_is_400(client: Client, world: World) -> None:
    response = client.get("/", headers={"Host": "evil.example"})
    assert response.status_code == 400


def test_a_huge_body_is_400(client: Client, world: World) -> None:
    client.force_login(world.alice)
    response = client.post("/settings/", {"timezone": "x" * 1_100_000})
    assert response.status_code == 400


@pytest.mark.parametrize(
    "path", ["/?before=%00", "/catalogue/?q=%00&kind=%00", "/requests/new/?entitlement=%00",
             "/requests/new/?entitlement=1&for=%00&duration=%00&reason=%00&starts_at=%00",
             "/catalogue/?q=%FF%FE", "/settings/?%00=%00"],
)  # fmt: skip
def test_odd_bytes_break_nothing(client: Client, world: World, path: str) -> None:
    client.force_login(world.alice)
    path = path.replace("entitlement=1", f"entitlement={world.write.pk}")
    assert client.get(path).status_code in (200, 400, 404)
