"""How long access outlives its end: from its due moment to the target's confirmed removal.

10,000 grants come due within a minute while 100,000 others are active. The real processes end them:
beat, and a worker each for due work, provisioning and notices (whose mail goes nowhere). All times
are the records' own.
"""

from __future__ import annotations

import time
from typing import Any

import psycopg
from psycopg.sql import SQL, Identifier

from jitportal.embedded import roles
from tests.bench import filling
from tests.bench.ground import Ground
from tests.bench.processes import Background, background
from tests.bench.rows import Row, percentile, row

MODULE = "tests.bench.sweep_client"
STEPS = "tests.bench.steps_client"
STEPS_SECONDS = 6.0
ACTIVE, DUE, BACKLOG = 100_000, 10_000, 20_000
WINDOW_SECONDS = 60
#: From listing the grants to the first due moment: until then they are filled in, all is started.
AHEAD_SECONDS = 75
STARTUP_SECONDS = 15
PATIENCE_SECONDS = 120
P50_GOAL, P99_GOAL, SWEEP_GOAL = 0.1, 0.25, 2_000

# Each person and entitlement has one; `first` and `last` are positions among the pairs. Access of
# the k-th of them ends `from_seconds` + (k - first) / (last - first + 1) × `window_seconds` from
# now on.
_GRANTS = """
INSERT INTO bench_request (n, path, subject, entitlement, submitted_at, duration_seconds)
SELECT k, 'active', subjects.ids[1 + k %% subjects.many], things.ids[1 + k / subjects.many],
    now() + (%(from)s + (k - %(first)s) * %(window)s::float / (%(last)s - %(first)s + 1)
    - 605 - 43200) * interval '1 s', 43200
FROM generate_series(%(first)s::int, %(last)s::int) k,
    (SELECT array_agg(id) AS ids, count(*)::int AS many FROM approvals_user
     WHERE username ~ '^[pr][0-9]+$') subjects,
    (SELECT array_agg(id) AS ids FROM approvals_entitlement) things
"""

_LEFT = """
SELECT count(*) FROM approvals_currentrequest c JOIN bench_due d USING (request_id)
WHERE c.state NOT IN ('expired', 'revoked')
"""

_LAGS = """
SELECT extract(epoch FROM r.removal_confirmed_at - r.removal_due_at)::float,
    extract(epoch FROM r.recorded_at - r.removal_due_at)::float,
    extract(epoch FROM r.removal_started_at - r.removal_due_at)::float,
    extract(epoch FROM e.started_at - r.removal_due_at)::float,
    extract(epoch FROM r.removal_due_at - min(r.removal_due_at) OVER ())::float
FROM bench_due d JOIN approvals_accessrequest r USING (request_id)
JOIN approvals_grantevent e ON e.request_id = r.request_id AND e.kind = 'removed'
WHERE r.event = 'confirmed'
"""


def run(ground: Ground, *, quick: bool) -> list[Row]:
    """Let the grants come due, then sweep a backlog; return the rows of both."""
    active, due, backlog = (4_000, 1_000, 3_000) if quick else (ACTIVE, DUE, BACKLOG)
    ahead, window = (40, 15) if quick else (AHEAD_SECONDS, WINDOW_SECONDS)
    with (
        ground.database("bench_removal") as database,
        ground.admin(database) as admin,
        ground.child(MODULE, database, DJANGO_SETTINGS_MODULE="tests.bench.settings") as sweeper,
    ):
        sweeper.ask(do="build")
        floor = _steps(ground, database, admin, per_second=due / window)
        ground.say(f"removal: filling {active:,} active grants")
        filling.prepare(admin)
        _list(admin, first=0, last=active - 1, begins=7_200, window=14_400)
        filling.records(admin)
        rows = _lag(
            ground, database, admin, floor, active=active, due=due, ahead=ahead, window=window
        )
        ground.say(f"removal: sweeping a backlog of {backlog:,}")
        first = active + due
        _list(admin, first=first, last=first + backlog - 1, begins=-60, window=30)
        filling.records(admin)
        swept = sweeper.ask(do="sweep")
    if swept["ended"] < backlog:
        raise RuntimeError(f"Of {backlog} grants that were due, {swept['ended']} were ended.")
    rate = swept["ended"] / swept["seconds"]
    return [*rows, row("removal.sweep", rate, "grants/s", at_least=SWEEP_GOAL)]


