"""Whether pages cost the same however many requests there are: 1,000 beside 1,000,000.

Both databases hold the same company, and the person whose page is opened has the same of their own
in both. Two portal processes open the same page in turns.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import psycopg

from tests.bench import filling
from tests.bench.ground import Child, Ground
from tests.bench.rows import Row, median, percentile, row

MODULE = "tests.bench.pages_client"
SMALL, LARGE, QUICK = 1_000, 1_000_000, 50_000
TIME_GOAL = 1.2
QUERIES_GOAL = 12
REPORT_MB_GOAL = 150
AUDITOR = "auditor"
#: Page and who opens it. The catalogue was not promised anything; it is shown beside the others.
PAGES = {"inbox": "decider", "my_access": "asker", "request": "asker", "catalogue": "asker"}
PROMISED = {"inbox", "my_access", "request"}

# Shares per thousand: 5 pending, 10 active, the others settled over the last two years.
_OTHERS = """
INSERT INTO bench_request (n, path, subject, entitlement, submitted_at, duration_seconds)
WITH subjects AS (
    SELECT array_agg(id ORDER BY id) AS ids, count(*)::int AS many FROM approvals_user
    WHERE username ~ '^p[0-9]+$' AND manager_id <> (SELECT id FROM approvals_user
                                                    WHERE username = 'boss')
), things AS (
    SELECT array_agg(id ORDER BY id) AS ids, count(*)::int AS many FROM approvals_entitlement
), drawn AS (
    SELECT n, n * 7919 %% 1000 AS share FROM generate_series(1, %(requests)s::bigint) n
), numbered AS (  -- those that are open need a pair of person and entitlement of their own
    SELECT n, share, row_number() OVER (PARTITION BY share < 15 ORDER BY n) AS k FROM drawn
)
SELECT n,
    CASE WHEN share < 3 THEN 'pending1' WHEN share < 5 THEN 'pending2' WHEN share < 15 THEN 'active'
         WHEN share < 600 THEN 'expired' WHEN share < 690 THEN 'revoked' WHEN share < 850
         THEN 'denied' WHEN share < 950 THEN 'cancelled' ELSE 'lapsed' END,
    subjects.ids[1 + CASE WHEN share < 15 THEN k %% many_subjects
                          ELSE abs(hashint8extended(n, 1) %% many_subjects) END],
    things.ids[1 + CASE WHEN share < 15 THEN k / many_subjects %% things.many
                        ELSE abs(hashint8extended(n, 2) %% things.many) END],
    CASE WHEN share < 5 THEN now() - n %% 7200 * interval '1 min'
         WHEN share < 15 THEN now() - interval '1 h' - n %% 1000 * interval '1 s'
         ELSE now() - interval '2 years' + n * interval '660 days' / %(requests)s END,
    CASE WHEN share BETWEEN 5 AND 14 THEN 6 * 3600 ELSE 900 + n %% 28 * 900 END
FROM numbered, subjects, things, LATERAL (SELECT subjects.many AS many_subjects) m
"""

# asker: 60 requests, of which 2 wait and 3 are active. decider: 40 requests of the reports.
_OWN = """
INSERT INTO bench_request (n, path, subject, entitlement, submitted_at, duration_seconds)
SELECT 1000000000 + g, CASE WHEN g <= 2 THEN 'pending1' WHEN g <= 5 THEN 'active' WHEN g % 7 = 0
    THEN 'denied' WHEN g % 9 = 0 THEN 'revoked' ELSE 'expired' END,
    asker.id, e.id, now() - interval '50 min' - CASE WHEN g <= 5 THEN g * interval '1 min'
    ELSE g * interval '5 days' END, CASE WHEN g <= 5 THEN 6 * 3600 ELSE 7200 END
FROM (SELECT id FROM approvals_user WHERE username = 'asker') asker,
    (SELECT id, row_number() OVER (ORDER BY id) AS g FROM approvals_entitlement) e
WHERE g <= 60;
INSERT INTO bench_request (n, path, subject, entitlement, submitted_at, duration_seconds)
SELECT 1100000000 + row_number() OVER (ORDER BY s.id), 'pending1', s.id,
    (SELECT min(id) FROM approvals_entitlement), now() - row_number() OVER (ORDER BY s.id) *
    interval '10 min', 3600
