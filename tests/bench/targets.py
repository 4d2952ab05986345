"""Removal at a real second PostgreSQL, and beside a target that answers nobody.

The portal's real processes end the access; the times are the records' own.
"""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql

from jitportal.embedded.postgres import Cluster
from tests.bench import filling
from tests.bench.ground import Ground
from tests.bench.processes import background
from tests.bench.rows import Row, percentile, row

BUILD = "tests.bench.sweep_client"
LOGIN, ROLE = "jit_connector", "bench_role"
STEADY, BURST, WELL, DEAD = 200, 400, 2_000, 200
WINDOW_SECONDS, STARTUP_SECONDS, PATIENCE_SECONDS = 20, 12, 120
#: Calls of the one worker to one target at a time, as the portal's setting has it.
CONCURRENCY = 4
BOUND_GOAL, BESIDE_GOAL = 1.5, 1.2

_POSTGRES = """
UPDATE approvals_resource SET connector = 'postgres_role', secret = 'env:BENCH_TARGET'
WHERE name = 'db-0';
UPDATE approvals_entitlement e SET settings = jsonb_build_object('role', '{role}')
FROM approvals_resource r WHERE r.id = e.resource_id AND r.name = 'db-0' AND e.name = 'role-0';
UPDATE approvals_resource SET connector = 'postgres_role', secret = 'env:BENCH_HOLE'
WHERE name = 'db-1';
UPDATE approvals_entitlement e SET settings = jsonb_build_object('role', e.name)
FROM approvals_resource r WHERE r.id = e.resource_id AND r.name = 'db-1';
"""

# Active access of `count` people to one entitlement, which ends from `begins` seconds from now on,
# evenly over `window` seconds.
_GRANTS = """
INSERT INTO bench_request (n, path, subject, entitlement, submitted_at, duration_seconds)
SELECT %(mark)s + k, 'active', people.ids[1 + k], e.id,
    now() + (%(begins)s + k * %(window)s::float / %(count)s - 605 - 3600) * interval '1 s', 3600
FROM generate_series(0, %(count)s::int - 1) k,
    (SELECT array_agg(id ORDER BY id) AS ids FROM approvals_user
     WHERE username ~ '^[pr][0-9]+$') people,
    approvals_entitlement e JOIN approvals_resource r ON r.id = e.resource_id
WHERE r.name = %(resource)s AND e.name = %(role)s
"""

_LEFT = """
SELECT count(*) FROM approvals_currentrequest c
JOIN approvals_accessrequest r ON r.id = c.record_id
WHERE r.resource_name = %s AND r.entitlement_name = %s AND c.state NOT IN ('expired', 'revoked')
"""

_LAGS = """
SELECT extract(epoch FROM r.removal_confirmed_at - r.removal_due_at)::float,
    extract(epoch FROM e.occurred_at - e.started_at)::float
FROM approvals_accessrequest r
JOIN approvals_grantevent e ON e.request_id = r.request_id AND e.kind = 'removed'
WHERE r.event = 'confirmed' AND r.resource_name = %s AND r.entitlement_name = %s
"""


