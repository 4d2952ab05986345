"""Fixtures for all tests: the database as the app role sees it, the cast, a small world.

The owner migrates; then everything runs as `jitportal_app`, as the web and the workers do, so that
a test can't do what they can't.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.core.management import call_command
from django.db import connection
from django.test import TransactionTestCase
from hypothesis import HealthCheck
from hypothesis import settings as examples

from approvals.selectors import clock
from approvals.services import comparing, reconciliation
from jitportal.embedded import roles
from jitportal.embedded.postgres import Cluster
from tests import one_clock, servers
from tests.connectors.noop import Noop
from tests.world import World, build

# A busy machine is no reason for an example to be wrong.
examples.register_profile(
    "busy", examples(), suppress_health_check=[HealthCheck.too_slow], deadline=None
)
examples.load_profile("busy")
one_clock.install()

_KEPT = {"django_migrations", "django_content_type", "auth_permission"}


def connect_as(role: str) -> None:
    """From now on this process's connections are of that role."""
    connection.close()
    connection.close_pool()  # type: ignore[attr-defined]
    connection.settings_dict["USER"] = role
    connection.settings_dict["PASSWORD"] = cluster().password(role)


def cluster() -> Cluster:
    """Return this process's PostgreSQL."""
    assert servers.cluster is not None
    return servers.cluster


@pytest.fixture(scope="session")
def django_db_setup(django_test_environment: None, django_db_blocker: Any) -> None:
    """Migrate as the owner, then go on as the app."""
    with django_db_blocker.unblock():
        connect_as(roles.OWNER)
        call_command("migrate", verbosity=0)
        connect_as(roles.APP)


def truncate(_: object = None) -> None:
    """Empty every table as superuser: only this may, and only by lifting the truncate guards."""
    with psycopg.connect(cluster().superuser_url("jitportal"), autocommit=False) as admin:
        guarded = admin.execute(
            "SELECT tgrelid::regclass::text, tgname FROM pg_trigger"
            " WHERE tgname LIKE '%\\_refuse\\_truncate'"
        ).fetchall()
        tables = admin.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        ).fetchall()
        for table, trigger in guarded:
            admin.execute(f"ALTER TABLE {table} DISABLE TRIGGER {trigger}")
        names = ", ".join(f'"{row[0]}"' for row in tables if row[0] not in _KEPT)
        admin.execute(f"TRUNCATE {names}")
        for table, trigger in guarded:
            admin.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {trigger}")


TransactionTestCase._fixture_teardown = truncate  # type: ignore[attr-defined]


@contextmanager
def as_role(role: str) -> Iterator[psycopg.Connection[Any]]:
    """A plain connection to the test database as `jitportal_owner`, `_app` or the superuser."""
    url = cluster().superuser_url("jitportal") if role == "superuser" else cluster().url(role)
    with psycopg.connect(url) as raw:
        yield raw
        if not raw.closed:  # the server goes on a moment after it was left: its locks must not
            raw.commit()
            raw.execute("SELECT pg_advisory_unlock_all()")


@pytest.fixture
def noop(tmp_path: Path) -> Iterator[Noop]:
    """The connector that records its calls, registered for the test."""
    from approvals.connectors import registry

    connector = Noop(tmp_path)
    with registry.registered(connector):
        yield connector


@pytest.fixture
def world(db: None, noop: Noop) -> World:
    """The cast and a few things to ask for, on the no-op target."""
    return build(now=clock.now())


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[timedelta], None]:
    """Moves what the portal takes for now, so that what a test let end lies in the past."""
    real = clock.now

    def move(by: timedelta) -> None:
        monkeypatch.setattr(clock, "now", lambda: real() + by)

    return move


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What happened before a look at a target counts as settled, so that no test has to wait."""
    real = reconciliation.observe

    def observe(*, resource_id: int) -> bool:
        one_clock.settle()
        return real(resource_id=resource_id)

    monkeypatch.setattr(comparing, "MARGIN", timedelta(0))
    monkeypatch.setattr(reconciliation, "observe", observe)


@pytest.fixture
def now() -> datetime:
    """The database's clock."""
    return clock.now()
