"""The one contract, run against every connector."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest

from approvals.connectors import portal
from approvals.connectors.portal import PortalGroup
from approvals.connectors.postgres import session as postgres_session
from approvals.connectors.postgres_role import PostgresRole

from .conftest import HOST, PASSWORD, World
from .contract import Bench, ConnectorContract
from .directory import Directory
from .noop import Noop


class TestPostgresRole(ConnectorContract):
    key = "postgres_role"

    @pytest.fixture
    def bench(self, world: World, monkeypatch: pytest.MonkeyPatch) -> Bench:
        monkeypatch.setattr(postgres_session, "CONNECT_TIMEOUT_SECONDS", 2)

        @contextmanager
        def refused() -> Iterator[str]:
            with socket.socket() as taken:
                taken.bind((HOST, 0))  # bound and not listening: nobody else gets it
                yield world.dsn_at(taken.getsockname()[1])

        return Bench(
            connector=PostgresRole(),
            login=world.alice,
            unknown_login="nobody_here",
            secret=world.dsn,
            canaries=[PASSWORD, quote(PASSWORD, safe=""), world.dsn],
            entitlement_settings={"role": "orders_rw"},
            unknown_entitlement_settings={"role": "orders_gone"},
            bad_settings=[
                ({}, {}),
                ({}, {"role": ""}),
                ({}, {"role": 7}),
                ({}, {"role": "r" * 64}),
                ({}, {"role": "a\0b"}),
                ({}, {"role": "pg_write_all_data"}),
                ({}, {"role": "orders_rw", "allow_privileged": "yes"}),
                ({}, {"roel": "orders_rw", "role": "orders_rw"}),
                ({"terminate": "sometimes"}, {"role": "orders_rw"}),
                ({"terminate": True}, {"role": "orders_rw"}),
                ({"database": 5}, {"role": "orders_rw"}),
                ({"server": 7}, {"role": "orders_rw"}),
                ({"server": " "}, {"role": "orders_rw"}),
                ({"host": "elsewhere"}, {"role": "orders_rw"}),
            ],
            unreachable=refused,
        )


class TestPortalGroup(ConnectorContract):
    key = "portal"

    @pytest.fixture
    def bench(self) -> Iterator[Bench]:
        directory = Directory(people={"alice"}, groups={"report-readers"})

        @contextmanager
        def down() -> Iterator[None]:
            directory.down = True
            yield None
            directory.down = False

        portal.use(directory)
        yield Bench(
            connector=PortalGroup(),
            login="alice",
            unknown_login="nobody",
            entitlement_settings={"group": "report-readers"},
            unknown_entitlement_settings={"group": "gone"},
            bad_settings=[
                ({}, {}),
                ({}, {"group": " "}),
                ({}, {"group": 3}),
                ({}, {"group": "a\0b"}),
                ({}, {"group": "report-readers", "role": "x"}),
                ({"database": "x"}, {"group": "report-readers"}),
            ],
            unreachable=down,
        )
        portal.use(None)


class TestNoop(ConnectorContract):
    key = "noop"

    @pytest.fixture
    def bench(self, tmp_path: Path) -> Bench:
        noop = Noop(tmp_path)

        @contextmanager
        def failing() -> Iterator[None]:
            noop.control(fail="transient")
            yield None
            noop.control()

        return Bench(
            connector=noop,
            login="alice",
            unknown_login="nobody",
            entitlement_settings={"name": "it"},
            unknown_entitlement_settings={"name": "gone"},
            bad_settings=[({"x": 1}, {}), ({}, {"y": 2})],
            unreachable=failing,
        )
