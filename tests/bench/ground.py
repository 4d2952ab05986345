"""What benches stand on: a durable cluster of their own, its databases, and child processes.

A database is made once by the migrations, as the owner, and copied from then on.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from jitportal.embedded import account, binaries, places, roles
from jitportal.embedded.postgres import Cluster

CHECKOUT = Path(__file__).resolve().parents[2]
MODEL = "bench_model"
#: Settings of a portal that must not reach a bench from outside.
FOREIGN = {
    "BROKER_URL", "DATABASE_ROLE", "DATABASE_URL", "DEBUG", "DEMO", "DEMO_MAIL_DIR", "EMAIL_URL",
    "ORDERS_DB_DSN", "PORTAL_URL",
}  # fmt: skip


@dataclass
class Ground:
    """The cluster of this run, and where its logs go. `say` tells the reader what is under way."""

    cluster: Cluster
    folder: Path
    say: Callable[[str], None]
    profile: bool = False
    _have_model: bool = field(default=False, init=False)

    @contextmanager
    def database(self, name: str) -> Iterator[str]:
        """A database of the newest schema, empty; it is dropped afterwards."""
        if not self._have_model:
            self._drop(MODEL)
            roles.prepare_database(cluster=self.cluster, database=MODEL)
            environment = self.environment(MODEL, role=roles.OWNER)
            for command in ("createcachetable", "migrate"):
                self._manage(command, environment)
            self._have_model = True
        self._drop(name)
        with self.cluster.connect() as admin:
            admin.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                    sql.Identifier(name), sql.Identifier(MODEL)
                )
            )
        try:
            roles.prepare_database(cluster=self.cluster, database=name)
            yield name
        finally:
            self._drop(name)

    def admin(self, database: str) -> psycopg.Connection[Any]:
        """A superuser's connection to the database, in autocommit mode."""
        return self.cluster.connect(database)

    def environment(self, database: str, *, role: str = roles.APP, **more: str) -> dict[str, str]:
        """The environment of a child that works in `database` as `role`."""
        inherited = {name: value for name, value in os.environ.items() if name not in FOREIGN}
        return inherited | {
            "DATABASE_URL": self.cluster.socket_url(role, database),
            "DATABASE_POOL": "30",
            "SECRET_KEY": "a-key-for-benches-only-" + "x" * 40,
            "LOG_FORMAT": "console",
            "PYTHONUNBUFFERED": "1",
            "PYTHONWARNINGS": "ignore:You're running the worker with superuser privileges",
        } | more  # fmt: skip

    def log(self, name: str) -> Path:
        """Where the child of that name says what it has to say."""
        return self.folder / f"{name}.log"

    def program(self, name: str) -> str:
        """The path of a PostgreSQL program, of the version that the cluster runs."""
        return binaries.locate(account=account.unprivileged()).program(name)

    def database_cpu_seconds(self) -> float:
        """The processor time that the cluster's processes took so far, ended ones included.

        0 where there is no /proc to read it from.
        """
        total = 0.0
        for entry in places.PROC.glob("[0-9]*/stat"):
            try:
                pid = int(entry.parent.name)
                fields = entry.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if pid == self.cluster.pid:
                total += sum(int(ticks) for ticks in fields[11:15])
            elif int(fields[1]) == self.cluster.pid:
                total += sum(int(ticks) for ticks in fields[11:13])
        return total / os.sysconf("SC_CLK_TCK")

    @contextmanager
    def child(
        self, module: str, database: str, *arguments: str, name: str = "", **more: str
    ) -> Iterator[Child]:
        """`python -m module` in the environment of `database`, ready to be asked."""
        with (
            self.log(name or module.rpartition(".")[2]).open("ab") as log,
            subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                cwd=CHECKOUT,
                env=self.environment(database, **more),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            ) as process,
        ):
            try:
                yield Child(process, Path(log.name))
            finally:
                assert process.stdin is not None
                process.stdin.close()
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()

    def _drop(self, database: str) -> None:
        """Remove the database, which a run that was killed may have left."""
        with self.cluster.connect() as admin:
            admin.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(database))
            )

    def _manage(self, command: str, environment: Mapping[str, str]) -> None:
        with self.log("manage").open("ab") as log:
            subprocess.run(
                [sys.executable, "manage.py", command, "--verbosity", "0"],
                cwd=CHECKOUT,
                env=environment,
                stdout=log,
                stderr=log,
                check=True,
            )


@dataclass
class Child:
    """A child that answers each line of JSON with one (see `answer`)."""

    process: subprocess.Popen[str]
    log: Path

    def ask(self, **question: Any) -> Any:
        """Return the answer. Raises: RuntimeError when the child ended instead."""
        self.send(**question)
        return self.receive()

    def send(self, **question: Any) -> None:
        """Put a question; `receive` brings the answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()

    def receive(self) -> Any:
        """Return the answer to the oldest open question."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"A child of the bench ended; {self.log} says why.")
        return json.loads(line)


def answer(functions: Mapping[str, Callable[..., Any]]) -> None:
    """In a child: call the function that each question names as `do`, until there are no more."""
    for line in sys.stdin:
        question = json.loads(line)
        result = functions[question.pop("do")](**question)
        sys.stdout.write(json.dumps(result) + "\n")
        sys.stdout.flush()


@contextmanager
def ground(
    folder: Path, *, say: Callable[[str], None], durable: bool, profile: bool
) -> Iterator[Ground]:
    """A cluster, removed with all of its data afterwards; `durable`: it loses nothing in a crash."""
    folder.mkdir(parents=True, exist_ok=True)
    cluster = Cluster(folder / "postgres", fast=not durable, max_connections=150)
    with ExitStack() as stack:
        stack.callback(cluster.destroy)
        cluster.start()
        roles.prepare(cluster=cluster)
        yield Ground(cluster, folder, say, profile)
