"""What the ledger costs writers, how fast it seals, how long an entry waits, how fast it verifies."""

from __future__ import annotations

import base64
import json
import os
import re
import resource
import secrets
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from pathlib import Path

import psycopg

from audit.domain import checkpoint, merkle, tiles, verifier
from audit.domain.note import LogSigner
from audit.domain.tiles import WIDTH, Tile
from jitportal.embedded import roles
from tests.audit import sealing_load
from tests.bench import lifecycle
from tests.bench.ground import CHECKOUT, Child, Ground
from tests.bench.rows import Row, median, percentile, row

ORIGIN = "bench.example.com/ledger"
KEY = base64.b64encode(secrets.token_bytes(32)).decode()
VERIFIER = CHECKOUT / "audit" / "domain" / "verifier.py"


def run(ground: Ground, *, quick: bool) -> list[Row]:
    """Measure each in a database of its own."""
    parts: dict[str, Callable[[], list[Row]]] = {
        "writes": lambda: _writes(ground, quick=quick),
        "merge_delay": lambda: _merge_delay(ground, seconds=8 if quick else 60),
        "sealing": lambda: _sealing(ground, entries=20_000 if quick else 200_000),
        "database": lambda: _database(ground, seconds=5 if quick else 40),
        "offline": lambda: _offline(ground, entries=20_000 if quick else 1_000_000),
    }
    wanted = os.environ.get("BENCH_PART", "")
    return [each for name, part in parts.items() if wanted in ("", name) for each in part()]


@contextmanager
def sealer(ground: Ground, database: str) -> Iterator[subprocess.Popen[bytes]]:
    """The real sealer's process, sealing every second."""
    environment = ground.environment(
        database, role=roles.SEALER, LEDGER_KEY=KEY, LEDGER_ORIGIN=ORIGIN
    )
    with ground.log("sealer").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "ledger_seal"],
            cwd=CHECKOUT,
            env=environment,
            stdout=log,
            stderr=log,
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(10)


def _writes(ground: Ground, *, quick: bool) -> list[Row]:
    """The lifecycle bench's load with entries and a sealer, beside the same without either."""
    seconds, rounds = (3.0, 2) if quick else (10.0, 6)
    more = {"DJANGO_SETTINGS_MODULE": "jitportal.settings"}
    with ground.database("bench_ledger") as database, ExitStack() as stack:
        logged, bare = (
            [stack.enter_context(ground.child(lifecycle.MODULE, database, **more)) for _ in "12"]
            for _ in "12"
        )
        logged[0].ask(do="prepare")
        for child in bare:
            child.ask(do="without_ledger")
        sides = {"logged": lifecycle.Side(), "bare": lifecycle.Side()}
        for number in range(rounds):
            ground.say(f"ledger: writes, round {number + 1} of {rounds}")
            turns = ["logged", "bare"] if number % 2 else ["bare", "logged"]
            for turn in turns:
                if turn == "logged":
                    with sealer(ground, database):
                        time.sleep(2)
                        _measure(ground, sides[turn], logged, seconds)
                else:
                    time.sleep(2)  # as the other side has it
                    _measure(ground, sides[turn], bare, seconds)
    with_, without = sides["logged"], sides["bare"]
    pairs = [mine / its for mine, its in zip(with_.rates, without.rates, strict=True)]
    return [
        row(
            "ledger.writes",
            median(with_.rates),
            "lifecycles/s",
            floor=median(without.rates),
            ratio=median(pairs),
            judged="ratio",
            at_least=0.85,
        ),
        row("ledger.writes.cpu", with_.cpu_ms(), "ms/lifecycle", floor=without.cpu_ms()),
    ]


def _measure(ground: Ground, side: lifecycle.Side, children: list[Child], seconds: float) -> None:
    with side.watched(ground):
        answers = lifecycle.load(children, seconds)
        done = sum(int(answer["done"]) for answer in answers)
        rate = done / max(answer["seconds"] for answer in answers)
        side.add(rate, done, sum(answer["cpu_seconds"] for answer in answers))


def _merge_delay(ground: Ground, *, seconds: float) -> list[Row]:
    """From insert to signed checkpoint, with pauses, rollbacks and an idle transaction beside."""
    ground.say(f"ledger: merge delay, {seconds:.0f} s")
    with ground.database("bench_ledger") as database, sealer(ground, database):
        time.sleep(3)
        url = ground.cluster.socket_url(roles.APP, database)
        with sealing_load.idle_transaction(ground.cluster.url(roles.BROKER, roles.BROKER_DATABASE)):
            sealing_load.write(url, seconds=seconds, writers=8)
            time.sleep(2.5)
        with ground.admin(database) as admin:
            found = sealing_load.findings(admin)
    if found.problems or found.unsealed:
        raise RuntimeError(f"{found.unsealed} entries unsealed, {found.problems[:3]}")
    return [
        row("ledger.merge_delay.p50", percentile(found.delays, 50), "s"),
        row("ledger.merge_delay.p99", percentile(found.delays, 99), "s", at_most=1.2),
        row("ledger.merge_delay.entries", len(found.delays), "entries"),
    ]


