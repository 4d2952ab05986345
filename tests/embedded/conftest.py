"""One throw-away cluster for the tests that only look at what is in it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from jitportal.embedded import orders, roles
from jitportal.embedded.postgres import Cluster


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("shared") / "cluster", fast=True) as running:
        roles.prepare(cluster=running)
        orders.prepare(cluster=running)
        yield running
