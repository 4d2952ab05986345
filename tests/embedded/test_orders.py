"""The target: people see nothing until the portal's login grants a role, and lose it at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from jitportal.embedded import orders
from jitportal.embedded.postgres import Cluster

Connection = psycopg.Connection[Any]


@pytest.fixture
def connector(cluster: Cluster) -> Iterator[Connection]:
    with psycopg.connect(orders.connector_dsn(cluster=cluster), autocommit=True) as connection:
        yield connection
        connection.execute("REVOKE orders_read, orders_rw, orders_owner FROM alice")


@pytest.fixture
def alice(cluster: Cluster) -> Iterator[Connection]:
    address = orders.person_url(cluster=cluster, person="alice")
    with psycopg.connect(address, autocommit=True) as connection:
        yield connection


def _refused(connection: Connection, statement: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(statement.encode())


@pytest.mark.parametrize("table", ["orders", "refunds", "customers", "card_data"])
def test_a_person_reads_nothing_alone(alice: Connection, table: str) -> None:
    _refused(alice, f"SELECT FROM {table}")


def test_reading_excludes_card_data_and_writing(connector: Connection, alice: Connection) -> None:
    connector.execute("GRANT orders_read TO alice")
    for table in ("orders", "refunds", "customers"):
        assert alice.execute(f"SELECT count(*) > 40 FROM {table}".encode()).fetchone() == (True,)
    _refused(alice, "SELECT FROM card_data")
    _refused(alice, "UPDATE orders SET note = ''")


def test_writing_and_owning(connector: Connection, alice: Connection) -> None:
    connector.execute("GRANT orders_rw TO alice")
    assert alice.execute("UPDATE orders SET note = 'seen' WHERE id = 1").rowcount == 1
    _refused(alice, "ALTER TABLE orders ADD extra text")
    connector.execute("GRANT orders_owner TO alice")
    assert alice.execute("SELECT count(*) FROM card_data").fetchone() == (96,)


def test_the_connector_ends_a_session(connector: Connection, alice: Connection) -> None:
    connector.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename='alice'"
    )
    with pytest.raises(psycopg.OperationalError):
        alice.execute("SELECT 1")


def test_the_connector_can_not_use_what_it_grants(cluster: Cluster, connector: Connection) -> None:
    if cluster.connect().info.server_version >= 160000:
        _refused(connector, "SELECT FROM orders")
        _refused(connector, "SET ROLE orders_owner")
    _refused(connector, "CREATE ROLE mine")
    _refused(connector, "ALTER ROLE alice PASSWORD 'mine'")


def test_preparing_again_keeps_rows_and_grants(
    cluster: Cluster, connector: Connection, alice: Connection
) -> None:
    connector.execute("GRANT orders_rw TO alice")
    alice.execute("UPDATE orders SET note = 'kept' WHERE id = 2")
    orders.prepare(cluster=cluster)
    assert alice.execute("SELECT note FROM orders WHERE id = 2").fetchone() == ("kept",)
