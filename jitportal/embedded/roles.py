"""Gives a cluster the portal's roles and databases: roles.sql and database.sql, with passwords."""

from __future__ import annotations

from importlib import resources

from psycopg import sql

from jitportal.embedded.postgres import Cluster

OWNER = "jitportal_owner"
APP = "jitportal_app"
SEALER = "jitportal_sealer"
AUDITOR = "jitportal_auditor"
BROKER = "jitportal_broker"
ROLES = (OWNER, APP, SEALER, AUDITOR, BROKER)

DATABASE = "jitportal"
BROKER_DATABASE = "jitportal_broker"


def prepare(
    *, cluster: Cluster, database: str = DATABASE, owner_creates_databases: bool = False
) -> None:
    """The running cluster has every role, `database`, and the broker's database. Idempotent.

    Each role can sign in with the password that the cluster keeps. `owner_creates_databases` is
    for test runs, whose owner makes databases of their own.
    """
    with cluster.connect() as connection:
        connection.execute(script("roles.sql"))
        if owner_creates_databases:
            connection.execute(sql.SQL("ALTER ROLE {} CREATEDB").format(sql.Identifier(OWNER)))
    for role in ROLES:
        cluster.set_password(role)
    prepare_database(cluster=cluster, database=database)
    cluster.create_database(BROKER_DATABASE, owner=BROKER)
    with cluster.connect() as connection:
        connection.execute(
            sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(BROKER_DATABASE))
        )


def prepare_database(*, cluster: Cluster, database: str) -> None:
    """`database` exists, belongs to the owner, and lets in whom database.sql names. Idempotent."""
    cluster.create_database(database, owner=OWNER)
    with cluster.connect(database) as connection:
        connection.execute(script("database.sql"))


def broker_url(*, cluster: Cluster) -> str:
    """Where Celery finds the broker that lives in this cluster."""
    return cluster.socket_url(BROKER, BROKER_DATABASE).replace("postgresql://", "pgmq://", 1)


def script(name: str) -> sql.SQL:
    """The text of one of this package's SQL files."""
    text = resources.files(__package__ or "").joinpath(name).read_text(encoding="utf-8")
    return sql.SQL(text)
