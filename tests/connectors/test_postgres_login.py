"""Logins that are made for a request and end by themselves, at real PostgreSQL servers."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
from psycopg import sql

from approvals.connectors.postgres import session as postgres_session
from approvals.connectors.postgres_login import PostgresLogin
from approvals.connectors.postgres_login.settings import minted_name
from approvals.connectors.protocol import GrantSpec, Held, PermanentError, Receipt

from .conftest import CONNECTOR, DATABASE, HOST, PASSWORD, World
from .contract import Bench, ConnectorContract
from .moments import now

connector = PostgresLogin()
REQUEST = "019a9d3c-5b1f-7c55-8e3a-4f6d20c9b7aa"
OTHER_REQUEST = "019a9d3c-5b1f-7c55-8e3a-4f6d20c9b7bb"


@pytest.fixture(autouse=True)
def minting(world: World) -> Iterator[None]:
    """jitportal's login may mint; what a test leaves behind is dropped by a superuser."""
    world.run("ALTER ROLE {} CREATEROLE", CONNECTOR)
    yield
    left = world.superuser.execute(r"SELECT rolname FROM pg_roles WHERE rolname LIKE 'jit\_%%'")
    for (name,) in left.fetchall():
        if name != CONNECTOR:
            world.superuser.execute(
                "SELECT pg_terminate_backend(pid, 2000) FROM pg_stat_activity WHERE usename = %s",
                [name],
            )
            for database in (DATABASE, "postgres"):
                with world.cluster.connect(database) as connection:
                    connection.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(name)))
            world.run("DROP ROLE {}", name)
    world.run("ALTER ROLE {} NOCREATEROLE", CONNECTOR)


def spec_of(world: World, **changes: Any) -> GrantSpec:
    """alice's grant: she has no login of that name at the server."""
    values: dict[str, Any] = {
        "request_id": REQUEST,
        "subject_login": "alice.jones",
        "subject_email": "alice@example.test",
        "resource": "orders-db",
        "entitlement": "read-write",
        "resource_settings": {},
        "entitlement_settings": {"role": "orders_rw"},
        "secret": world.dsn,
        "ends_at": datetime.now(UTC) + timedelta(hours=1),
    }
    return GrantSpec(**(values | changes))


def handed(receipt: Receipt) -> str:
    """The text that the subject is shown: lines that libpq reads as they are."""
    (handover,) = receipt.handover
    assert handover.once
    return handover.text


def sign_in(receipt: Receipt, **changes: Any) -> psycopg.Connection[Any]:
    """A session with nothing but what was handed over."""
    return psycopg.connect(handed(receipt), autocommit=True, **changes)


def exists(world: World, name: str) -> bool:
    """Read by the superuser: not by the code that is tested."""
    row = world.superuser.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [name]).fetchone()
    return row is not None


class TestPostgresLogin(ConnectorContract):
    key = "postgres_login"

    @pytest.fixture
    def bench(self, world: World, monkeypatch: pytest.MonkeyPatch) -> Bench:
        monkeypatch.setattr(postgres_session, "CONNECT_TIMEOUT_SECONDS", 2)

        @contextmanager
        def refused() -> Iterator[str]:
            with socket.socket() as taken:
                taken.bind((HOST, 0))
                yield world.dsn_at(taken.getsockname()[1])

        return Bench(
            connector=connector,
            login="alice.jones",
            unknown_login="nobody_here",
            secret=world.dsn,
            canaries=[PASSWORD, quote(PASSWORD, safe=""), world.dsn],
            entitlement_settings={"role": "orders_rw"},
            unknown_entitlement_settings={"role": "orders_gone"},
            bad_settings=[
                ({}, {}),
                ({}, {"role": ""}),
                ({}, {"role": "r" * 64}),
                ({}, {"role": "a\0b"}),
                ({}, {"role": "pg_write_all_data"}),
                ({}, {"role": "orders_rw", "allow_privileged": "yes"}),
                ({}, {"role": "orders_rw", "connection_limit": 0}),
                ({}, {"role": "orders_rw", "connection_limit": True}),
                ({}, {"role": "orders_rw", "connection_limit": "3"}),
                ({}, {"roel": "orders_rw", "role": "orders_rw"}),
                ({"database": 5}, {"role": "orders_rw"}),
                ({"port": 70_000}, {"role": "orders_rw"}),
                ({"terminate": "never"}, {"role": "orders_rw"}),
            ],
            unreachable=refused,
        )

    def test_a_login_that_the_target_does_not_know_is_permanent(self, bench: Bench) -> None:
        """Nobody is unknown here, since the login is made; one that can't be written is refused."""
        for login in ("", "x\0y", "a" * 256, "\ud800"):
            with pytest.raises(PermanentError, match="login must be") as caught:
                bench.connector.grant(bench.spec(subject_login=login))
            bench.keeps_secret(caught.value)


