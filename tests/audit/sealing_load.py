"""Many writers of the same objects, who pause and roll back, and what became of what they wrote."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import psycopg

OBJECTS = 40


def write(url: str, *, seconds: float, writers: int, seed: int = 7) -> int:
    """Write revisions of shared objects from several connections; return how many were committed.

    Each writer holds an object, reads its newest entry, inserts the next, pauses up to 30 ms before
    it commits, and rolls one in eight back.
    """
    ends = time.monotonic() + seconds
    counts = [0] * writers
    errors: list[BaseException] = []

    def work(number: int) -> None:
        chance = random.Random(seed * 1000 + number)
        try:
            with psycopg.connect(url) as connection:
                while time.monotonic() < ends:
                    _revise(connection, f"object-{chance.randrange(OBJECTS)}")
                    time.sleep(chance.random() * 0.03)
                    if chance.random() < 1 / 8:
                        connection.rollback()
                    else:
                        connection.commit()
                        counts[number] += 1
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=[number]) for number in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return sum(counts)


def _revise(connection: psycopg.Connection[Any], name: str) -> None:
    connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 3))", [name])
    row = connection.execute(
        "SELECT data FROM audit_entry WHERE model = 'load' AND object_id = %s"
        " ORDER BY id DESC LIMIT 1",
        [name],
    ).fetchone()
    revision = json.loads(row[0])["rev"] + 1 if row else 1
    previous = sha256(row[0]).hexdigest() if row else ""
    data = (
        '{"actor":"system","at":"2026-07-22T16:23:02.000000Z","fields":{},'
        f'"id":"{name}","model":"load","op":"load","prev":"{previous}","rev":{revision},'
        '"type":"rev","v":1}'
    )
    connection.execute(
        "INSERT INTO audit_entry (model, object_id, record_id, data) VALUES ('load', %s, NULL, %s)",
        [name, data.encode()],
    )


@contextmanager
def idle_transaction(url: str) -> Iterator[None]:
    """Somebody begins a transaction, gets a number for it, and does nothing more."""
    with psycopg.connect(url) as connection:
        connection.execute("SELECT pg_current_xact_id()")
        yield
        connection.rollback()


@dataclass
class Findings:
    """What became of the entries: their delays in seconds, what is unsealed, what is wrong."""

    delays: list[float] = field(default_factory=list)
    unsealed: int = 0
    problems: list[str] = field(default_factory=list)


def findings(connection: psycopg.Connection[Any]) -> Findings:
    """Compare the entries of the load with the log: each once, each object's in its order.

    An entry's delay is from its insert, not its commit, to the signature of the first checkpoint
    that covers it, by the database's clock.
    """
    found = Findings()
    rows = connection.execute(
        "SELECT e.data, l.index, extract(epoch FROM c.signed_at - e.recorded_at)::float"
        " FROM audit_entry e LEFT JOIN audit_leaf l ON l.entry_id = e.id"
        " LEFT JOIN LATERAL (SELECT min(signed_at) AS signed_at FROM audit_checkpoint c"
        "   WHERE c.log_id = l.log_id AND c.size > l.index) c ON true"
        " WHERE e.model = 'load' ORDER BY l.index"
    )
    newest: dict[str, tuple[int, str]] = {}
    for data, index, delay in rows:
        entry = json.loads(data)
        if index is None:
            found.unsealed += 1
            continue
        revision, previous = newest.get(entry["id"], (0, ""))
        if (entry["rev"], entry["prev"]) != (revision + 1, previous):
            found.problems.append(f"leaf {index} does not follow in {entry['id']}")
        newest[entry["id"]] = entry["rev"], sha256(data).hexdigest()
        found.delays.append(delay)
    gaps = connection.execute(
        "SELECT count(*), coalesce(max(index) + 1, 0) FROM audit_leaf"
    ).fetchone()
    if gaps is not None and gaps[0] != gaps[1]:
        found.problems.append(f"{gaps[0]} leaves in a log of {gaps[1]}")
    return found
