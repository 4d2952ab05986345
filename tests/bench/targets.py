"""Removal at a real second PostgreSQL, and beside a target that answers nobody.

The portal's real processes end the access; the times are the records' own, but for those of minted
logins, which are tried from outside (`login_lag`).
"""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import psycopg
from psycopg import sql

from jitportal.embedded.postgres import Cluster
from tests.bench import filling, login_lag
from tests.bench.ground import Child, Ground
from tests.bench.processes import Background, background
from tests.bench.rows import Row, percentile, row

CLIENT = "tests.bench.targets_client"
LOGIN, ROLE = "jit_connector", "bench_role"
#: The roles of the many that end within a minute: each of `MANY_EACH` people has them all.
MANY_ROLES, MANY_EACH, ACTIVE = 4, 1_000, 100_000
STEADY, BURST, LOGINS, WELL, DEAD = 200, 400, 40, 2_000, 200
WINDOW_SECONDS, STARTUP_SECONDS, PATIENCE_SECONDS = 20, 12, 120
MANY_WINDOW_SECONDS, MANY_PATIENCE_SECONDS = 60, 900
#: From listing grants to their first due moment: until then the many are filled in and all is
#: started, or logins are minted.
AHEAD_SECONDS, AHEAD_QUICK_SECONDS, MINTING_SECONDS = 90, 60, 60
#: Calls of the one worker to one target at a time, as the portal's setting has it.
CONCURRENCY = 4
BOUND_GOAL, BESIDE_GOAL = 1.5, 1.2
#: What a sign-in takes at most while the machine is busy.
SIGN_IN_SECONDS = 0.2

_POSTGRES = """
UPDATE approvals_resource SET connector = 'postgres_role', secret = 'env:BENCH_TARGET', settings = '{}'
WHERE name = 'db-0';
UPDATE approvals_entitlement e SET settings = jsonb_build_object('role', '{role}')
FROM approvals_resource r WHERE r.id = e.resource_id AND r.name = 'db-0' AND e.name = 'role-0';
UPDATE approvals_resource SET connector = 'postgres_role', secret = 'env:BENCH_HOLE', settings = '{}'
WHERE name = 'db-1';
UPDATE approvals_entitlement e SET settings = jsonb_build_object('role', e.name)
FROM approvals_resource r WHERE r.id = e.resource_id AND r.name = 'db-1';
UPDATE approvals_resource SET connector = 'postgres_login', secret = 'env:BENCH_TARGET', settings = '{}'
WHERE name = 'db-4';
UPDATE approvals_entitlement e SET settings = jsonb_build_object('role', '{role}')
FROM approvals_resource r WHERE r.id = e.resource_id AND r.name = 'db-4' AND e.name = 'role-0';
"""
_MANY_ROLES = """
UPDATE approvals_resource SET connector = 'postgres_role', secret = 'env:BENCH_TARGET', settings = '{}'
WHERE name = 'db-0';
UPDATE approvals_entitlement e SET settings = jsonb_build_object('role', 'bench_' || e.name)
FROM approvals_resource r WHERE r.id = e.resource_id AND r.name = 'db-0';
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

# Active access to other targets, none of which ends while this lasts.
_ACTIVE = """
INSERT INTO bench_request (n, path, subject, entitlement, submitted_at, duration_seconds)
SELECT 1000000 + k, 'active', people.ids[1 + k %% people.many], things.ids[1 + k / people.many],
    now() + (7200 + k * 14400::float / %(count)s - 605 - 43200) * interval '1 s', 43200
FROM generate_series(0, %(count)s::int - 1) k,
    (SELECT array_agg(id ORDER BY id) AS ids, count(*)::int AS many FROM approvals_user
     WHERE username ~ '^[pr][0-9]+$') people,
    (SELECT array_agg(e.id ORDER BY e.id) AS ids FROM approvals_entitlement e
     JOIN approvals_resource r ON r.id = e.resource_id WHERE r.connector = 'bench') things