def _list(
    admin: psycopg.Connection[Any], *, first: int, last: int, begins: float, window: float
) -> None:
    values = {"first": first, "last": last, "from": begins, "window": window}
    admin.execute(_GRANTS.encode(), values)


def _steps(
    ground: Ground, database: str, admin: psycopg.Connection[Any], *, per_second: float
) -> list[float]:
    """Return the lags of the least that can be done in two steps, as often: see `steps_client`."""
    many = int(per_second * STEPS_SECONDS)
    admin.execute("CREATE TABLE bench_steps (due float)")
    admin.execute(SQL("GRANT ALL ON bench_steps TO {}").format(Identifier(roles.APP)))
    with ground.child(STEPS, database) as ender, ground.child(STEPS, database) as remover:
        remover.send(do="remove", many=many, seconds=STEPS_SECONDS + STARTUP_SECONDS)
        ender.ask(do="end", many=many, seconds=STEPS_SECONDS, ahead=2.0)
        lags: list[float] = remover.receive()
    if len(lags) < many:
        raise RuntimeError(f"Of {many} steps {len(lags)} were taken.")
    return lags


def _lag(
    ground: Ground,
    database: str,
    admin: psycopg.Connection[Any],
    floor: list[float],
    *,
    active: int,
    due: int,
    ahead: float,
    window: float,
) -> list[Row]:
    begins_at = time.monotonic() + ahead
    _list(admin, first=active, last=active + due - 1, begins=ahead, window=window)
    admin.execute("CREATE TABLE bench_due AS SELECT request_id FROM bench_request")
    filling.records(admin)
    admin.execute("CHECKPOINT")
    if time.monotonic() + STARTUP_SECONDS > begins_at:
        raise RuntimeError("Filling took so long that grants would be due before all runs.")
    with background(ground, database) as running:
        ground.say(f"removal: {due:,} come due within {window} s")
        _wait(admin, until=begins_at + window + PATIENCE_SECONDS, running=running)
    left = _number(admin, _LEFT)
    gone = _number(
        admin,
        "SELECT count(*) FROM approvals_currentrequest WHERE state <> 'active'"
        " AND request_id NOT IN (SELECT request_id FROM bench_due)",
    )
    lags = admin.execute(_LAGS.encode()).fetchall()
    confirmed, recorded, started, called, since = (
        list(column) for column in zip(*lags, strict=True)
    )
    # When the call began is left out: it follows the record of the end, and clocks of two processors
    # may differ by more than lies between.
    early = gone + sum(min(times) < 0 for times in zip(confirmed, recorded, started, strict=True))
    if ground.profile:
        for begins in range(0, int(window), 2):
            part = [
                lag for lag, at in zip(confirmed, since, strict=True) if begins <= at < begins + 2
            ]
            ground.say(f"    due after {begins:3} s: {percentile(part, 50):.3f} {max(part):.3f} s")
    return [
        *(
            row(
                f"removal.p{percent}",
                percentile(confirmed, percent),
                "s",
                floor=percentile(floor, percent),
                at_most=goal,
            )
            for percent, goal in ((50, P50_GOAL), (99, P99_GOAL))
        ),
        row("removal.most", max(confirmed), "s"),
        row("removal.early", early, "grants", at_most=0),
        row("removal.lost", left, "grants", at_most=0),
        row("removal.started.p50", percentile(started, 50), "s"),
        row("removal.started.p99", percentile(started, 99), "s"),
        row("removal.called.p50", percentile(called, 50), "s"),
        row("removal.recorded.p50", percentile(recorded, 50), "s"),
        row("removal.recorded.p99", percentile(recorded, 99), "s"),
    ]


def _wait(admin: psycopg.Connection[Any], *, until: float, running: Background) -> None:
    """Wait until nothing that was due is left, or the time is up."""
    while time.monotonic() < until and _number(admin, _LEFT):
        running.look_after()
        time.sleep(1)


def _number(admin: psycopg.Connection[Any], question: str) -> int:
    answer = admin.execute(question.encode()).fetchone()
    assert answer is not None
    return int(answer[0])
