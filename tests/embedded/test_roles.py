"""The portal's roles have the rights that they need, and lack the others."""

from __future__ import annotations

import psycopg
import pytest

from jitportal.embedded import roles
from jitportal.embedded.postgres import Cluster

READERS = (roles.APP, roles.SEALER, roles.AUDITOR)


def test_no_role_has_an_attribute_of_power(cluster: Cluster) -> None:
    with cluster.connect() as connection:
        found = connection.execute(
            "SELECT rolname FROM pg_roles WHERE rolname LIKE 'jitportal%%' AND (rolsuper OR"
            " rolcreatedb OR rolcreaterole OR rolreplication OR rolbypassrls)"
        )
        assert found.fetchall() == []


def test_no_role_is_a_member_of_another(cluster: Cluster) -> None:
    with cluster.connect() as connection:
        found = connection.execute(
            "SELECT member::regrole::text FROM pg_auth_members"
            " WHERE member::regrole::text = ANY(%s)",
            [list(roles.ROLES)],
        )
        assert found.fetchall() == []


@pytest.mark.parametrize("role", READERS)
@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE mine (n int)",
        "CREATE SCHEMA mine",
        "CREATE TEMPORARY TABLE mine (n int)",
        "CREATE DATABASE mine",
        "CREATE ROLE mine",
        "SET ROLE jitportal_owner",
        "SET session_replication_role = replica",
        "ALTER DATABASE jitportal SET timezone = 'CET'",
    ],
)
def test_app_sealer_and_auditor_make_nothing(cluster: Cluster, role: str, statement: str) -> None:
    with (
        psycopg.connect(cluster.url(role), autocommit=True) as connection,
        pytest.raises(psycopg.Error, match=r"permission denied|must be owner"),
    ):
        connection.execute(statement.encode())


def test_the_owner_owns_the_database_and_makes_no_other(cluster: Cluster) -> None:
    with psycopg.connect(cluster.url(roles.OWNER), autocommit=True) as connection:
        connection.execute("CREATE TABLE made (n int)")
        connection.execute("DROP TABLE made")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("CREATE DATABASE mine")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SET session_replication_role = replica")


@pytest.mark.parametrize(
    ("role", "database"),
    [(roles.BROKER, "jitportal"), *((role, roles.BROKER_DATABASE) for role in READERS)],
)
def test_broker_and_portal_stay_out_of_each_others_database(
    cluster: Cluster, role: str, database: str
) -> None:
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        psycopg.connect(cluster.url(role, database))


def test_preparing_again_changes_nothing(cluster: Cluster) -> None:
    before = cluster.url(roles.APP)
    roles.prepare(cluster=cluster)
    assert cluster.url(roles.APP) == before
    with psycopg.connect(before) as connection:
        assert connection.execute("SELECT current_user").fetchone() == (roles.APP,)