def test_the_minted_login_works_with_what_was_handed_over(world: World) -> None:
    spec = spec_of(world)
    receipt = connector.grant(spec)
    assert receipt.detail["login"] == "jit_alice_jones_20c9b7aa"
    with sign_in(receipt) as alice:
        row = alice.execute("SELECT session_user::text, current_database()::text").fetchone()
        assert row == ("jit_alice_jones_20c9b7aa", DATABASE)
        assert alice.execute("UPDATE orders SET status = 'held'").rowcount == 1
        alice.execute("SET ROLE orders_rw")


def test_the_password_is_in_the_handover_alone(world: World) -> None:
    spec = spec_of(world)
    receipt = connector.grant(spec)
    found = re.search(r"^password=(\S{32,})$", handed(receipt), re.MULTILINE)
    assert found is not None
    for said in (receipt, receipt.detail, receipt.handover, connector.how_to_connect(spec)):
        assert found[1] not in repr(said)
    row = world.superuser.execute(
        "SELECT rolpassword FROM pg_authid WHERE rolname = %s", [receipt.detail["login"]]
    ).fetchone()
    assert row is not None
    assert row[0].startswith("SCRAM-SHA-256$")


def test_granting_again_makes_a_new_password_and_the_lost_one_is_void(world: World) -> None:
    lost = connector.grant(spec_of(world))
    assert not lost.detail["pre_existing"]
    shown = connector.grant(spec_of(world))
    assert shown.detail["pre_existing"]
    with pytest.raises(psycopg.OperationalError, match="authentication failed"):
        sign_in(lost)
    sign_in(shown).close()


def test_the_server_itself_refuses_a_new_session_from_the_end_on(world: World) -> None:
    ends_at = datetime.now(UTC) + timedelta(seconds=1.5)
    receipt = connector.grant(spec_of(world, ends_at=ends_at))
    with sign_in(receipt) as open_before:
        time.sleep(max(0.0, (ends_at - datetime.now(UTC)).total_seconds()) + 0.05)
        with pytest.raises(psycopg.OperationalError, match="authentication failed"):
            sign_in(receipt)
        # The session lag that the docs tell of: it lives until the revocation.
        assert open_before.execute("SELECT 1").fetchone() == (1,)
        assert connector.revoke(spec_of(world, ends_at=None)).sessions_closed == 1
        with pytest.raises(psycopg.OperationalError):
            open_before.execute("SELECT 1")


@pytest.mark.parametrize("ends_at", [None, datetime(2031, 1, 1)])
def test_a_grant_without_an_end_is_refused(world: World, ends_at: datetime | None) -> None:
    with pytest.raises(PermanentError, match="must have an end"):
        connector.grant(spec_of(world, ends_at=ends_at))