def _sealing(ground: Ground, *, entries: int) -> list[Row]:
    """A backlog, sealed by one process from its start to its end."""
    ground.say(f"ledger: sealing {entries:,} entries")
    with ground.database("bench_ledger") as database:
        with ground.admin(database) as admin:
            _backlog(admin, entries)
        environment = ground.environment(
            database, role=roles.SEALER, LEDGER_KEY=KEY, LEDGER_ORIGIN=ORIGIN
        )
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        begun = time.monotonic()
        subprocess.run(
            [sys.executable, "manage.py", "ledger_seal", "--once"],
            cwd=CHECKOUT,
            env=environment,
            check=True,
        )
        taken = time.monotonic() - begun
        peak = max(before, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
        with ground.admin(database) as admin:
            answer = admin.execute("SELECT max(size) FROM audit_checkpoint").fetchone()
            assert answer is not None
            assert answer[0] >= entries
    return [
        row("ledger.sealing", entries / taken, "entries/s"),
        row("ledger.sealing.memory", peak / 1024, "MB"),
    ]


def _database(ground: Ground, *, seconds: float) -> list[Row]:
    """The live database held to its log, as the nightly run does: real requests, all sealed."""
    ground.say("ledger: verification of the database")
    with ground.database("bench_ledger") as database, ExitStack() as stack:
        more = {"DJANGO_SETTINGS_MODULE": "jitportal.settings"}
        children = [
            stack.enter_context(ground.child(lifecycle.MODULE, database, **more)) for _ in "12"
        ]
        children[0].ask(do="prepare")
        lifecycle.load(children, seconds)
        found: dict[int, dict[str, float]] = {}
        for role, *command in (
            (roles.SEALER, "ledger_seal", "--once"),
            (roles.AUDITOR, "ledger_verify", "--json"),
            (roles.AUDITOR, "ledger_verify", "--json", "--jobs", "2"),
        ):
            begun = time.monotonic()
            answer = subprocess.run(
                [sys.executable, "manage.py", *command],
                cwd=CHECKOUT,
                env=ground.environment(database, role=role, LEDGER_KEY=KEY, LEDGER_ORIGIN=ORIGIN),
                stdout=subprocess.PIPE,
                check=True,
            )
            if role == roles.AUDITOR:
                taken = time.monotonic() - begun
                entries = json.loads(answer.stdout)["entries"]
                found[2 if "2" in command else 1] = {"entries": entries, "rate": entries / taken}
    return [
        row("ledger.database", found[1]["rate"], "entries/s"),
        row("ledger.database.two_processes", found[2]["rate"], "entries/s"),
        row("ledger.database.entries", found[1]["entries"], "entries"),
    ]


def _backlog(admin: psycopg.Connection[tuple[object, ...]], entries: int) -> None:
    """Insert entries as long as a revision's, in one statement."""
    admin.execute(
        "INSERT INTO audit_entry (model, object_id, record_id, data)"
        " SELECT 'bench', n::text, n,"
        '   convert_to(\'{"actor":"system","fields":{"x":"\' || repeat(\'e\', 700)'
        '     || \'"},"id":"\' || n || \'","model":"bench","op":"made","prev":"",\''
        '     || \'"rev":1,"type":"rev","v":1}\', \'UTF8\')'
        " FROM generate_series(1, %s) n",
        [entries],
    )
    admin.execute("ANALYZE audit_entry")


# -- offline


def _entry(number: int, previous: str, revision: int, commitments: str) -> bytes:
    return (
        f'{{"actor":"system","at":"2026-07-22T16:23:02.000000Z","fields":{{{commitments}}},'
        f'"id":"{number}","model":"request","op":"voted","prev":"{previous}","rev":{revision},'
        f'"type":"rev","v":1}}'
    ).encode()


def _write_export(folder: Path, *, entries: int) -> LogSigner:
    """An export of that many entries, six revisions to an object; the log's signer."""
    signer = LogSigner(name=ORIGIN, seed=secrets.token_bytes(32))
    edge = tiles.Edge()
    previous: dict[int, str] = {}
    for first in range(0, entries, WIDTH):
        made = []
        for index in range(first, min(first + WIDTH, entries)):
            group, place = divmod(index, 6 * 64)
            number, revision = group * 64 + place % 64, place // 64 + 1
            text = ",".join(
                f'"{name}":"{os.urandom(32).hex()}"'
                for name in ("comment", "due_at", "occurred_at", "state")
            )
            made.append(_entry(number, previous.pop(number, ""), revision, text))
            if revision < 6:
                previous[number] = sha256(made[-1]).hexdigest()
        _write(folder, Tile("entries", first // WIDTH, len(made)), tiles.bundle(made))
        edge, new = tiles.append(edge=edge, leaf_hashes=[merkle.leaf_hash(each) for each in made])
        for tile, data in new:
            if tile.width == WIDTH or first + WIDTH >= entries:
                _write(folder, tile, data)
    for level, hashes in enumerate(edge.levels):  # partial tiles of levels that changed earlier
        if hashes:
            tile = Tile(level, (entries >> 8 * level) // WIDTH, len(hashes))
            _write(folder, tile, b"".join(hashes))
    said = checkpoint.Checkpoint(ORIGIN, entries, edge.root)
    (folder / "checkpoint").write_bytes(checkpoint.sign(checkpoint=said, signers=[signer]))
    return signer


def _write(folder: Path, tile: Tile, data: bytes) -> None:
    path = folder / tile.path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _hashlib_seconds(folder: Path) -> float:
    """The time that hashing alone takes: a leaf, a node and a link for each entry, nothing else."""
    taken = 0.0
    for path in sorted((folder / "tile" / "entries").rglob("*")):
        if not path.is_file():
            continue
        data, found, at = path.read_bytes(), [], 0
        while at < len(data):
            end = at + 2 + int.from_bytes(data[at : at + 2], "big")
            found.append(data[at + 2 : end])
            at = end
        begun = time.perf_counter()
        hashes = [sha256(b"\0" + each).digest() for each in found]
        for each in found:
            sha256(each).digest()
        while len(hashes) > 1:
            hashes = [
                sha256(b"\1" + hashes[i] + hashes[i + 1]).digest()
                for i in range(0, len(hashes) - 1, 2)
            ]
        taken += time.perf_counter() - begun
    return taken


def _scan_seconds(folder: Path, *, entries: int) -> float:
    """The time of the verifier's own steps without what it is for: nothing is followed or compared.

    Files are read, bundles split, and what the floor hashes is hashed: the most that its one process
    could reach.
    """
    begun, leaves = time.perf_counter(), []
    for index in range(-(-entries // WIDTH)):
        width = min(WIDTH, entries - index * WIDTH)
        data = verifier.read_tile(folder, "entries", index, width) or b""
        found, _ = verifier.split_bundle(data, width)
        hashes = verifier.hash_leaves(found)
        deque(map(verifier.DIGEST, map(sha256, found)), maxlen=0)
        if width == WIDTH:
            leaves.append(b"".join(hashes))
        if len(leaves) == verifier.CHUNK_BUNDLES:
            verifier.climb(b"".join(leaves), len(leaves))
            leaves.clear()
    return time.perf_counter() - begun


def _offline(ground: Ground, *, entries: int) -> list[Row]:
    """The shipped verifier over an export, beside hashlib over the same entries on one core.

    The promise is of the program as it is started, which is two processes where there are two
    processors. What one of them does is shown beside it, and what it could do at most.
    """
    ground.say(f"ledger: an export of {entries:,} entries")
    folder = ground.folder / "export"
    signer = _write_export(folder, entries=entries)
    ways: dict[str, Callable[[], float]] = {
        "offline": lambda: _verify(folder, signer)[0],
        "offline.one_process": lambda: _verify(folder, signer, jobs=1)[0],
        "offline.one_process.hashing_alone": lambda: _scan_seconds(folder, entries=entries),
    }
    seen: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    floor = _hashlib_seconds(folder)
    for number in range(5):
        ground.say(f"ledger: verifying, round {number + 1} of 5")
        for name, way in ways.items():
            taken, after = way(), _hashlib_seconds(folder)
            seen[name].append((taken, (floor + after) / 2))  # the floor before it and behind it
            floor = after
    found = [
        row(
            f"ledger.{name}",
            entries / median([taken for taken, _ in pairs]),
            "entries/s",
            floor=entries / median([its for _, its in pairs]),
            ratio=median([its / taken for taken, its in pairs]),
            judged="ratio",
            at_least=0.8 if name == "offline" else None,
        )
        for name, pairs in seen.items()
    ]
    for name, jobs in (("offline", 0), ("offline.one_process", 1)):
        _, peak = _verify(folder, signer, jobs=jobs, weigh=True)
        found.append(row(f"ledger.{name}.memory", peak, "MB", at_most=50))
    return found


def _verify(
    folder: Path, signer: LogSigner, *, jobs: int = 0, weigh: bool = False
) -> tuple[float, float]:
    """Return the seconds that it took and the most memory (MB) that its processes had at a time.

    Weighing takes a part of a core that the verifier would use, so it is done in a run of its own.
    """
    begun = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, str(VERIFIER), "export", str(folder), "--vkey", signer.key.vkey,
         "--jobs", str(jobs)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    peak = 0.0
    while weigh and process.poll() is None:
        peak = max(peak, _family_mb(process.pid))
        time.sleep(0.05)
    process.wait()
    taken = time.monotonic() - begun
    said, complaint = process.communicate()
    if process.returncode:
        raise RuntimeError((said + complaint).decode()[-500:])
    return taken, peak


def _family_mb(pid: int) -> float:
    """Return the proportional memory of a process and its children, 0 without /proc."""
    total = 0.0
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
            if int(entry.parent.name) == pid or int(fields[1]) == pid:
                text = (entry.parent / "smaps_rollup").read_text()
                found = re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)
                total += int(found[1]) / 1024 if found else 0
        except OSError:
            continue
    return total
