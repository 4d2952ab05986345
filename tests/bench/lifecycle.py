"""How fast the services write requests, beside pgbench running the same statements.

Eight threads write: as the portal is deployed, two processes with four each (which is what is
promised), and all in one process, where Python's lock lets one of them compute at a time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial

from tests.bench import floor
from tests.bench.ground import Child, Ground
from tests.bench.rows import Row, median, row

MODULE = "tests.bench.lifecycle_load"
THREADS = 8
GOAL = 0.4
STARTUP_SECONDS = 2.5


def run(ground: Ground, *, quick: bool) -> list[Row]:
    """Measure floor, deployment and single process in turns; return their rows."""
    seconds, rounds = (3, 3) if quick else (10, 6)
    with ground.database("bench_lifecycle") as database, ExitStack() as stack:
        more = {"DJANGO_SETTINGS_MODULE": "jitportal.settings"}
        one, two = (stack.enter_context(ground.child(MODULE, database, **more)) for _ in range(2))
        one.ask(do="prepare")
        seen = one.ask(do="capture")
        if ground.profile:
            ground.say(one.ask(do="profile", rounds=50, first=40)["text"])
        path = ground.folder / "lifecycle.sql"
        path.write_text(
            floor.script(seen["statements"], request_id=seen["request_id"], subject=seen["subject"])
        )
        floors, deployed, single = Side(), Side(), Side()

        def run_floor(number: int) -> None:
            with _any_entry(ground, database), floors.watched(ground):
                below = floor.measure(
                    program=ground.program("pgbench"),
                    url=ground.environment(database)["DATABASE_URL"],
                    script=path,
                    clients=THREADS,
                    seconds=seconds,
                    first_round=number * 10_000_000,
                )
                floors.add(below.rate, below.count, below.cpu_seconds)

        def run_ours(children: list[Child], side: Side) -> None:
            with side.watched(ground):
                answers = load(children, seconds)
                done = sum(int(answer["done"]) for answer in answers)
                rate = done / max(answer["seconds"] for answer in answers)
                side.add(rate, done, sum(answer["cpu_seconds"] for answer in answers))

        for number in range(rounds):
            ground.say(f"lifecycle: round {number + 1} of {rounds}")
            turns: list[Callable[[], None]] = [
                partial(run_floor, number),
                partial(run_ours, [one, two], deployed),
                partial(run_ours, [one], single),
            ]
            for turn in range(3):  # who goes first changes: what one leaves to be vacuumed, too
                turns[(number + turn) % 3]()
        statements = len(seen["statements"])
    return [
        _row("lifecycle.two_processes", floors, deployed, goal=GOAL),
        _row("lifecycle.one_process", floors, single, goal=None),
        row("lifecycle.cpu", deployed.cpu_ms(), "ms/lifecycle", floor=floors.cpu_ms()),
        row("lifecycle.cpu.python", median(deployed.client_ms), "ms/lifecycle"),
        row("lifecycle.statements", statements, "statements"),
    ]


_STAMP = """
CREATE OR REPLACE FUNCTION audit_stamp_entry() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.xid := pg_current_xact_id();
  NEW.recorded_at := clock_timestamp();
  RETURN NEW;
END $$
"""


@contextmanager
def _any_entry(ground: Ground, database: str) -> Iterator[None]:
    """The database takes entries as they were captured, which name another request than the row.

    So the floor goes without the look at an entry's form that ours pays for.
    """
    with ground.admin(database) as admin:
        query = "SELECT pg_get_functiondef('audit_stamp_entry'::regproc)"
        (defined,) = admin.execute(query).fetchall()[0]
        admin.execute(_STAMP)
        try:
            yield
        finally:
            admin.execute(defined.encode())


@dataclass
class Side:
    """What one side reached, round by round. Times of the processor do not depend on neighbours."""

    rates: list[float] = field(default_factory=list)
    client_ms: list[float] = field(default_factory=list)
    database_ms: list[float] = field(default_factory=list)

    @contextmanager
    def watched(self, ground: Ground) -> Iterator[None]:
        """What the database works meanwhile belongs to the round that is added."""
        before = ground.database_cpu_seconds()
        yield
        self.database_ms.append(1000 * (ground.database_cpu_seconds() - before) / self._count)

    def add(self, rate: float, count: int, cpu_seconds: float) -> None:
        """Note a round: lifecycles a second and in all, and the client's processor time."""
        self._count = count
        self.rates.append(rate)
        self.client_ms.append(1000 * cpu_seconds / count)

    def cpu_ms(self) -> float:
        """Return the processor time of client and database for one lifecycle."""
        return median(self.client_ms) + median(self.database_ms)


def _row(name: str, below: Side, ours: Side, *, goal: float | None) -> Row:
    pairs = [mine / its for mine, its in zip(ours.rates, below.rates, strict=True)]
    return row(
        name,
        median(ours.rates),
        "lifecycles/s",
        floor=median(below.rates),
        ratio=median(pairs),
        judged="ratio",
        at_least=goal,
    )


def load(children: list[Child], seconds: float) -> list[dict[str, float]]:
    """Let the children write at the same time, THREADS threads among them; return their answers."""
    start_at = time.time() + STARTUP_SECONDS
    each = THREADS // len(children)
    for number, child in enumerate(children):
        child.send(do="run", seconds=seconds, threads=each, first=number * each, start_at=start_at)
    return [child.receive() for child in children]
