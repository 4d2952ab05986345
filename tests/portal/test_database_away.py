"""While the database is away pages say so with 503, and come back by themselves."""

import pytest
from django.db import connection
from django.test import Client

from tests.conftest import cluster
from tests.world import World


@pytest.mark.django_db(transaction=True)
def test_a_page_without_a_database_is_503_and_recovers(world: World) -> None:
    client = Client(raise_request_exception=False)
    client.force_login(world.alice)
    assert client.get("/").status_code == 200
    settings = connection.settings_dict
    port = settings["PORT"]
    connection.close()
    connection.close_pool()  # type: ignore[attr-defined]
    settings["PORT"] = 1
    settings["OPTIONS"]["pool"]["timeout"] = 0.5
    try:
        answer = client.get("/")
        assert answer.status_code == 503
        assert answer["Retry-After"] == "5"
        assert b"Back in a moment" in answer.content
        watcher = Client(raise_request_exception=False)
        assert watcher.get("/healthz").status_code == 200
        answer = watcher.get("/readyz")
        assert (answer.status_code, answer["Retry-After"]) == (503, "5")
    finally:
        connection.close()
        connection.close_pool()  # type: ignore[attr-defined]
        settings["PORT"] = port
        settings["OPTIONS"]["pool"]["timeout"] = 10
    assert client.get("/").status_code == 200
    assert cluster().is_alive()
