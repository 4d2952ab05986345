"""One run: makes the ground, starts everything, breaks it by plan, heals it, waits for the drain."""

from __future__ import annotations

import base64
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from jitportal.embedded import roles, server
from jitportal.embedded.postgres import Cluster
from tests.bench.ground import CHECKOUT, FOREIGN
from tests.chaos import plan, processes, skew, targets
from tests.chaos.gate import Gate
from tests.services import smtp

PEOPLE = 48
THREADS, PAGE_THREADS = 6, 2
LEASE_SECONDS = 15
STUCK_SECONDS = 10
#: Seconds that clients may take after the last request to finish what they began.
PATIENCE_SECONDS = 12.0
#: Seconds that a process needs at least until it works; more where its start was seen to take more.
SETTLE_SECONDS = 8.0
#: Seconds after the last request until an operator presses "retry now" for what still pauses.
OPERATOR_SECONDS = 75.0
DRAIN_SECONDS = 240.0


@dataclass
class Evidence:
    """Where the traces of a run lie, and what was done to it."""

    folder: Path
    admin_url: str
    seconds: float
    began_at: float = 0.0
    clients: dict[str, int] = field(default_factory=dict)
    done: Counter[str] = field(default_factory=Counter)
    settle_seconds: float = SETTLE_SECONDS
    killed: list[tuple[float, str]] = field(default_factory=list)
    gone: list[tuple[float, str]] = field(default_factory=list)
    started: list[tuple[float, str]] = field(default_factory=list)
    ended: Counter[str] = field(default_factory=Counter)
    database_away: list[tuple[float, float]] = field(default_factory=list)
    outage: list[float] = field(default_factory=list)
    mails: dict[str, list[float]] = field(default_factory=dict)
    members: list[tuple[float, list[list[str]]]] = field(default_factory=list)
    retried: int = 0
    drained_after: float | None = None
    left: dict[str, int] = field(default_factory=dict)
    skewed: bool = False
    leaders: int = 0
    verify: dict[str, Any] = field(default_factory=dict)
    verify_status: int = -1
    held: dict[str, list[list[str]]] = field(default_factory=dict)


