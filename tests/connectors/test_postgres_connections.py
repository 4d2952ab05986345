"""How we connect to a target, what its errors mean, and what people are told to type."""

from __future__ import annotations

import shlex
import socket
import threading
import time

import psycopg
import pytest

from approvals.connectors.postgres import catalog as postgres_catalog
from approvals.connectors.postgres import session as postgres_session
from approvals.connectors.postgres_role import PostgresRole
from approvals.connectors.protocol import NotYet, PermanentError, TransientError

from .conftest import CONNECTOR, HOST, PASSWORD, World, spec_of

connector = PostgresRole()


def test_a_wrong_password_is_permanent_and_not_repeated(world: World) -> None:
    wrong = f"postgresql://{CONNECTOR}:s3cret-wr0ng@{HOST}:{world.cluster.port}/orders"
    with pytest.raises(PermanentError, match="password authentication failed") as caught:
        connector.grant(spec_of(world, secret=wrong))
    assert "s3cret-wr0ng" not in str(caught.value)


def test_a_database_that_does_not_exist_is_permanent(world: World) -> None:
    with pytest.raises(PermanentError, match="does not exist"):
        connector.grant(spec_of(world, resource_settings={"database": "no_such"}))


def test_the_settings_database_wins_over_the_secrets(world: World) -> None:
    receipt = connector.grant(spec_of(world, resource_settings={"database": "postgres"}))
    assert receipt.detail["database"] == "postgres"


@pytest.mark.parametrize(
    "secret",
    [None, "", "not a dsn hunter2", "postgresql://u:hunter2@[", "user=x password=hunter2",
     "postgresql://:hunter2@host/db", "host=h pasword=hunter2"],
)  # fmt: skip
def test_a_secret_that_is_no_connection_string_is_permanent_and_not_repeated(
    world: World, secret: str | None
) -> None:
    with pytest.raises(PermanentError) as caught:
        connector.grant(spec_of(world, secret=secret))
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_server_that_accepts_and_says_nothing_is_transient(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_session, "CONNECT_TIMEOUT_SECONDS", 2)
    with socket.create_server((HOST, 0)) as silent:
        started = time.monotonic()
        with pytest.raises(TransientError, match="tried again"):
            connector.grant(spec_of(world, secret=world.dsn_at(silent.getsockname()[1])))
        assert time.monotonic() - started < 4


def test_a_lock_that_somebody_holds_is_transient(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_session, "LOCK_TIMEOUT_MS", 200)
    with psycopg.connect(world.dsn) as other:
        postgres_catalog.lock_pair(other, role="orders_rw", login=world.alice)
        with pytest.raises(NotYet, match="55P03"):
            connector.grant(spec_of(world))
    connector.grant(spec_of(world))


def test_a_session_of_ours_that_is_ended_is_transient(world: World) -> None:
    """An administrator's shutdown in the middle: nothing is granted, and it may be tried again."""
    with psycopg.connect(world.dsn) as other:
        postgres_catalog.lock_pair(other, role="orders_rw", login=world.alice)
        caught: list[BaseException] = []

        def grant() -> None:
            try:
                connector.grant(spec_of(world))
            except TransientError as error:
                caught.append(error)

        worker = threading.Thread(target=grant)
        worker.start()
        deadline = time.monotonic() + 4
        while time.monotonic() < deadline:
            row = world.superuser.execute(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                " WHERE application_name = 'jitportal' AND wait_event = 'advisory'"
            ).fetchone()
            if row and row[0]:
                break
            time.sleep(0.02)
        worker.join(5)
    assert len(caught) == 1
    assert not world.is_member(world.alice, "orders_rw")


def test_our_sessions_are_named_and_bounded(world: World) -> None:
    with postgres_session.session(dsn=world.dsn, database=None) as ours:
        row = ours.execute(
            "SELECT current_setting('application_name'), current_setting('statement_timeout'),"
            " current_setting('lock_timeout'), current_setting('tcp_keepalives_idle')"
        ).fetchone()
    assert row is not None
    assert row[:3] == ("jitportal", "10s", "5s")


def test_how_to_connect_is_safe_to_paste(world: World) -> None:
    spec = spec_of(world, login="a $(reboot) 'x", entitlement_settings={"role": 'r"x'})
    connect, password, note = connector.how_to_connect(spec)
    assert connect.text.startswith("psql 'host=127.0.0.1 ")
    assert f"port={world.cluster.port}" in connect.text
    assert PASSWORD not in connect.text
    program, conninfo = shlex.split(connect.text)
    assert program == "psql"
    assert psycopg.conninfo.conninfo_to_dict(conninfo)["user"] == "a $(reboot) 'x"
    assert note.text == 'SET ROLE "r""x";'
    assert "already" in password.text
