"""The demo: which parts it has, in which order they start, and what the visitor is told.

State lies in one folder (DEMO_DIR, `.demo` in the checkout). With DATABASE_URL, BROKER_URL or
ORDERS_DB_DSN in the environment the part of that name is not started and theirs is used.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import os
import secrets
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import LiteralString

import psycopg

from jitportal import broker
from jitportal.embedded import (
    account,
    bastion,
    binaries,
    files,
    greeting,
    orders,
    places,
    roles,
    server,
)
from jitportal.embedded.postgres import Cluster
from jitportal.embedded.supervisor import Interrupted, Program, Supervisor, end_recorded
from jitportal.embedded.terminal import Closed, Terminal

FIRST_PORT = 8000
READY_SECONDS = 90
CELERY_WORKERS = {"due": 2, "provisioning": 8, "notices": 2}  # queue -> threads
ANYBODY: LiteralString = "SELECT FROM approvals_user LIMIT 1"
LEDGER_ORIGIN = "demo.jitportal.example/ledger"
SCHEDULER = "jitportal.schedule:LeadingScheduler"  # keeps nothing in a file

Environment = dict[str, str]


class DemoFailed(Exception):
    """The demo can't go on; the message says why."""


class Demo:
    """One running demo. `checkout` holds manage.py; `developing` reloads code and shows errors."""

    def __init__(self, *, checkout: Path, directory: Path, developing: bool) -> None:
        self._checkout = checkout
        self._directory = directory.absolute()
        self._developing = developing
        self._terminal = Terminal()
        self._lock = files.Lock(self._directory / "lock")
        self._running = self._directory / "running.json"
        self._record = self._directory / "processes.json"
        self._supervisor = Supervisor(terminal=self._terminal, record=self._record)
        self._clusters: dict[str, Cluster] = {}
        if not os.environ.get("DATABASE_URL") or not os.environ.get("BROKER_URL"):
            self._clusters["database"] = Cluster(self._directory / "database")
        if not os.environ.get("ORDERS_DB_DSN"):
            self._clusters["orders-db"] = Cluster(self._directory / "orders-db", max_connections=60)
        self._bastion: bastion.Bastion | None = None
        self._no_bastion = ""
        self._port = 0
        self._told = False

    # -- public -----------------------------------------------------------------------------------

    def run(self) -> None:
        """Everything runs until someone asks us to stop; then nothing of it is left running.

        Raises:
            DemoFailed, server.ClusterFailed, binaries.NoBinaries, account.NoAccount,
            places.UnsafeFolder: see there; everything is stopped then too.
        """
        try:
            self._directory.mkdir(mode=0o711, parents=True, exist_ok=True)
            self._lock.take()
        except PermissionError as error:
            raise DemoFailed(
                f"{self._directory} belongs to someone else: remove it, or set DEMO_DIR."
            ) from error
        except files.Busy as busy:
            where = files.read_json(self._running).get("WEB_URL", "starting")
            raise DemoFailed(f"The demo runs already ({where}): {busy}") from busy
        self._supervisor.listen()
        try:
            with contextlib.suppress(Interrupted, Closed):
                self._start()
                self._supervisor.run(every_tick=self._tick)
        finally:
            self._stop()

    def exports(self) -> Environment:
        """How to reach the running demo. Raises DemoFailed when none runs."""
        if not self._lock.is_held_elsewhere():
            raise DemoFailed("No demo runs here: start one with `make demo`.")
        found = files.read_json(self._running)
        if not found:
            raise DemoFailed("The demo is still starting: try again in a few seconds.")
        return {name: str(value) for name, value in found.items()}

    # -- start --------------------------------------------------------------------------------

    def _start(self) -> None:
        self._running.unlink(missing_ok=True)
        if end_recorded(self._record, mark=f"DEMO_MAIL_DIR={self._directory / 'mail'}"):
            self._say("Ended what an earlier demo left running.")
        self._choose_port()
        for name in self._clusters:
            self._start_cluster(name)
        self._bastion, self._no_bastion = bastion.prepare(self._directory / bastion.NAME)
        environment = self._environment()
        if environment["BROKER_URL"].startswith("pgmq://"):
            broker.install(environment["BROKER_URL"])
        self._fill_database(environment)
        self._supervisor.check()
        self._say("Starting workers and beat.")
        _, *others = self._programs()
        self._supervisor.start(others, environment)
        self._began = time.monotonic()

    def _choose_port(self) -> None:
        wanted = os.environ.get("PORT") or str(FIRST_PORT)
        if not wanted.isdecimal() or not 0 < int(wanted) < 65536:
            raise DemoFailed(f"PORT must be a number from 1 to 65535, not {wanted!r}.")
        for port in range(int(wanted), min(int(wanted) + 200, 65536)):
            if server.is_free(port):
                self._port = port
                break
        else:
            raise DemoFailed(f"No port is free from {wanted} on: set PORT to another one.")
        if self._port != int(wanted):
            self._say(f"Port {wanted} is taken: this demo takes {self._port}.")

    def _start_cluster(self, name: str) -> None:
        self._supervisor.check()
        cluster = self._clusters[name]
        self._say(f"Starting {name}.")
        cluster.start()
        if name == "database":
            roles.prepare(cluster=cluster)
        else:
            orders.prepare(cluster=cluster)

    def _fill_database(self, environment: Environment) -> None:
        """Tables are up to date, and an empty portal gets its people and their history.

        A history that was cut short can't be mended, records being records: the demo's own
        database is then made anew.
        """
        unfinished = self._directory / "seeding"
        cluster = self._own_database()
        if unfinished.exists() and cluster is not None:
            self._say("The demo's history was cut short last time: making it anew.")
            with cluster.connect() as connection:
                connection.execute(f"DROP DATABASE IF EXISTS {roles.DATABASE} WITH (FORCE)")
            roles.prepare(cluster=cluster)
        as_owner = {**environment, "DATABASE_URL": self._owner_url(environment)}
        web, *_ = self._programs()
        self._supervisor.start([web], environment)  # it loads while tables and history are made
        self._manage("migrate", as_owner)
        if self._ask(environment, ANYBODY) is None:
            self._say("Making the demo's people and some months of their history.")
            unfinished.touch()
            self._manage("seed_demo", environment)
        elif self._bastion and self._ask(environment, bastion.LACKED, self._bastion.settings()):
            self._manage("seed_demo", environment)
        unfinished.unlink(missing_ok=True)

    def _ask(
        self, environment: Environment, question: LiteralString, *given: str
    ) -> tuple[object, ...] | None:
        """The answer's first row, from the portal's database."""
        address = environment["DATABASE_URL"]
        with psycopg.connect(address, connect_timeout=5) as connection:
            return connection.execute(question, given).fetchone()

    def _manage(self, command: str, environment: Environment) -> None:
        start = (sys.executable, str(self._checkout / "manage.py"), command)
        details: tuple[str, ...] = ()
        if command == "migrate":
            details = ("--no-input", "--skip-checks", "--verbosity", "0")
        elif self._bastion:
            details = ("--bastion", str(self._bastion.described))
        if self._supervisor.complete(Program("demo", start + details), environment) != 0:
            raise DemoFailed(f"`manage.py {command}` failed, see above.")

    def _programs(self) -> list[Program]:
        python = sys.executable
        web = (
            *(python, "-m", "gunicorn", "jitportal.wsgi", "--bind", f"127.0.0.1:{self._port}"),
            *("--worker-class", "gthread", "--workers", "2", "--threads", "8"),
            *("--graceful-timeout", "3", "--no-control-socket", "--log-level", "warning"),
            *("--access-logfile", "-", "--access-logformat", "%(m)s %(U)s %(s)s %(M)s ms"),
            *(("--reload",) if self._developing else ()),
        )
        celery = (python, "-m", "celery", "-A", "jitportal")
        polite = ("nice", "-n", "10")  # mail waits for whatever removes access
        beat = (*celery, "beat", "--pidfile=", "--scheduler", SCHEDULER)
        quiet = ("--without-mingle", "--without-gossip", "--without-heartbeat")
        return [
            Program("web", web, stop_order=0),
            Program("beat", beat, stop_order=0, shows_output=False),
            *((self._bastion.program(),) if self._bastion else ()),
            *self._sealer(),
            *(
                Program(
                    queue,
                    (
                        *(polite if queue == "notices" else ()),
                        *(*celery, "worker", "-Q", queue, "-n", f"{queue}@%h"),
                        *("-P", "threads", "-c", str(threads), *quiet),
                    ),
                    stop_order=1,
                    shows_output=False,
                )
                for queue, threads in CELERY_WORKERS.items()
            ),
        ]

    def _sealer(self) -> list[Program]:
        """The ledger's sealer, with a database role and a key that nobody else gets."""
        if self._own_database() is not None:
            address = self._url(roles.SEALER)
        else:
            address = os.environ.get("DATABASE_URL_SEALER", "")
        if not address:
            self._say("Nothing is sealed into the ledger: set DATABASE_URL_SEALER for that.")
            return []
        key = self._directory / "ledger.key"
        if not key.exists():
            files.write_private(key, base64.b64encode(secrets.token_bytes(32)).decode())
        command = (sys.executable, str(self._checkout / "manage.py"), "ledger_seal")
        own = (("DATABASE_URL", address), ("DATABASE_POOL", "2"), ("LEDGER_KEY_FILE", str(key)))
        return [Program("sealer", command, stop_order=1, own=own)]

    # -- while it runs ---------------------------------------------------------------------------

    def _tick(self) -> None:
        moved = False
        for name, cluster in self._clusters.items():
            if cluster.pid is None:
                before = cluster.port
                self._say(f"{name} ended; starting it again.")
                cluster.start()
                moved = moved or cluster.port != before
        if moved:
            self._say("Its port was taken meanwhile: everything starts again with the new one.")
            self._running.unlink(missing_ok=True)
            self._told = False
            self._supervisor.restart_all(self._programs(), self._environment())
        if not self._told:
            if self._answers():
                self._tell()
            elif time.monotonic() - self._began > READY_SECONDS:
                self._say(f"No page yet after {READY_SECONDS} s: see the lines marked web.")
                self._began = time.monotonic()

    def _answers(self) -> bool:
        """Whether the sign-in page comes."""
        connection = http.client.HTTPConnection(server.HOST, self._port, timeout=5)
        try:
            connection.request("GET", "/accounts/login/")
            return connection.getresponse().status < 500
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _tell(self) -> None:
        self._told = True
        files.write_private(self._running, files.to_json(self._exports()))
        self._terminal.box(
            greeting.lines(
                port=self._port,
                directory=self._directory,
                orders_db=self._clusters.get("orders-db"),
                ssh=self._bastion.lines() if self._bastion else [self._no_bastion],
            )
        )

    # -- what the parts are given -------------------------------------------------------------

    def _own_database(self) -> Cluster | None:
        return None if os.environ.get("DATABASE_URL") else self._clusters["database"]

    def _environment(self) -> Environment:
        """What web, workers and beat get."""
        mail = self._directory / "mail"
        mail.mkdir(mode=0o700, exist_ok=True)
        own = {
            "DEMO": "1",
            "DEMO_MAIL_DIR": str(mail),
            "PORTAL_URL": f"http://127.0.0.1:{self._port}",
            "ALLOWED_HOSTS": "127.0.0.1,localhost",
            "LOG_FORMAT": "console",
            "LEDGER_ORIGIN": LEDGER_ORIGIN,
            "ERASURE_WAIT_SECONDS": "0",
            "SECRET_KEY": self._secret_key(),
            "DATABASE_URL": os.environ.get("DATABASE_URL") or self._url(roles.APP),
            "BROKER_URL": os.environ.get("BROKER_URL")
            or roles.broker_url(cluster=self._clusters["database"]),
            "ORDERS_DB_DSN": os.environ.get("ORDERS_DB_DSN")
            or orders.connector_dsn(cluster=self._clusters["orders-db"]),
            "PYTHONUNBUFFERED": "1",
            # The demo may run as root, on loopback, and serves static files from where they lie.
            "PYTHONWARNINGS": "ignore:You're running the worker with superuser privileges,"
            "ignore:No directory at",
        }
        own |= self._bastion.environment() if self._bastion else {}
        inherited = {name: value for name, value in os.environ.items() if name != "DEBUG"}
        return {**inherited, **own, **({"DEBUG": "1"} if self._developing else {})}

    def _exports(self) -> Environment:
        environment = self._environment()
        found = {"WEB_URL": environment["PORTAL_URL"]}
        if self._own_database() is not None:
            found |= {
                "DATABASE_URL_APP": self._url(roles.APP),
                "DATABASE_URL_OWNER": self._url(roles.OWNER),
                "DATABASE_URL_SEALER": self._url(roles.SEALER),
                "DATABASE_URL_AUDITOR": self._url(roles.AUDITOR),
                "DATABASE_URL_SUPERUSER": self._clusters["database"].superuser_url(roles.DATABASE),
            }
        else:
            found["DATABASE_URL_APP"] = environment["DATABASE_URL"]
            found["DATABASE_URL_OWNER"] = self._owner_url(environment)
        found |= {name: environment[name] for name in ("BROKER_URL", "ORDERS_DB_DSN")}
        found |= self._bastion.exports() if self._bastion else {}
        if "orders-db" in self._clusters:
            found["ORDERS_DB_ALICE"] = orders.person_url(
                cluster=self._clusters["orders-db"], person="alice"
            )
        return found

    def _url(self, role: str) -> str:
        return self._clusters["database"].socket_url(role, roles.DATABASE)

    def _owner_url(self, environment: Environment) -> str:
        """Who migrates. With a database of yours: DATABASE_URL_OWNER, else whom you gave."""
        if self._own_database() is not None:
            return self._url(roles.OWNER)
        return os.environ.get("DATABASE_URL_OWNER") or environment["DATABASE_URL"]

    def _secret_key(self) -> str:
        path = self._directory / "secret-key"
        if not path.exists():
            files.write_private(path, secrets.token_urlsafe(64))
        return path.read_text()

    # -- stop ---------------------------------------------------------------------------------

    def _stop(self) -> None:
        with contextlib.suppress(Closed):
            self._say("Stopping.")
        self._running.unlink(missing_ok=True)
        for step in self._steps_to_stop():
            with contextlib.suppress(Closed):
                step()
        self._lock.release()
        with contextlib.suppress(Closed):
            self._say("Stopped.")

    def _steps_to_stop(self) -> Iterator[Callable[[], None]]:
        yield lambda: bastion.end_sessions(self._supervisor.pid(bastion.NAME))
        yield self._supervisor.stop
        for cluster in reversed(list(self._clusters.values())):
            yield cluster.stop

    def _say(self, text: str) -> None:
        self._terminal.say("demo", text)


def as_shell(exports: Mapping[str, str]) -> str:
    """The exports as lines that a shell can evaluate."""
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in exports.items())


FAILURES = (
    DemoFailed,
    server.ClusterFailed,
    binaries.NoBinaries,
    account.NoAccount,
    places.UnsafeFolder,
    broker.NotInstalled,
    files.Busy,
)