FROM approvals_user s JOIN approvals_user d ON d.id = s.manager_id WHERE d.username = 'decider';
"""


def run(ground: Ground, *, quick: bool) -> list[Row]:
    """Fill both databases, open every page in turns, and return their rows."""
    sizes = (SMALL, QUICK if quick else LARGE)
    repeats = 15 if quick else 60
    rows: list[Row] = []
    with ExitStack() as stack:
        names = [stack.enter_context(ground.database(f"bench_pages_{size}")) for size in sizes]
        small, large = (
            stack.enter_context(
                ground.child(MODULE, name, DJANGO_SETTINGS_MODULE="jitportal.settings")
            )
            for name in names
        )
        for child, name, size in zip((small, large), names, sizes, strict=True):
            ground.say(f"pages: filling {size:,} requests")
            child.ask(do="build")
            with ground.admin(name) as admin:
                _fill(admin, size)
        for page, login in PAGES.items():
            ground.say(f"pages: opening {page}")
            rows += _measure(page, login, small, large, repeats=repeats)
            if ground.profile:
                with ground.admin(names[1]) as admin:
                    _explain(ground, admin, large.ask(do="queries", page=page, login=login))
        ground.say("pages: taking reports")
        large.ask(do="auditor", login=AUDITOR)
        rows += _reports(ground, names[1])
    return rows


def _reports(ground: Ground, database: str) -> list[Row]:
    """Take the longest report as a file, in a process of its own, whose memory is the file's."""
    with ground.child(MODULE, database, DJANGO_SETTINGS_MODULE="jitportal.settings") as child:
        file = child.ask(do="take", report="request-population", login=AUDITOR)
        counts = child.ask(do="count", login=AUDITOR)
    return [
        row("pages.report.rows", file["rows"], "rows"),
        row("pages.report.rate", file["rows"] / file["seconds"], "rows/s"),
        row("pages.report.memory", file["memory"], "MB", at_most=REPORT_MB_GOAL),
        row("pages.reports.counts", counts["seconds"], "s"),
    ]


def _fill(admin: psycopg.Connection[Any], requests: int) -> None:
    filling.prepare(admin)
    admin.execute(_OTHERS.encode(), {"requests": requests})
    for statement in _OWN.split(";\n"):
        if statement.strip():
            admin.execute(statement.encode())
    filling.records(admin)
    admin.execute("CHECKPOINT")


def _measure(page: str, login: str, small: Child, large: Child, *, repeats: int) -> list[Row]:
    for child in (small, large):
        for _ in range(5):
            child.ask(do="open", page=page, login=login)
    few: list[float] = []
    many: list[float] = []
    for number in range(repeats):
        pair = ((small, few), (large, many))
        for child, into in pair if number % 2 else reversed(pair):
            answer = child.ask(do="open", page=page, login=login)
            into.append(answer["seconds"] * 1000)
    sent = len(large.ask(do="queries", page=page, login=login))
    promised = page in PROMISED
    return [
        row(
            f"pages.{page}",
            median(many),
            "ms",
            floor=median(few),
            ratio=median([theirs / ours for theirs, ours in zip(many, few, strict=True)]),
            judged="ratio",
            at_most=TIME_GOAL if promised else None,
        ),
        row(f"pages.{page}.p95", percentile(many, 95), "ms", floor=percentile(few, 95)),
        row(
            f"pages.{page}.queries",
            sent,
            "queries",
            at_most=QUERIES_GOAL if promised else None,
        ),
    ]


def _explain(ground: Ground, admin: psycopg.Connection[Any], sent: list[dict[str, str]]) -> None:
    """Say how the database answers each query of a page."""
    for query in sent:
        ground.say(f"\n{query['time']} s  {query['sql'][:2000]}")
        if query["sql"].lstrip().upper().startswith(("SELECT", "WITH", "(SELECT")):
            plan = admin.execute(f"EXPLAIN (ANALYZE, BUFFERS) {query['sql']}".encode())
            ground.say("\n".join(f"    {line[0]}" for line in plan))
