"""The database: does it answer, as whom, with which rights, tables, clock and room."""

import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from django.apps import apps
from django.conf import settings
from django.core import checks
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor

from approvals.selectors import clock, processes
from audit.models.guards import APP, record_models
from jitportal.doctor.finding import Finding

VERSION_LEAST = 150_000
#: More than this between a host's clock and the database's is said.
SKEW_MOST = timedelta(seconds=2)
#: Of the server's connections, more than this part in use is too near to none left.
USED_MOST = 0.8
#: Processes that leave no sign of life but connect too: one web host as production.md has it.
WEB_PROCESSES = 4


def reachable() -> Iterator[Finding]:
    """The database answers, and is new enough."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT current_setting('server_version_num')::int")
            (version,) = cursor.fetchone()
    except DatabaseError as error:
        yield Finding(
            f"The database does not answer: {' '.join(str(error).split())[:300]}",
            "Everything of the portal is in it. Nothing works without.",
            "Check host, port, name, user and password of DATABASE_URL, that PostgreSQL runs, and "
            "that pg_hba.conf and firewalls let this host in.",
        )
        return
    if version < VERSION_LEAST:
        yield Finding(
            f"PostgreSQL is of version {version // 10_000}.",
            "The portal needs 15 or newer.",
            "Upgrade the database's server.",
        )


def role() -> Iterator[Finding]:
    """The process connects as a role that may do what it must, and may not change records."""
    for message in checks.run_checks(tags=[checks.Tags.database], databases=["default"]):
        yield Finding(
            message.msg,
            _WHY.get(
                message.id or "",
                "Whoever gets into the web process could then change or drop records.",
            ),
            message.hint or "See docs/production.md.",
        )
    records = {model._meta.db_table for model in record_models()}
    missing, excess = [], []
    existing = set(connection.introspection.table_names())
    for model in apps.get_models(include_auto_created=True):
        table = model._meta.db_table
        if table not in existing or not model._meta.managed:
            continue
        may = _rights(table)
        own = getattr(model, "rights", {}).get(APP, "")
        if own:
            wanted = {word.strip() for word in re.sub(r"\([^)]*\)", "", own).split(",")}
        elif not getattr(model, "app_may_write", True):
            wanted = {"SELECT"}
        elif table in records:
            wanted = {"SELECT", "INSERT"}
        else:
            wanted = {"SELECT", "INSERT", "UPDATE", "DELETE"}
        missing += [f"{right} on {table}" for right in sorted(wanted - may)]
        if table in records:
            excess += [f"{right} on {table}" for right in sorted(may - wanted)]
    if missing:
        yield Finding(
            f"The role {_whoami()} lacks rights: {_some(missing)}.",
            "What needs them fails, often only later.",
            "Connect web, workers and beat as jitportal_app, and run `manage.py migrate` as the "
            "owner: it ends by setting every role's rights.",
        )
    if excess:
        yield Finding(
            f"The role {_whoami()} may change records: {_some(excess)}.",
            "The triggers refuse it, but rights should too.",
            "Connect as jitportal_app, and run `manage.py migrate` as the owner.",
        )


#: Why a check of the database matters, where it is not that records could be changed.
_WHY = {
    "approvals.W002": "The guards of records look at temporary tables last. Nothing needs that "
    "right, and without it nothing hangs on their order.",
}


def _rights(table: str) -> set[str]:
    """Return what the connected role may do with a table, or with some of its columns."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT wanted FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) wanted"
            " WHERE CASE wanted WHEN 'DELETE' THEN has_table_privilege(quote_ident(%s), wanted)"
            " ELSE has_any_column_privilege(quote_ident(%s), wanted) END",
            [table, table],
        )
        return {right for (right,) in cursor.fetchall()}


def _whoami() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_user")
        return str(cursor.fetchone()[0])


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more


def migrations() -> Iterator[Finding]:
    """The tables are those of this version."""
    executor = MigrationExecutor(connection)
    wanted = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if wanted:
        names = [f"{migration.app_label}.{migration.name}" for migration, _ in wanted]
        yield Finding(
            f"Migrations are not applied: {_some(names)}.",
            "This version of the code expects tables or triggers that are not there.",
            "Run `manage.py migrate` with DATABASE_URL of the owner.",
        )
    ours = {config.label for config in apps.get_app_configs()}
    known = executor.loader.disk_migrations
    newer = [
        f"{app}.{name}"
        for app, name in executor.loader.applied_migrations
        if app in ours and executor.loader.replacements.get((app, name)) is None
        and (app, name) not in known
    ]  # fmt: skip
    if newer:
        yield Finding(
            f"The database has migrations that this version does not know: {_some(sorted(newer))}.",
            "A newer version of the portal has run here; this one may misread its tables.",
            "Bring every host to the same, newer version.",
        )


def clocks() -> Iterator[Finding]:
    """This host's clock and the database's agree."""
    best: tuple[float, timedelta] | None = None
    for _ in range(3):
        began, wall = time.monotonic(), datetime.now(UTC)
        there = clock.now()
        took = time.monotonic() - began
        skew = there - (wall + timedelta(seconds=took / 2))
        if best is None or took < best[0]:
            best = took, skew
    assert best is not None
    skew = best[1]
    if abs(skew) > SKEW_MOST + timedelta(seconds=best[0]):
        way = "behind" if skew > timedelta(0) else "ahead of"
        yield Finding(
            f"This host's clock is {abs(skew).total_seconds():.1f} s {way} the database's.",
            "What is due follows the database's clock, but tokens, certificates, signed calls to "
            "targets and the jobs of an hour of the day follow this host's.",
            "Run NTP (chrony, systemd-timesyncd) on this host and on the database's.",
        )


def connections() -> Iterator[Finding]:
    """The server has room for the pools of all processes."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT current_setting('max_connections')::int"
            " - current_setting('superuser_reserved_connections')::int,"
            " (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')"
        )
        room, used = cursor.fetchone()
    if used > room * USED_MOST:
        yield Finding(
            f"{used} of the database's {room} connections are in use.",
            "Once none is left, processes wait and then fail.",
            "Raise max_connections, lower DATABASE_POOL, or run fewer processes.",
        )
    now = clock.now()
    alive = {row.name for row in processes.rows() if now - row.beat_at <= settings.WATCH_SILENT}
    pool = settings.DATABASES["default"]["OPTIONS"]["pool"]["max_size"]
    count = len(alive - set(processes.QUEUES)) + WEB_PROCESSES
    if count * pool > room:
        yield Finding(
            f"{count} processes with at most {pool} connections each could want {count * pool} of "
            f"{room} ({len(alive - set(processes.QUEUES))} that show signs of life, and "
            f"{WEB_PROCESSES} of the web).",
            "Under load the last ones to come would find none left.",
            f"Set max_connections to {count * pool + 20} or more, or DATABASE_POOL to "
            f"{max(2, room // count)}.",
            level="note",
        )
