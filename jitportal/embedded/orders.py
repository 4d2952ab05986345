"""The quick start's target: a second cluster with a shop's database, where access becomes real."""

from __future__ import annotations

from psycopg import sql

from jitportal.embedded.postgres import Cluster
from jitportal.embedded.roles import script

DATABASE = "orders"
CONNECTOR = "jitportal_connector"
CAST = ("alice", "bob", "carol", "erin", "dora")
COLLEAGUES = (
    *("diego", "ingrid", "liam", "marta", "mei", "nadia"),
    *("priya", "ruth", "sofia", "tariq", "tomasz", "yuki"),
)
PEOPLE = CAST + COLLEAGUES
PASSWORD = "demo"  # noqa: S105 - for everyone to know


def prepare(*, cluster: Cluster) -> None:
    """The running cluster has the database `orders`, its people, and the portal's login.

    Idempotent; roles that people hold, and rows that they changed, stay as they are.
    """
    with cluster.connect() as connection:
        connection.execute(script("orders_roles.sql"))
    for person in PEOPLE:
        cluster.set_password(person, PASSWORD)
    cluster.set_password(CONNECTOR)
    cluster.create_database(DATABASE, owner="orders_owner")
    with cluster.connect(DATABASE) as connection, connection.transaction():
        found = connection.execute("SELECT to_regclass('public.customers')").fetchone()
        if found == (None,):
            connection.execute(script("orders.sql"))
    with cluster.connect() as connection:
        for other in ("postgres", "template1"):
            connection.execute(
                sql.SQL("REVOKE CONNECT ON DATABASE {} FROM PUBLIC").format(sql.Identifier(other))
            )


def connector_dsn(*, cluster: Cluster) -> str:
    """What the portal connects with (ORDERS_DB_DSN)."""
    return cluster.url(CONNECTOR, DATABASE)


def person_url(*, cluster: Cluster, person: str) -> str:
    """What a person gives to psql. The password is the demo's, for everyone to know."""
    return f"postgresql://{person}:{PASSWORD}@127.0.0.1:{cluster.port}/{DATABASE}"