def run(ground: Ground, *, quick: bool) -> list[Row]:
    """Measure steady ends and one burst at PostgreSQL, then ends beside a black hole."""
    share = 10 if quick else 1
    with (
        ground.database("bench_targets") as database,
        ground.admin(database) as admin,
        ground.child(BUILD, database, DJANGO_SETTINGS_MODULE="tests.bench.settings") as child,
        target(ground) as dsn,
        black_hole() as hole,
    ):
        child.ask(do="build")
        admin.execute(_POSTGRES.replace("{role}", ROLE).encode())
        filling.prepare(admin)
        logins(dsn, admin)
        here = _Here(ground, database, admin)
        with background(ground, database, BENCH_TARGET=dsn, BENCH_HOLE=hole):
            time.sleep(STARTUP_SECONDS)
            return [
                *_steady(here, count=STEADY // share),
                *_burst(here, count=BURST // share),
                *_beside(here, well=WELL // share, dead=DEAD // share),
            ]


class _Here:
    """The database that a bench works in."""

    def __init__(self, ground: Ground, database: str, admin: psycopg.Connection[Any]) -> None:
        self.ground, self.database, self.admin = ground, database, admin
        self._mark = 0

    def end(self, resource: str, role: str, *, count: int, begins: float, window: float) -> None:
        """Have active access to a role end from `begins` on."""
        values = {"count": count, "begins": begins, "window": window, "mark": self._mark}
        self.admin.execute(_GRANTS.encode(), values | {"resource": resource, "role": role})
        self._mark += count

    def make(self) -> None:
        """Make what was listed."""
        filling.records(self.admin)

    def lags(self, resource: str, role: str) -> tuple[list[float], list[float]]:
        """Wait for the removals; return how late each was, and how long each call took."""
        until = time.monotonic() + WINDOW_SECONDS + PATIENCE_SECONDS
        while self._left(resource, role):
            if time.monotonic() > until:
                raise RuntimeError(f"{self._left(resource, role)} removals at {resource} are left.")
            time.sleep(0.5)
        found = self.admin.execute(_LAGS.encode(), (resource, role)).fetchall()
        return [lag for lag, _ in found], [took for _, took in found]

    def _left(self, resource: str, role: str) -> int:
        answer = self.admin.execute(_LEFT.encode(), (resource, role)).fetchone()
        assert answer is not None
        return int(answer[0])


def _steady(here: _Here, *, count: int) -> list[Row]:
    here.ground.say(f"targets: {count:,} end at PostgreSQL within {WINDOW_SECONDS} s")
    here.end("db-0", "role-0", count=count, begins=8, window=WINDOW_SECONDS)
    here.make()
    lags, took = here.lags("db-0", "role-0")
    return [
        row("targets.postgres.p50", percentile(lags, 50), "s"),
        row("targets.postgres.p99", percentile(lags, 99), "s"),
        row("targets.postgres.call.p50", percentile(took, 50), "s"),
    ]


def _burst(here: _Here, *, count: int) -> list[Row]:
    """All end at one moment: the last is gone when as many calls as that have been made."""
    here.ground.say(f"targets: {count:,} end at PostgreSQL at once")
    here.admin.execute(
        b'UPDATE approvals_entitlement e SET settings = \'{"role": "' + ROLE.encode() + b"2\"}'"
        b" FROM approvals_resource r WHERE r.id = e.resource_id AND r.name = 'db-0'"
        b" AND e.name = 'role-1'"
    )
    here.end("db-0", "role-1", count=count, begins=8, window=0)
    here.make()
    lags, took = here.lags("db-0", "role-1")
    bound = count * percentile(took, 50) / CONCURRENCY
    return [
        row(
            "targets.postgres.burst",
            max(lags),
            "s",
            floor=bound,
            judged="ratio",
            at_most=BOUND_GOAL,
        )
    ]


def _beside(here: _Here, *, well: int, dead: int) -> list[Row]:
    """The same load at a target that works, beside another that works or never answers.

    Twice each, those beside the dead one last, since its removals go on being tried.
    """
    found: dict[str, list[float]] = {"db-3": [], "db-1": []}
    for other, role in (
        ("db-3", "role-2"), ("db-3", "role-3"), ("db-1", "role-4"), ("db-1", "role-5")
    ):  # fmt: skip
        which = "a black hole" if other == "db-1" else "one that is well"
        here.ground.say(f"targets: {well:,} end beside {which}")
        here.end("db-2", role, count=well, begins=8, window=WINDOW_SECONDS)
        here.end(other, role, count=dead, begins=8, window=WINDOW_SECONDS)
        here.make()
        lags, _ = here.lags("db-2", role)
        found[other] += lags
    alone, beside = (percentile(lags, 99) for lags in found.values())
    return [
        row(
            "targets.beside_dead.p99",
            beside,
            "s",
            floor=alone,
            judged="ratio",
            at_most=BESIDE_GOAL,
        )
    ]


@contextmanager
def target(ground: Ground) -> Iterator[str]:
    """A PostgreSQL of its own, with two roles to grant; yields how the portal connects to it."""
    cluster = Cluster(ground.folder / "target", max_connections=60)
    try:
        cluster.start()
        password = secrets.token_urlsafe(16)
        with cluster.connect() as admin:
            admin.execute(
                sql.SQL("CREATE ROLE {} LOGIN CREATEROLE PASSWORD {}").format(
                    sql.Identifier(LOGIN), sql.Literal(password)
                )
            )
        yield f"postgresql://{LOGIN}:{password}@127.0.0.1:{cluster.port}/postgres"
    finally:
        cluster.destroy()


def logins(dsn: str, admin: psycopg.Connection[Any]) -> None:
    """Make everybody's login at the target, as a member of its roles."""
    people = [
        name
        for (name,) in admin.execute(
            "SELECT username FROM approvals_user WHERE username ~ '^[pr][0-9]+$'"
        ).fetchall()
    ]
    with psycopg.connect(dsn) as there:
        for role in (ROLE, f"{ROLE}2"):
            there.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(role)))
        for name in people:
            there.execute(
                sql.SQL("CREATE ROLE {} LOGIN IN ROLE {}, {}").format(
                    sql.Identifier(name), sql.Identifier(ROLE), sql.Identifier(f"{ROLE}2")
                )
            )


@contextmanager
def black_hole() -> Iterator[str]:
    """A port that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=512) as server:
        port = server.getsockname()[1]
        yield f"postgresql://{LOGIN}:x@127.0.0.1:{port}/postgres"