def test_the_subject_cannot_prolong_it(world: World) -> None:
    receipt = connector.grant(spec_of(world))
    name = sql.Identifier(receipt.detail["login"])
    with sign_in(receipt) as alice:
        for statement in (
            "ALTER ROLE {} VALID UNTIL 'infinity'",
            "COMMENT ON ROLE {} IS 'mine'",
            "CREATE ROLE jit_sleeper LOGIN",
            "GRANT orders_rw TO orders_ro",
            "GRANT {} TO orders_ro",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                alice.execute(sql.SQL(statement).format(name))


def test_a_connection_limit_is_kept_by_the_server(world: World) -> None:
    settings = {"role": "orders_rw", "connection_limit": 1}
    receipt = connector.grant(spec_of(world, entitlement_settings=settings))
    with sign_in(receipt), pytest.raises(psycopg.OperationalError, match="too many connections"):
        sign_in(receipt)


def test_revoking_leaves_the_login_of_another_request_of_the_same_subject(world: World) -> None:
    """An extension has a login of its own, which is there before the first one goes."""
    first = connector.grant(spec_of(world))
    second = connector.grant(spec_of(world, request_id=OTHER_REQUEST))
    assert first.detail["login"] != second.detail["login"]
    with sign_in(first), sign_in(second) as other:
        receipt = connector.revoke(spec_of(world))
        assert other.execute("SELECT 1").fetchone() == (1,)
    assert receipt.sessions_closed == 1
    assert receipt.detail["removed_logins"] == [first.detail["login"]]
    assert not exists(world, first.detail["login"])
    assert exists(world, second.detail["login"])


def test_revoking_leaves_others_alone(world: World) -> None:
    mine = connector.grant(spec_of(world)).detail["login"]
    others = [
        connector.grant(spec_of(world, request_id=OTHER_REQUEST, subject_login="bob")),
        connector.grant(
            spec_of(world, request_id=OTHER_REQUEST, entitlement_settings={"role": "orders_ro"})
        ),
    ]
    connector.revoke(spec_of(world))
    assert not exists(world, mine)
    for other in others:
        sign_in(other).close()


def test_observing_names_the_subjects_and_not_the_minted_logins(world: World) -> None:
    world.run("GRANT orders_rw TO {}", world.bob)
    connector.grant(spec_of(world))
    connector.grant(spec_of(world, subject_login="bob", request_id=OTHER_REQUEST))
    held = connector.observe(
        now=now(),
        resource_settings={},
        secret=world.dsn,
        entitlements={"rw": {"role": "orders_rw"}, "ro": {"role": "orders_ro"}},
    )
    assert held == [Held("alice.jones", "rw"), Held("bob", "rw")]


@contextmanager
def lent_table(world: World, database: str, *, owner: str, to: str) -> Iterator[None]:
    """A table of `owner`'s that the login may read, for the time of the block."""
    with world.cluster.connect(database) as connection:
        names = {"owner": sql.Identifier(owner), "to": sql.Identifier(to)}
        connection.execute("CREATE TABLE lent (id int)")
        connection.execute(sql.SQL("ALTER TABLE lent OWNER TO {owner}").format(**names))
        connection.execute(sql.SQL("GRANT SELECT ON lent TO {to}").format(**names))
        yield
        connection.execute("DROP TABLE lent")


def test_what_the_portals_own_login_gave_to_it_goes_with_it(world: World) -> None:
    receipt = connector.grant(spec_of(world))
    name = receipt.detail["login"]
    with (
        lent_table(world, DATABASE, owner=CONNECTOR, to=name),
        lent_table(world, "postgres", owner=CONNECTOR, to=name),
        sign_in(receipt) as alice,
    ):
        alice.execute("ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO orders_ro")
        alice.execute("CREATE TEMPORARY TABLE scratch (id int)")
        assert connector.revoke(spec_of(world)).detail["removed_logins"] == [name]
        assert not exists(world, name)


def test_what_others_gave_to_it_is_named_and_it_stays_shut(world: World) -> None:
    """No rights but a superuser's or the owner's can take those, so people have to."""
    receipt = connector.grant(spec_of(world))
    name = receipt.detail["login"]
    with lent_table(world, "postgres", owner="postgres", to=name), sign_in(receipt) as alice:
        with pytest.raises(PermanentError, match='in "postgres"') as caught:
            connector.revoke(spec_of(world))
        assert f'DROP OWNED BY "{name}"' in caught.value.message
        with pytest.raises(psycopg.OperationalError):
            alice.execute("SELECT 1")
        with pytest.raises(psycopg.OperationalError, match="not permitted to log in"):
            sign_in(receipt)
        with world.cluster.connect("postgres") as superuser:
            superuser.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(name)))
        assert connector.revoke(spec_of(world)).detail["removed_logins"] == [name]
        assert not exists(world, name)


def test_a_login_that_owns_objects_is_shut_and_kept_until_people_decide(world: World) -> None:
    receipt = connector.grant(spec_of(world))
    name = receipt.detail["login"]
    world.run("GRANT CREATE ON SCHEMA public TO {}", name)
    with sign_in(receipt) as alice:
        alice.execute("CREATE TABLE alices_work AS SELECT 42 AS answer")
        with pytest.raises(PermanentError, match='owns objects in "orders"') as caught:
            connector.revoke(spec_of(world))
        assert "REASSIGN OWNED" in caught.value.message
        with pytest.raises(psycopg.OperationalError):
            alice.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError, match="not permitted to log in"):
        sign_in(receipt)
    assert not world.is_member(name, "orders_rw")
    assert connector.observe(
        now=now(), resource_settings={}, secret=world.dsn, entitlements={"rw": {"role": "orders_rw"}}
    ) == []  # fmt: skip
    # What the message asks for, and then the retry gets through.
    world.run("REASSIGN OWNED BY {} TO postgres", name)
    world.run("DROP OWNED BY {}", name)
    assert connector.revoke(spec_of(world)).detail["removed_logins"] == [name]
    assert not exists(world, name)
    row = world.superuser.execute("SELECT answer FROM alices_work").fetchone()
    assert row == (42,)
    world.run("DROP TABLE alices_work")


