"""Memberships, and what is refused: PostgreSQL's own ways, beyond the contract."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from approvals.connectors.postgres import catalog
from approvals.connectors.postgres_role import PostgresRole
from approvals.connectors.protocol import Held, PermanentError

from .conftest import CONNECTOR, World, spec_of
from .moments import now

UPDATE = "UPDATE orders SET status = 'shipped' WHERE id = 1"

connector = PostgresRole()


@contextmanager
def a_role(world: World, name: str, options: str = "") -> Iterator[str]:
    """A role that jitportal's login may grant."""
    world.run(f"CREATE ROLE {{}} {options}", name)
    world.run("GRANT {} TO {} WITH ADMIN OPTION", name, CONNECTOR)
    yield name
    world.run("DROP ROLE IF EXISTS {}", name)


# -- memberships ---------------------------------------------------------------------------------


def test_a_login_that_does_not_inherit_gets_the_role_by_set_role(world: World) -> None:
    world.run("ALTER ROLE {} NOINHERIT", world.alice)
    receipt = connector.grant(spec_of(world))
    assert receipt.detail["inherits"] is False
    with world.connect(world.alice) as session:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            session.execute(UPDATE)
        session.execute("SET ROLE orders_rw")
        session.execute(UPDATE)


def test_the_receipt_has_the_facts(world: World) -> None:
    receipt = connector.grant(spec_of(world))
    assert receipt.detail == {
        "role": "orders_rw",
        "login": world.alice,
        "database": "orders",
        "granted": True,
        "pre_existing": False,
        "granted_by": [],
        "inherits": True,
    }
    receipt = connector.revoke(spec_of(world))
    refused_after_ms = receipt.detail["refused_after_ms"]
    assert 0 <= refused_after_ms < 10_000
    assert receipt.detail == {
        "refused_after_ms": refused_after_ms,
        "role": "orders_rw",
        "login": world.alice,
        "database": "orders",
        "granted": False,
        "removed": True,
    }


def test_standing_access_that_we_may_take_ends_with_the_lease(world: World) -> None:
    with psycopg.connect(world.dsn, autocommit=True) as ours:
        ours.execute(f"GRANT orders_rw TO {world.alice}")
    receipt = connector.grant(spec_of(world))
    assert receipt.detail["pre_existing"] is True
    assert len(receipt.detail["granted_by"]) == 1
    assert connector.revoke(spec_of(world)).detail["removed"] is True
    assert not world.is_member(world.alice, "orders_rw")


def test_access_that_the_superuser_granted_is_taken_or_refused_aloud(world: World) -> None:
    """Up to 15 there is one membership, which we may revoke; from 16 on it is its grantor's."""
    world.run("GRANT orders_rw TO {}", world.alice)
    assert connector.grant(spec_of(world)).detail["pre_existing"] is True
    if world.per_grantor():
        with pytest.raises(PermanentError, match='granted by "postgres"'):
            connector.revoke(spec_of(world))
        assert world.is_member(world.alice, "orders_rw")
        root = world.cluster.superuser_url("orders")
        assert connector.revoke(spec_of(world, secret=root)).detail["removed"] is True
    else:
        assert connector.revoke(spec_of(world)).detail["removed"] is True
    assert not world.is_member(world.alice, "orders_rw")


def test_a_superusers_connection_works_too_and_takes_every_grantors(world: World) -> None:
    root = world.cluster.superuser_url("orders")
    connector.grant(spec_of(world))
    world.run("GRANT orders_rw TO {}", world.alice)
    connector.grant(spec_of(world, secret=root))
    connector.revoke(spec_of(world, secret=root))
    assert not world.is_member(world.alice, "orders_rw")


def test_a_membership_without_options_is_no_access(world: World) -> None:
    if not world.per_grantor():
        pytest.skip("memberships have no options before 16")
    world.run("GRANT orders_rw TO {} WITH INHERIT FALSE, SET FALSE", world.alice)
    assert _observed(world) == []
    assert connector.grant(spec_of(world)).detail["pre_existing"] is False
    with world.connect(world.alice) as session:
        session.execute(UPDATE)
    connector.revoke(spec_of(world))
    assert _observed(world) == []
    with world.connect(world.alice) as session, pytest.raises(psycopg.errors.InsufficientPrivilege):
        session.execute(UPDATE)


def test_membership_through_another_role_is_told(world: World) -> None:
    with a_role(world, "sales_team") as team:
        world.run("GRANT orders_rw TO {}", team)
        world.run("GRANT {} TO {}", team, world.alice)
        connector.grant(spec_of(world))
        receipt = connector.revoke(spec_of(world))
        assert receipt.detail["still_member_through"] == [team]
        assert receipt.detail["removed"] is True


def test_observe_lists_logins_and_neither_ourselves_nor_groups(world: World) -> None:
    with a_role(world, "sales_team") as team:
        world.run("GRANT orders_rw TO {}", team)
        world.run("GRANT {} TO {}", team, world.alice)
        connector.grant(spec_of(world, login=world.bob))
        world.run("ALTER ROLE {} NOLOGIN", world.bob)
        assert _observed(world) == [Held(world.bob, "a"), Held(world.bob, "b")]


def _observed(world: World) -> list[Held]:
    return connector.observe(
        now=now(),
        resource_settings={},
        secret=world.dsn,
        entitlements={
            "a": {"role": "orders_rw"},
            "b": {"role": "orders_rw"},
            "c": {"role": "orders_ro"},
        },
    )