"""

_LEFT = """
SELECT count(*) FROM approvals_currentrequest c
JOIN approvals_accessrequest r ON r.id = c.record_id
WHERE r.resource_name = %s AND r.entitlement_name LIKE %s AND c.state NOT IN ('expired', 'revoked')
"""

_LAGS = """
SELECT extract(epoch FROM r.removal_confirmed_at - r.removal_due_at)::float,
    extract(epoch FROM e.occurred_at - e.started_at)::float,
    extract(epoch FROM e.started_at - r.removal_due_at)::float
        + (r.detail #>> '{receipt,refused_after_ms}')::float / 1000,
    extract(epoch FROM r.removal_confirmed_at - min(r.removal_due_at) OVER ())::float
FROM approvals_accessrequest r
JOIN approvals_grantevent e ON e.request_id = r.request_id AND e.kind = 'removed'
WHERE r.event = 'confirmed' AND r.resource_name = %s AND r.entitlement_name LIKE %s
"""


def run(ground: Ground, *, quick: bool) -> list[Row]:
    """Measure ends at PostgreSQL, of minted logins, in masses, and beside a black hole."""
    share = 10 if quick else 1
    with target(ground) as server:
        dsn = server.url
        with (
            _database(ground, "bench_targets", _POSTGRES, server) as here,
            black_hole() as hole,
            background(ground, here.name, BENCH_TARGET=dsn, BENCH_HOLE=hole) as here.running,
        ):
            time.sleep(STARTUP_SECONDS)
            rows = [
                *_steady(here, count=STEADY // share),
                *_burst(here, count=BURST // share),
                *_minted(here, server, count=LOGINS // share),
                *_beside(here, well=WELL // share, dead=DEAD // share),
            ]
        with _database(ground, "bench_targets_many", _MANY_ROLES, server) as here:
            return [
                *rows,
                *_many(
                    here,
                    dsn,
                    each=MANY_EACH // share,
                    active=ACTIVE // (share * share),
                    window=MANY_WINDOW_SECONDS // (4 if quick else 1),
                    ahead=AHEAD_QUICK_SECONDS if quick else AHEAD_SECONDS,
                ),
            ]


@contextmanager
def _database(ground: Ground, name: str, settings: str, server: _Server) -> Iterator[_Here]:
    """A database with the company, whose people have logins at the server; `settings` is SQL."""
    with (
        ground.database(name) as database,
        ground.admin(database) as admin,
        ground.child(CLIENT, database, DJANGO_SETTINGS_MODULE="tests.bench.settings") as child,
    ):
        child.ask(do="build")
        admin.execute(settings.replace("{role}", ROLE).encode())
        filling.prepare(admin)
        server.know(admin)
        yield _Here(ground, database, admin, child)


@dataclass(frozen=True)
class _Server:
    """The second PostgreSQL, and how the portal connects to it."""

    cluster: Cluster
    url: str

    def know(self, admin: psycopg.Connection[Any]) -> None:
        """Make the login of everybody who has none yet, as a member of each role."""
        people = admin.execute(
            "SELECT username FROM approvals_user WHERE username ~ '^[pr][0-9]+$'"
        )
        with psycopg.connect(self.url) as there:
            known = {name for (name,) in there.execute("SELECT rolname FROM pg_roles")}
            roles = sql.SQL(", ").join(map(sql.Identifier, _roles()))
            for (name,) in people.fetchall():
                if name not in known:
                    there.execute(
                        sql.SQL("CREATE ROLE {} LOGIN IN ROLE {}").format(
                            sql.Identifier(name), roles
                        )
                    )


class _Here:
    """The database that a bench works in."""

    def __init__(
        self, ground: Ground, name: str, admin: psycopg.Connection[Any], child: Child
    ) -> None:
        self.ground, self.name, self.admin, self.child = ground, name, admin, child
        self.running: Background | None = None
        self._mark = 0

    def end(self, resource: str, role: str, *, count: int, begins: float, window: float) -> None:
        """Have active access to a role end from `begins` on."""
        values = {"count": count, "begins": begins, "window": window, "mark": self._mark}
        self.admin.execute(_GRANTS.encode(), values | {"resource": resource, "role": role})
        self._mark += count

    def make(self) -> None:
        """Make what was listed."""
        filling.records(self.admin)

    def lags(self, resource: str, role: str, *, patience: float = PATIENCE_SECONDS) -> list[_Lag]:
        """Wait for the removals of roles that are LIKE `role`; return how each went."""
        until = time.monotonic() + WINDOW_SECONDS + patience
        while self.left(resource, role):
            if self.running:
                self.running.look_after()
            if time.monotonic() > until:
                raise RuntimeError(f"{self.left(resource, role)} removals at {resource} are left.")
            time.sleep(0.5)
        return [_Lag(*row) for row in self.admin.execute(_LAGS.encode(), (resource, role))]

    def left(self, resource: str, role: str) -> int:
        """Return how many are not confirmed."""
        answer = self.admin.execute(_LEFT.encode(), (resource, role)).fetchone()
        assert answer is not None
        return int(answer[0])


class _Lag(NamedTuple):
    """One removal in seconds: how late, how long the call, when new use was refused, since when.

    `login` is after it was due, where the target told; `since_first` after the first of all was.
    """

    lag: float
    took: float
    login: float | None
    since_first: float


def _spread(name: str, values: Sequence[float]) -> list[Row]:
    return [row(f"{name}.p{at}", percentile(values, at), "s") for at in (50, 99)]


def _steady(here: _Here, *, count: int) -> list[Row]:
    here.ground.say(f"targets: {count:,} end at PostgreSQL within {WINDOW_SECONDS} s")
    here.end("db-0", "role-0", count=count, begins=8, window=WINDOW_SECONDS)
    here.make()
    found = here.lags("db-0", "role-0")
    return [
        *_spread("targets.postgres", [each.lag for each in found]),
        *_spread(
            "targets.postgres.login", [each.login for each in found if each.login is not None]
        ),
        row("targets.postgres.call.p50", percentile([each.took for each in found], 50), "s"),
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
    found = here.lags("db-0", "role-1")
    bound = count * percentile([each.took for each in found], 50) / CONCURRENCY
    return [
        row(
            "targets.postgres.burst",
            max(each.lag for each in found),
            "s",
            floor=bound,
            judged="ratio",
            at_most=BOUND_GOAL,
        )
    ]


def _minted(here: _Here, server: _Server, *, count: int) -> list[Row]:
    """Logins that the target itself ends: tried from outside at their end, one after the other."""
    here.ground.say(f"targets: {count:,} minted logins end, tried from outside")
    begins_at = time.monotonic() + MINTING_SECONDS
    here.end("db-4", "role-0", count=count, begins=MINTING_SECONDS, window=count / 2)
    here.make()
    logins = here.child.ask(do="mint", resource="db-4", role=ROLE, dsn=server.url)
    if time.monotonic() + count * SIGN_IN_SECONDS > begins_at:
        raise RuntimeError("Minting took so long that logins would end before they are tried.")
    seen = login_lag.watch(logins, port=server.cluster.port)
    here.lags("db-4", "role-0")
    closed = [each.session_closed for each in seen if each.session_closed is not None]
    if len(closed) < count:
        raise RuntimeError(f"{count - len(closed)} sessions of minted logins were not closed.")
    return [
        row("targets.login.lag", max(each.login_lag for each in seen), "s", at_most=0),
        row("targets.login.refused.p50", percentile([each.refused[0] for each in seen], 50), "s"),
        *_spread("targets.login.session", closed),
        row("targets.login.session.early", sum(at < 0 for at in closed), "sessions", at_most=0),
    ]


def _many(
    here: _Here, dsn: str, *, each: int, active: int, window: float, ahead: float
) -> list[Row]:
    """More than the target can take ends within a minute, while others stay active elsewhere.

    The floor is the time of as many calls as there are, `CONCURRENCY` at a time.
    """
    here.ground.say(f"targets: filling {active:,} active grants")
    here.admin.execute(_ACTIVE.encode(), {"count": active})
    here.make()
    begins_at = time.monotonic() + ahead
    count = MANY_ROLES * each
    for number in range(MANY_ROLES):
        here.end("db-0", f"role-{number}", count=each, begins=ahead, window=window)
    here.make()
    here.admin.execute("CHECKPOINT")
    if time.monotonic() + STARTUP_SECONDS > begins_at:
        raise RuntimeError("Filling took so long that grants would be due before all runs.")
    with background(here.ground, here.name, BENCH_TARGET=dsn) as here.running:
        here.ground.say(f"targets: {count:,} end at PostgreSQL within {window} s")
        patience = ahead + window + MANY_PATIENCE_SECONDS
        found = here.lags("db-0", "role-%", patience=patience)
    gone = here.admin.execute(
        "SELECT count(*) FROM approvals_currentrequest c"
        " JOIN approvals_accessrequest r ON r.id = c.record_id"
        " WHERE c.state <> 'active' AND r.resource_name <> 'db-0'"
    ).fetchone()
    assert gone is not None
    early = int(gone[0]) + sum(one.lag < 0 for one in found)
    bound = count * percentile([one.took for one in found], 50) / CONCURRENCY
    drained = max(one.since_first for one in found)
    return [
        *_spread("targets.many", [one.lag for one in found]),
        *_spread("targets.many.login", [one.login for one in found if one.login is not None]),
        row("targets.many.drained", drained, "s", floor=bound, judged="ratio", at_most=BOUND_GOAL),
        row("targets.many.rate", count / drained, "grants/s"),
        row("targets.many.early", early, "grants", at_most=0),
        row("targets.many.lost", count - len(found), "grants", at_most=0),
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
        found[other] += [each.lag for each in here.lags("db-2", role)]
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
def target(ground: Ground) -> Iterator[_Server]:
    """A PostgreSQL of its own, with roles to grant and the portal's login."""
    cluster = Cluster(ground.folder / "target", max_connections=100)
    try:
        cluster.start()
        password = secrets.token_urlsafe(16)
        with cluster.connect() as admin:
            admin.execute(
                sql.SQL(
                    "CREATE ROLE {} LOGIN CREATEROLE PASSWORD {} IN ROLE pg_signal_backend"
                ).format(sql.Identifier(LOGIN), sql.Literal(password))
            )
        url = f"postgresql://{LOGIN}:{password}@127.0.0.1:{cluster.port}/postgres"
        with psycopg.connect(url) as there:
            for role in _roles():
                there.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(role)))
        yield _Server(cluster, url)
    finally:
        cluster.destroy()


def _roles() -> list[str]:
    return [ROLE, f"{ROLE}2", *(f"bench_role-{number}" for number in range(MANY_ROLES))]


@contextmanager
def black_hole() -> Iterator[str]:
    """A port that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=512) as server:
        port = server.getsockname()[1]
        yield f"postgresql://{LOGIN}:x@127.0.0.1:{port}/postgres"