class Stamped(list[Any]):
    """A list that knows when each thing was added."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []

    def append(self, thing: Any) -> None:
        """Add it, now."""
        self.times.append(time.time())
        super().append(thing)


class Run:
    """Everything of one run; only the main thread starts and kills."""

    def __init__(self, folder: Path, *, say: Callable[[str], None], seed: int) -> None:
        self.folder = folder
        self.say = say
        self.seed = seed
        self.stack = ExitStack()
        self.epoch = time.time() - time.monotonic()

    def go(self, *, seconds: float, requests: int, outage: float | None = None) -> Evidence:
        """Do all of it, and return the evidence; everything is stopped then, but the database."""
        self._ground(seconds)
        self._portal()
        self._load(seconds, requests, outage)
        self._heal_and_drain()
        self._last_look()
        return self.evidence

    # -- before ------------------------------------------------------------------------------------

    def _ground(self, seconds: float) -> None:
        self.cluster = Cluster(self.folder / "database", max_connections=250)
        self.stack.callback(self.cluster.destroy)
        self.cluster.start()
        roles.prepare(cluster=self.cluster)
        self.target = Cluster(self.folder / "target", fast=True)
        self.stack.callback(self.target.destroy)
        self.target.start()
        self.gate = Gate(self.target.port)
        self.stack.callback(self.gate.close)
        self._prepare_target()
        self.gate.become("open")
        self.evidence = Evidence(self.folder, self.cluster.superuser_url(roles.DATABASE), seconds)
        self.mail = self.stack.enter_context(smtp.running())
        self.mails = self.mail.mails = Stamped()
        self.mail.handle_error = lambda *_: None  # type: ignore[method-assign]  # killed senders
        self.folders = targets.all_in(self.folder)
        self.folders["slow"].control(before_seconds=0.25, after_seconds=0.05)
        self.ports = [server.free_port(), server.free_port()]
        self.redis_port = server.free_port()

    def _prepare_target(self) -> None:
        with self.target.connect() as admin:
            names = sql.Identifier
            admin.execute("CREATE ROLE chaos_portal LOGIN")
            admin.execute("GRANT pg_signal_backend, pg_read_all_stats TO chaos_portal")
            for entitlement in targets.ENTITLEMENTS:
                role = names(f"chaos_{entitlement}")
                admin.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(role))
                admin.execute(
                    sql.SQL("GRANT {} TO chaos_portal WITH ADMIN TRUE, INHERIT FALSE, SET FALSE")
                    .format(role)
                )  # fmt: skip
            for number in range(PEOPLE):
                admin.execute(sql.SQL("CREATE ROLE {} LOGIN").format(names(f"p{number}")))
        self.target.set_password("chaos_portal")

    def environment(self, role: str = roles.APP) -> dict[str, str]:
        """What the portal's processes get."""
        inherited = {name: value for name, value in os.environ.items() if name not in FOREIGN}
        dsn = self.target.url("chaos_portal", "postgres")
        return inherited | {
            "DJANGO_SETTINGS_MODULE": "jitportal.settings",
            "DATABASE_URL": self.cluster.socket_url(role),
            "DATABASE_POOL": "12",
            "BROKER_URL": f"redis://127.0.0.1:{self.redis_port}/0",
            "SECRET_KEY": "a-key-for-chaos-only-" + "x" * 40,
            "PORTAL_URL": f"http://127.0.0.1:{self.ports[0]}",
            "EMAIL_URL": f"smtp://127.0.0.1:{self.mail.port}",
            "OUTBOX_LEASE_SECONDS": str(LEASE_SECONDS),
            "STUCK_AFTER_SECONDS": str(STUCK_SECONDS),
            "LOG_FORMAT": "console",
            "CHAOS_FOLDER": str(self.folder),
            "CHAOS_EPOCH": str(self.epoch),
            "CHAOS_TARGET_DSN": dsn.replace(f":{self.target.port}/", f":{self.gate.port}/"),
            "PYTHONUNBUFFERED": "1",
            "PYTHONWARNINGS": "ignore:You're running the worker with superuser privileges,"
            "ignore:No directory at",
        }  # fmt: skip

    def _portal(self) -> None:
        as_owner = self.environment(roles.OWNER)
        for command in ("createcachetable", "migrate"):
            self._python("manage.py", command, "--verbosity", "0", environment=as_owner)
        said = self._python("-m", "tests.chaos.company", str(PEOPLE))
        self.sessions: dict[str, str] = json.loads(said)
        key = self.folder / "ledger.key"
        key.write_text(base64.b64encode(secrets.token_bytes(32)).decode())
        self.broker = processes.Processes(self.folder, dict(os.environ))
        self.stack.callback(self.broker.stop)
        self.broker.add("redis", processes.redis(self.redis_port, self.folder))
        self.parts = processes.Processes(self.folder, self.environment())
        self.stack.callback(self.parts.stop)
        self.clock = skew.Clock(self.folder, "second-host")
        self.evidence.skewed = self.clock.make()
        for number, port in enumerate(self.ports, 1):
            off = self.clock.environment if number == 2 else {}
            self.parts.add(f"beat-{number}", processes.beat(), **off)
            for queue, work in processes.workers(number).items():
                self.parts.add(f"{queue}-{number}", work, **off)
            self.parts.add(f"web-{number}", processes.web(port), **off)
        self.parts.add(
            "sealer", processes.sealer(), LEDGER_KEY_FILE=str(key), DATABASE_POOL="2",
            DATABASE_URL=self.cluster.socket_url(roles.SEALER),
        )  # fmt: skip
        self.say("chaos: waiting for the processes to answer")
        began = time.monotonic()
        self._wait_for(self._pages_answer, 90)
        self.evidence.settle_seconds = max(SETTLE_SECONDS, time.monotonic() - began)

    def _pages_answer(self) -> bool:
        import urllib.error
        import urllib.request

        for port in self.ports:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2):
                    pass
            except (urllib.error.URLError, OSError):
                return False
        return True

    def _python(self, *command: str, environment: dict[str, str] | None = None) -> str:
        with (self.folder / "manage.log").open("ab") as log:
            done = subprocess.run(
                [sys.executable, *command], cwd=CHECKOUT, stderr=log, stdout=subprocess.PIPE,
                env=environment or self.environment(), check=True, text=True,
            )  # fmt: skip
        return done.stdout

    def _wait_for(self, condition: Callable[[], bool], seconds: float) -> bool:
        ends = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > ends:
                return False
            self.parts.look_after()
            time.sleep(0.2)
        return True

    # -- while it runs -----------------------------------------------------------------------------

    def _load(self, seconds: float, requests: int, outage: float | None) -> None:
        orders = self.folder / "orders.json"
        threads = THREADS + PAGE_THREADS
        orders.write_text(
            json.dumps(
                {
                    "folder": str(self.folder), "seconds": seconds, "people": PEOPLE,
                    "threads": THREADS, "page_threads": PAGE_THREADS, "seed": self.seed,
                    "pause_seconds": seconds * threads / requests,
                    "patience_seconds": PATIENCE_SECONDS,
                    "ports": self.ports, "sessions": self.sessions,
                }
            )
        )  # fmt: skip
        steps = plan.make(seconds=seconds, seed=self.seed, outage=outage)
        with (self.folder / "clients.log").open("ab") as log:
            clients = subprocess.Popen(
                [sys.executable, "-m", "tests.chaos.clients", str(orders)], cwd=CHECKOUT,
                env=self.environment() | {"DATABASE_POOL": "16"},
                stdout=subprocess.PIPE, stderr=log, text=True,
            )  # fmt: skip
        self.stack.callback(clients.kill)
        begun = time.monotonic()
        self.evidence.began_at = time.time()
        watched_at = 0.0
        now = 0.0
        while clients.poll() is None or steps:
            now = time.monotonic() - begun
            while steps and steps[0].at <= now:
                self._disturb(steps.pop(0))
            self.broker.look_after()
            self.parts.look_after()
            if now - watched_at >= 0.5:
                watched_at = now
                self._watch()
            time.sleep(0.05)
        assert clients.stdout is not None
        said = clients.stdout.read()
        if clients.returncode != 0:
            raise RuntimeError(f"The clients ended; {self.folder}/clients.log says why.")
        self.evidence.clients = json.loads(said)

    def _disturb(self, step: plan.Step) -> None:
        at = time.time() - self.evidence.began_at
        settle = self.evidence.settle_seconds
        if step.what == "kill" and not self.parts.are_settled(step.whom, for_seconds=settle):
            # Killed while the other one still loads, nobody would be there but for moments.
            self.evidence.done["kills left out"] += 1
            return
        self.say(f"chaos: {at:6.1f} s  {step.what} {step.whom} {step.seconds:.1f}")
        self.evidence.done[step.what] += 1
        if step.what == "kill":
            for name in self.parts.of(step.whom):
                self.parts.kill(name, away_seconds=step.seconds)
        elif step.what == "broker":
            self.broker.kill("redis", away_seconds=step.seconds)
        elif step.what == "clock":
            self.clock.jump(int(step.whom))
        elif step.what == "outage":
            self.evidence.outage.append(time.time())
            self._outage(step.whom)
        else:
            self._restart_database(step.seconds)

    def _outage(self, mood: str) -> None:
        flapping = self.folders["flapping"]
        if mood == "refused":
            flapping.control(fail="transient")
        elif mood == "silent":
            flapping.control(fail="transient", before_seconds=LEASE_SECONDS / 3)
        else:
            flapping.control()
        self.gate.become(mood)  # type: ignore[arg-type]

    def _restart_database(self, away_seconds: float) -> None:
        """As `pg_ctl restart -m immediate`: no checkpoint, sessions cut, recovery at the start."""
        pid = self.cluster.pid
        assert pid is not None
        began = time.time()
        os.kill(pid, signal.SIGQUIT)
        while self.cluster.pid is not None:
            time.sleep(0.02)
        time.sleep(away_seconds)
        port = self.cluster.port
        self.cluster.start()
        assert self.cluster.port == port, "somebody took the database's port"
        self.evidence.database_away.append((began, time.time()))

    def _watch(self) -> None:
        """Look who is in which role at the real target, past the gate."""
        at = time.time()
        with self.target.connect() as admin:
            rows = admin.execute(
                "SELECT m.rolname, r.rolname FROM pg_auth_members a"
                " JOIN pg_roles r ON r.oid = a.roleid JOIN pg_roles m ON m.oid = a.member"
                " WHERE m.rolname ~ '^p[0-9]+$'"
            ).fetchall()
        self.evidence.members.append((at, [[a, b.removeprefix("chaos_")] for a, b in rows]))

    # -- afterwards --------------------------------------------------------------------------------

    def _heal_and_drain(self) -> None:
        self.say("chaos: everything is healed; waiting for what is left")
        self._outage("open")
        self.clock.jump(0)
        self.broker.start_all()
        self.parts.start_all()
        begun = time.monotonic()
        self._cancel_orphans()
        retried = False
        while time.monotonic() - begun < DRAIN_SECONDS:
            self.broker.look_after()
            self.parts.look_after()
            self._watch()
            self.evidence.left = self._left()
            if not any(self.evidence.left.values()):
                self.evidence.drained_after = time.monotonic() - begun
                return
            if not retried and time.monotonic() - begun > OPERATOR_SECONDS:
                retried = True
                self.evidence.retried = self._retry_now()
            time.sleep(0.5)

    def _left(self) -> dict[str, int]:
        with psycopg.connect(self.evidence.admin_url, autocommit=True) as admin:
            rows = admin.execute(
                "SELECT 'requests ' || state, count(*) FROM approvals_currentrequest"
                " WHERE state IN ('pending', 'approved', 'active', 'revoking') GROUP BY state"
                " UNION ALL SELECT 'outbox ' || topic, count(*) FROM approvals_outboxitem"
                " WHERE topic <> 'request.remind' GROUP BY topic"
                " UNION ALL SELECT 'unsealed', count(*) FROM audit_entry e WHERE NOT EXISTS"
                " (SELECT FROM audit_leaf l WHERE l.entry_id = e.id)"
            ).fetchall()
        return {str(name): int(count) for name, count in rows if count}

    def _cancel_orphans(self) -> None:
        """Withdraw, as the operator, what clients asked for and never heard of again."""
        found = self._python("-m", "tests.chaos.operators", "cancel")
        self.evidence.done["cancelled by the operator"] = int(found)

    def _retry_now(self) -> int:
        return int(self._python("-m", "tests.chaos.operators", "retry"))

    def _last_look(self) -> None:
        evidence = self.evidence
        self._watch()
        evidence.killed = [*self.parts.killed, *self.broker.killed]
        evidence.gone = [*self.parts.gone, *self.broker.gone]
        evidence.started = [*self.parts.started, *self.broker.started]
        evidence.ended = self.parts.ended
        for name, target in self.folders.items():
            evidence.held[name] = [list(pair) for pair in sorted(target.held())]
        evidence.held[targets.DATABASE] = evidence.members[-1][1]
        for mail, at in zip(self.mails, self.mails.times, strict=True):
            evidence.mails.setdefault(str(mail["Message-ID"]), []).append(at)
        evidence.leaders = sum(
            (self.folder / f"beat-{number}.log").read_text(errors="replace").count("beat.leads")
            for number in (1, 2)
        )
        self.parts.stop()
        with (self.folder / "manage.log").open("ab") as log:
            done = subprocess.run(
                [sys.executable, "manage.py", "ledger_verify", "--json"], cwd=CHECKOUT, text=True,
                env=self.environment(), stdout=subprocess.PIPE, stderr=log, check=False,
            )  # fmt: skip
        evidence.verify_status = done.returncode
        evidence.verify = json.loads(done.stdout or "{}")