# -- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options", ["SUPERUSER", "CREATEROLE", "CREATEDB", "REPLICATION", "BYPASSRLS", "LOGIN"]
)
def test_a_powerful_role_is_refused_unless_allowed(world: World, options: str) -> None:
    with a_role(world, "powerful", options) as role:
        refused = spec_of(world, entitlement_settings={"role": role})
        with pytest.raises(PermanentError, match=options):
            connector.grant(refused)
        assert not world.is_member(world.alice, role)
        allowed = spec_of(
            world,
            entitlement_settings={"role": role, "allow_privileged": True},
            secret=world.cluster.superuser_url("orders"),
        )
        connector.grant(allowed)
        assert world.is_member(world.alice, role)


def test_a_role_that_leads_to_a_powerful_one_is_refused(world: World) -> None:
    with a_role(world, "harmless") as role:
        world.run("GRANT pg_execute_server_program TO {}", role)
        with pytest.raises(PermanentError, match="pg_execute_server_program"):
            connector.grant(spec_of(world, entitlement_settings={"role": role}))


def test_a_role_that_owns_objects_is_told(world: World) -> None:
    with a_role(world, "owner") as role:
        world.run("CREATE TABLE owned (id int)")
        world.run("ALTER TABLE owned OWNER TO {}", role)
        receipt = connector.grant(spec_of(world, entitlement_settings={"role": role}))
        assert receipt.detail["role_owns_objects"] is True
        world.run("DROP TABLE owned")


def test_a_disabled_login_is_refused(world: World) -> None:
    world.run("ALTER ROLE {} NOLOGIN", world.alice)
    with pytest.raises(PermanentError, match="no login"):
        connector.grant(spec_of(world))


def test_our_own_login_is_no_subject(world: World) -> None:
    for call in (connector.grant, connector.revoke):
        with pytest.raises(PermanentError, match="own login"):
            call(spec_of(world, login=CONNECTOR))
    assert world.is_member(CONNECTOR, "orders_rw")


def test_a_role_that_we_may_not_grant_says_what_to_do(world: World) -> None:
    world.run("CREATE ROLE foreign_role")
    try:
        with pytest.raises(PermanentError, match="WITH ADMIN OPTION") as caught:
            connector.grant(spec_of(world, entitlement_settings={"role": "foreign_role"}))
        assert caught.value.untouched, "the transaction was taken back"
    finally:
        world.run("DROP ROLE foreign_role")


def test_a_refusal_after_the_grant_leaves_it_to_be_removed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(connection: psycopg.Connection[Any], **_: Any) -> bool:
        connection.execute("SELECT no_such_function()")
        return False

    monkeypatch.setattr(catalog, "owns_objects", refuse)
    with pytest.raises(PermanentError, match="no_such_function") as caught:
        connector.grant(spec_of(world))
    assert world.is_member(world.alice, "orders_rw")
    assert not caught.value.untouched


def test_names_are_names_whatever_they_hold(world: World) -> None:
    hostile = 'a"; DROP ROLE orders_ro; --'
    evil_login = "o'brien \"; DROP ROLE orders_ro; \\ -- $$"
    world.run("CREATE ROLE {} LOGIN", evil_login)
    try:
        with a_role(world, hostile):
            spec = spec_of(world, login=evil_login, entitlement_settings={"role": hostile})
            connector.grant(spec)
            assert world.is_member(evil_login, hostile)
            connector.revoke(spec)
            assert not world.is_member(evil_login, hostile)
            assert world.is_member(CONNECTOR, "orders_ro")
    finally:
        world.run("DROP ROLE {}", evil_login)


def test_a_name_that_postgresql_would_cut_is_refused(world: World) -> None:
    """63 bytes is a name; 64 would be cut to it, and mean the wrong role."""
    with a_role(world, "r" * 63) as role:
        connector.grant(spec_of(world, entitlement_settings={"role": role}))
        assert world.is_member(world.alice, role)
        with pytest.raises(PermanentError, match="63 bytes"):
            connector.grant(spec_of(world, entitlement_settings={"role": role + "r"}))


def test_public_is_no_role(world: World) -> None:
    for name in ("public", "PUBLIC", "none", "current_user", "session_user"):
        with pytest.raises(PermanentError, match="There is no role"):
            connector.grant(spec_of(world, entitlement_settings={"role": name}))
        with pytest.raises(PermanentError, match="There is no login"):
            connector.grant(spec_of(world, login=name))


def test_functions_and_operators_of_the_target_cannot_stand_in_for_the_catalogs(
    world: World,
) -> None:
    world.run("CREATE SCHEMA trap")
    world.run(
        "CREATE FUNCTION trap.pg_has_role(text, text) RETURNS boolean LANGUAGE sql"
        " AS 'SELECT 1/0 = 1'"
    )
    world.run("CREATE FUNCTION trap.eq(name, text) RETURNS boolean LANGUAGE sql AS 'SELECT false'")
    world.run("CREATE OPERATOR trap.= (LEFTARG = name, RIGHTARG = text, FUNCTION = trap.eq)")
    world.run("CREATE VIEW trap.pg_roles AS SELECT 1/0 AS oid")
    world.run("GRANT USAGE ON SCHEMA trap TO public")
    world.run("ALTER ROLE {} SET search_path = trap, pg_catalog", CONNECTOR)
    try:
        connector.grant(spec_of(world))
        assert connector.check(now=now(), resource_settings={}, secret=world.dsn).ok
    finally:
        world.run("ALTER ROLE {} RESET search_path", CONNECTOR)
        world.run("DROP SCHEMA trap CASCADE")
