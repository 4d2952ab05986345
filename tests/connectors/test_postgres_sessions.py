"""Open sessions of a login end with its grant."""

from __future__ import annotations

import threading
import time

import psycopg
import pytest

from approvals.connectors.postgres import catalog as postgres_catalog
from approvals.connectors.postgres_role import PostgresRole
from approvals.connectors.protocol import NotYet, PermanentError

from .conftest import CONNECTOR, World, spec_of
from .moments import now

UPDATE = "UPDATE orders SET status = 'shipped' WHERE id = 1"
ENDED = (psycopg.OperationalError, psycopg.errors.AdminShutdown)

connector = PostgresRole()


def test_an_open_session_that_uses_the_role_is_cut(world: World) -> None:
    connector.grant(spec_of(world))
    with world.connect(world.alice) as session:
        session.execute(UPDATE)
        receipt = connector.revoke(spec_of(world))
        with pytest.raises(ENDED):
            session.execute(UPDATE)
    assert receipt.sessions_closed == 1
    with world.connect(world.alice) as session, pytest.raises(psycopg.errors.InsufficientPrivilege):
        session.execute(UPDATE)


def test_a_session_that_became_the_role_is_cut(world: World) -> None:
    connector.grant(spec_of(world))
    with world.connect(world.alice) as session:
        session.execute("SET ROLE orders_rw")
        connector.revoke(spec_of(world))
        with pytest.raises(ENDED):
            session.execute(UPDATE)


def test_without_termination_a_session_that_became_the_role_would_live_on(world: World) -> None:
    settings = {"terminate": "never"}
    connector.grant(spec_of(world, resource_settings=settings))
    with world.connect(world.alice) as session:
        session.execute("SET ROLE orders_rw")
        receipt = connector.revoke(spec_of(world, resource_settings=settings))
        assert (receipt.sessions_closed, receipt.detail["sessions_live_on"]) == (0, True)
        session.execute(UPDATE)  # why "always" is the default


def test_sessions_in_other_databases_and_open_transactions_are_cut(world: World) -> None:
    connector.grant(spec_of(world))
    elsewhere = psycopg.connect(world.persons_dsn(world.alice, "postgres"), autocommit=True)
    idle = psycopg.connect(world.persons_dsn(world.alice, "orders"))
    with elsewhere, idle:
        elsewhere.execute("SET ROLE orders_rw")
        idle.execute(UPDATE)
        assert connector.revoke(spec_of(world)).sessions_closed == 2
        for session in (elsewhere, idle):
            with pytest.raises(ENDED):
                session.execute("SELECT 1")
    row = world.superuser.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone()
    assert row == (0,)


def test_a_busy_session_is_cut_and_another_persons_lives(world: World) -> None:
    connector.grant(spec_of(world))
    ended = threading.Event()

    def work() -> None:
        with world.connect(world.alice) as session:
            try:
                session.execute("SELECT pg_sleep(30)")
            except ENDED:
                ended.set()

    worker = threading.Thread(target=work)
    worker.start()
    with world.connect(world.bob) as other:
        deadline = time.monotonic() + 5
        while not _sleeping(world) and time.monotonic() < deadline:
            time.sleep(0.02)
        connector.revoke(spec_of(world))
        worker.join(5)
        assert ended.is_set()
        other.execute("SELECT 1")


def _sleeping(world: World) -> bool:
    row = world.superuser.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE usename = %s AND wait_event = 'PgSleep'",
        [world.alice],
    ).fetchone()
    return row == (1,)


def test_a_retry_cuts_what_an_attempt_that_was_killed_had_left(world: World) -> None:
    """Killed between the REVOKE and the end of the sessions: the membership is gone already."""
    connector.grant(spec_of(world))
    with world.connect(world.alice) as session:
        session.execute("SET ROLE orders_rw")
        connector.revoke(spec_of(world, resource_settings={"terminate": "never"}))
        receipt = connector.revoke(spec_of(world))
        assert receipt.detail["removed"] is False
        assert receipt.sessions_closed == 1
        with pytest.raises(ENDED):
            session.execute(UPDATE)


@pytest.mark.parametrize("as_superuser", [True, False])
def test_clients_that_reconnect_all_the_time_do_not_hold_up_the_end(
    world: World, as_superuser: bool
) -> None:
    """A superuser sees when sessions began; our own login does not."""
    secret = world.cluster.superuser_url("orders") if as_superuser else world.dsn
    connector.grant(spec_of(world, secret=secret))
    stop = threading.Event()

    def reconnect() -> None:
        while not stop.is_set():
            try:
                with world.connect(world.alice) as session:
                    while not stop.wait(0.005):
                        session.execute("SELECT 1")
            except ENDED:
                continue

    clients = [threading.Thread(target=reconnect) for _ in range(6)]
    for client in clients:
        client.start()
    try:
        deadline = time.monotonic() + 5
        while _sessions(world) < len(clients) and time.monotonic() < deadline:
            time.sleep(0.01)
        started = time.monotonic()
        receipt = connector.revoke(spec_of(world, secret=secret))
        assert time.monotonic() - started < 3
        assert receipt.sessions_closed >= len(clients)
    finally:
        stop.set()
        for client in clients:
            client.join(5)
    assert not world.is_member(world.alice, "orders_rw")


def _sessions(world: World) -> int:
    row = world.superuser.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE usename = %s", [world.alice]
    ).fetchone()
    assert row is not None
    return int(row[0])


def test_a_login_that_may_not_close_sessions_says_what_to_grant(world: World) -> None:
    connector.grant(spec_of(world))
    world.run("REVOKE pg_signal_backend FROM {}", CONNECTOR)
    try:
        with world.connect(world.alice):
            with pytest.raises(PermanentError, match="GRANT pg_signal_backend"):
                connector.revoke(spec_of(world))
            assert not world.is_member(world.alice, "orders_rw")
            health = connector.check(now=now(), resource_settings={}, secret=world.dsn)
            assert not health.ok
            assert "pg_signal_backend" in health.message
            assert connector.check(
                now=now(), resource_settings={"terminate": "never"}, secret=world.dsn
            ).ok
    finally:
        world.run("GRANT pg_signal_backend TO {}", CONNECTOR)
    assert connector.revoke(spec_of(world)).detail["granted"] is False


def test_sessions_that_do_not_end_in_time_are_transient(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing here makes a real backend deaf, so the time is made too short for any."""
    connector.grant(spec_of(world))
    monkeypatch.setattr(postgres_catalog, "CLOSE_WITHIN_SECONDS", -1.0)
    with world.connect(world.alice), pytest.raises(NotYet, match="did not end"):
        connector.revoke(spec_of(world))
    assert not world.is_member(world.alice, "orders_rw")
