"""Children of the removal bench's floor: the least that a removal in two steps can take here.

One wakes at each moment and writes a row, the other one hears of it and deletes the row; both
commit, over the portal's own way to the database. Nothing is reckoned, looked up or recorded.
"""

from __future__ import annotations

import os
import time

import psycopg

from tests.bench import ground

_ORIGIN = "SELECT extract(epoch FROM clock_timestamp())::float"
_END = "INSERT INTO bench_steps (due) VALUES (%s)"
_REMOVE = "DELETE FROM bench_steps RETURNING extract(epoch FROM clock_timestamp())::float - due"


def _connect() -> psycopg.Connection[tuple[float]]:
    return psycopg.connect(os.environ["DATABASE_URL"], autocommit=True)


def end(*, many: int, seconds: float, ahead: float) -> int:
    """Write a row at each of so many moments, evenly within `seconds`, from `ahead` seconds on."""
    with _connect() as connection:
        row = connection.execute(_ORIGIN).fetchone()
        assert row is not None
        origin, begun = row[0], time.monotonic()
        for number in range(many):
            due = ahead + number * seconds / many
            time.sleep(max(0.0, begun + due - time.monotonic()))
            with connection.transaction():
                connection.execute(_END, [origin + due])
                connection.execute("NOTIFY bench_steps")
    return many


def remove(*, many: int, seconds: float) -> list[float]:
    """Delete what the other one writes; return for each row how long that was after its moment."""
    lags: list[float] = []
    ends = time.monotonic() + seconds
    with _connect() as connection, _connect() as working:
        connection.execute("LISTEN bench_steps")
        while len(lags) < many and time.monotonic() < ends:
            for _ in connection.notifies(timeout=0.5, stop_after=1):
                lags += [lag for (lag,) in working.execute(_REMOVE).fetchall()]
    return lags


if __name__ == "__main__":
    ground.answer({"end": end, "remove": remove})