def test_a_login_of_the_same_name_that_is_not_ours_is_never_touched(world: World) -> None:
    name = minted_name(login="alice.jones", request_id=REQUEST)
    world.run("CREATE ROLE {} LOGIN", name)
    world.run("GRANT orders_rw TO {}", name)
    with pytest.raises(PermanentError, match="did not mint"):
        connector.grant(spec_of(world))
    assert connector.revoke(spec_of(world)).detail["removed"] is False
    assert exists(world, name)
    world.superuser.execute(
        sql.SQL("COMMENT ON ROLE {} IS 'jitportal {{\"subject\": 5}}'").format(sql.Identifier(name))
    )
    with pytest.raises(PermanentError, match="did not mint"):
        connector.grant(spec_of(world))
    assert connector.revoke(spec_of(world)).detail["removed"] is False


def test_a_membership_that_somebody_else_gave_too_goes_with_the_login(world: World) -> None:
    receipt = connector.grant(spec_of(world))
    world.run("GRANT orders_rw TO {}", receipt.detail["login"])
    connector.revoke(spec_of(world))
    assert not exists(world, receipt.detail["login"])


def test_a_login_that_another_account_minted_is_refused_with_its_sessions_closed(
    world: World,
) -> None:
    """After the portal's own login was replaced, without ADMIN on what the old one had minted."""
    if not world.per_grantor():
        pytest.skip("before 16 any CREATEROLE may alter any login")
    receipt = connector.grant(spec_of(world))
    name = receipt.detail["login"]
    world.run("REVOKE {} FROM {}", name, CONNECTOR)
    with sign_in(receipt) as alice:
        with pytest.raises(PermanentError, match="WITH ADMIN OPTION"):
            connector.revoke(spec_of(world))
        with pytest.raises(psycopg.OperationalError):
            alice.execute("SELECT 1")
    world.run("GRANT {} TO {} WITH ADMIN OPTION", name, CONNECTOR)
    connector.revoke(spec_of(world))
    assert not exists(world, name)


@pytest.mark.parametrize("wanted", ["orders_gone", "orders_boss"])
def test_a_role_that_is_missing_or_too_powerful_is_permanent(world: World, wanted: str) -> None:
    world.superuser.execute("DROP ROLE IF EXISTS orders_boss")
    world.superuser.execute("CREATE ROLE orders_boss CREATEDB")
    with pytest.raises(PermanentError, match=r"no role|too powerful"):
        connector.grant(spec_of(world, entitlement_settings={"role": wanted}))
    world.superuser.execute("DROP ROLE orders_boss")


def test_without_createrole_it_says_so(world: World) -> None:
    world.run("ALTER ROLE {} NOCREATEROLE", CONNECTOR)
    with pytest.raises(PermanentError, match="needs CREATEROLE") as caught:
        connector.grant(spec_of(world))
    assert caught.value.untouched, "the transaction was taken back"
    health = connector.check(now=now(), resource_settings={}, secret=world.dsn)
    assert not health.ok
    assert "CREATEROLE" in health.message


def test_names_are_short_readable_and_apart() -> None:
    names = [
        minted_name(login=login, request_id=request)
        for login in ("alice", "ALICE/../x", "é" * 70, '"; DROP ROLE x; --', "a" * 200)
        for request in (REQUEST, OTHER_REQUEST, "0199-contract")
    ]
    assert len(set(names)) == len(names)
    for name in names:
        assert re.fullmatch(r"jit_[a-z0-9_]{1,40}_[0-9a-f]{8}", name)


def test_people_are_shown_how_they_reach_the_server(world: World) -> None:
    settings = {"host": "db.example.test", "port": 6432}
    spec = spec_of(world, resource_settings=settings)
    shown = handed(connector.grant(spec)).splitlines()
    assert shown[:4] == [
        "host=db.example.test", "port=6432", f"dbname={DATABASE}", "user=jit_alice_jones_20c9b7aa",
    ]  # fmt: skip
    connect = connector.how_to_connect(spec)[0].text
    assert "db.example.test" in connect
    assert "jit_alice_jones_20c9b7aa" in connect
