"""Whether ten thousand open requests before one approver cost them more than a few hundred.

Two databases of the same company, in which one data owner is asked about 500 requests or about
10,000. Two portal processes open the inbox, narrow it to a person, decide on the first, and decide on
fifty together, in turns.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import psycopg

from tests.bench import filling
from tests.bench.ground import Child, Ground
from tests.bench.rows import Row, median, percentile, row

MODULE = "tests.bench.crowd_client"
FEW, MANY, QUICK = 500, 10_000, 2_000
LOGIN = "p2"
TIME_GOAL = 1.2
QUERIES_GOAL = 12
#: A filter that few pass walks everything that is open: no ratio can be promised, but a time.
FILTER_GOAL_MS = 250
#: Deciding rereads the inbox, so it is promised as the page is, with its commit.
DECIDE_GOAL = 1.3
TOGETHER = 50

# All wait at their second level, for which the data owners are asked: every approver of them for all.
_OPEN = """
INSERT INTO bench_request (n, path, subject, entitlement, submitted_at, duration_seconds)
WITH subjects AS (
    SELECT array_agg(s.id ORDER BY s.id) AS ids, count(*)::int AS many FROM approvals_user s
    JOIN approvals_user m ON m.id = s.manager_id
    WHERE s.username ~ '^p[0-9]+$' AND m.username ~ '^p[0-9]+$' AND m.username NOT IN ('p1', 'p2', 'p3')
), things AS (
    SELECT array_agg(id ORDER BY id) AS ids, count(*)::int AS many FROM approvals_entitlement
)
SELECT n, 'pending2', subjects.ids[1 + n %% subjects.many],
    things.ids[1 + n / subjects.many %% things.many], now() - n %% 7200 * interval '1 min', 3600
FROM generate_series(1, %(requests)s::bigint) n, subjects, things
"""


def run(ground: Ground, *, quick: bool) -> list[Row]:
    """Fill both databases, do everything in turns, and return the rows."""
    sizes = (FEW, QUICK if quick else MANY)
    rows: list[Row] = []
    with ExitStack() as stack:
        names = [stack.enter_context(ground.database(f"bench_crowd_{size}")) for size in sizes]
        few, many = (
            stack.enter_context(
                ground.child(MODULE, name, DJANGO_SETTINGS_MODULE="jitportal.settings")
            )
            for name in names
        )
        for child, name, size in zip((few, many), names, sizes, strict=True):
            ground.say(f"crowd: filling {size:,} open requests")
            child.ask(do="build")
            with ground.admin(name) as admin:
                _fill(admin, size)
        repeats = 8 if quick else 40
        ground.say("crowd: opening, filtering, deciding")
        rows += _measure("inbox", few, many, repeats=repeats, at_most=TIME_GOAL)
        sent = many.ask(do="queries", login=LOGIN)["queries"]
        rows.append(row("crowd.inbox.queries", sent, "queries", at_most=QUERIES_GOAL))
        rows += _measure("filter", few, many, repeats=repeats, value_at_most=FILTER_GOAL_MS)
        rows += _measure("decide", few, many, repeats=repeats, at_most=DECIDE_GOAL)
        rows += _measure("bulk", few, many, repeats=2 if quick else 6, at_most=DECIDE_GOAL)
    return rows


def _fill(admin: psycopg.Connection[Any], requests: int) -> None:
    filling.prepare(admin)
    admin.execute(_OPEN.encode(), {"requests": requests})
    filling.records(admin)
    admin.execute("CHECKPOINT")


def _measure(
    what: str,
    few: Child,
    many: Child,
    *,
    repeats: int,
    at_most: float | None = None,
    value_at_most: float | None = None,
) -> list[Row]:
    for child in (few, many):
        child.ask(do=what, login=LOGIN)
    small: list[float] = []
    large: list[float] = []
    for number in range(repeats):
        pair = ((few, small), (many, large))
        for child, into in pair if number % 2 else reversed(pair):
            into.append(child.ask(do=what, login=LOGIN)["seconds"] * 1000)
    ratio = median([theirs / ours for theirs, ours in zip(large, small, strict=True)])
    return [
        row(
            f"crowd.{what}", median(large), "ms", floor=median(small), ratio=ratio,
            judged="value" if value_at_most else "ratio", at_most=value_at_most or at_most,
        ),
        row(f"crowd.{what}.p95", percentile(large, 95), "ms", floor=percentile(small, 95)),
    ]  # fmt: skip
