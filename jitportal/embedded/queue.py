"""kombu's PostgreSQL transport with six repairs.

- Whoever publishes gives up within seconds, also when the server is frozen. The library's DSN has
  no room for a timeout, and no timeout of the server or the network ends a silent wait.
- Only consumers LISTEN. A publisher that listens never reads what it is told, and PostgreSQL keeps
  every notification since, until its notification queue is full and publishing fails.
- Two processes may declare a queue at the same moment.
- Listing queues warns about a version long gone. kombu silences that for the process, which no
  thread may do while others run, so that the warning now and then came through.
- The address may be that of a socket, which kombu's own parser does not understand.
- The address is the broker URL's alone. The library falls back to DATABASE_URL, which is the
  portal's own database.
"""

from __future__ import annotations

import random
import time
from collections.abc import Generator
from typing import Any, TypeVar, cast
from urllib.parse import quote

import psycopg
from kombu.transport import pgmq as kombu_pgmq
from pgmq import PGMQueue, QueueRecord, _sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg_pool import ConnectionPool

from jitportal.broker import CONNECT_SECONDS, SOCKET_SECONDS

GLANCE_SECONDS = 0.2  # how often a wait looks at the clock

Result = TypeVar("Result")


class BoundedConnection(psycopg.Connection[tuple[Any, ...]]):
    """Every wait for the server ends within SOCKET_SECONDS; a connection that had to is closed."""

    def wait(
        self,
        gen: Generator[Any, Any, Result],
        interval: float = GLANCE_SECONDS,
        timeout: float | None = None,
    ) -> Result:
        """As psycopg's. Raises OperationalError when the server stays silent."""
        seconds = SOCKET_SECONDS if timeout is None else timeout
        return super().wait(self._bounded(gen, seconds), min(interval, GLANCE_SECONDS))

    def _bounded(
        self, waiting: Generator[Any, Any, Result], seconds: float
    ) -> Generator[Any, Any, Result]:
        """Passes everything on, until the time is up."""
        ends = time.monotonic() + seconds
        try:
            asked = next(waiting)
            while True:
                ready = yield asked
                if not ready and time.monotonic() > ends:
                    self.pgconn.finish()
                    raise psycopg.OperationalError("The broker's database does not answer.")
                asked = waiting.send(ready)
        except StopIteration as finished:
            return cast("Result", finished.value)


def _for_libpq(uri: str) -> str:
    return uri.replace("pgmq://", "postgresql://", 1)


class Transport(kombu_pgmq.Transport):
    """See the module."""

    can_parse_url = True  # and is given it whole, as the client's host name: it may name a socket

    def __init__(self, client: Any, **options: Any) -> None:
        super().__init__(client, **options)  # type: ignore[no-untyped-call]
        self._unheard: list[str] = []

    @classmethod
    def as_uri(  # as the library has it
        cls,
        uri: str,
        include_password: bool = False,  # noqa: FBT002
        mask: str = "**",
    ) -> str:
        """Return the URL for logs, of what libpq reads in it: a password may stand anywhere."""
        if include_password:
            return uri
        try:
            read = conninfo_to_dict(_for_libpq(uri))
        except psycopg.Error:
            return f"pgmq://{mask}"
        host, port, user, database = (
            quote(str(read.get(name, "")), safe="") for name in ("host", "port", "user", "dbname")
        )
        login = f"{user}:{mask}" if "password" in read else user
        if "/" in str(read.get("host")):
            port = f"&port={port}" if port else ""
            return f"pgmq://{login}@/{database}?host={host}{port}"
        port = f":{port}" if port else ""
        return f"pgmq://{login}@{host}{port}/{database}"

    def establish_connection(self) -> Any:
        """As kombu's, but leaves no pool behind that goes on trying when it fails."""
        try:
            return super().establish_connection()  # type: ignore[no-untyped-call]
        except BaseException:
            failed, self._pgmq_client = self._pgmq_client, None
            if failed is not None:
                failed.close()
            raise

    def drain_events(self, connection: Any, timeout: float | None = None, **_: Any) -> Any:
        """As kombu's; the first call begins to listen."""
        while self._unheard:
            self._get_notify_waiter().register(self._unheard[-1])
            self._unheard.pop()
        return super().drain_events(connection, timeout=timeout)  # type: ignore[no-untyped-call]

    def _register_notify_queue(self, queue_name: str) -> None:
        if queue_name not in self._unheard:
            self._unheard.append(queue_name)

    def _get_notify_waiter(self) -> Any:
        if self._notify_waiter is None:
            self._notify_waiter = kombu_pgmq._NotifyWaiter(self._conninfo())
        return self._notify_waiter

    def _create_pgmq_client(self) -> PGMQueue:
        client: Any = self.client
        options = client.transport_options
        pool = ConnectionPool(
            self._conninfo(),
            connection_class=BoundedConnection,
            min_size=0,
            max_size=int(options["pool_size"]),
            timeout=float(options["pool_timeout"]),
            reconnect_timeout=CONNECT_SECONDS,
            open=True,
        )
        return _Queue(
            conn_string=None,
            pool=cast("Any", pool),
            vt=int(options["visibility_timeout"]),
            init_extension=False,
        )

    def _conninfo(self) -> str:
        client: Any = self.client
        return make_conninfo(
            _for_libpq(client.hostname),
            connect_timeout=CONNECT_SECONDS,
            tcp_user_timeout=SOCKET_SECONDS * 1000,
            keepalives_idle=SOCKET_SECONDS,
            keepalives_interval=SOCKET_SECONDS,
            keepalives_count=2,
            application_name="jitportal broker",
            options=f"-c statement_timeout={SOCKET_SECONDS * 1000}",
        )


_NOTIFIES = (
    "SELECT 1 FROM pg_trigger WHERE tgname = 'trigger_notify_queue_insert_listeners'"
    " AND tgrelid = to_regclass('pgmq.q_' || %s)"
)


class _Queue(PGMQueue):  # type: ignore[no-untyped-call]
    """Closes the pool that it was given, and bears others that declare as it does."""

    def enable_notify(self, queue: str, throttle_interval_ms: int = 250, conn: Any = None) -> None:
        """As the library's, which drops and makes a trigger and fails when two do so at once."""
        for patience in (0.05, 0.1, 0.2, 0.4, None):
            try:
                if self._execute_with_result(_NOTIFIES, (queue,)):
                    return
                super().enable_notify(queue, throttle_interval_ms)
                return
            except (
                psycopg.errors.DuplicateObject,
                psycopg.errors.UndefinedObject,
                psycopg.errors.UniqueViolation,
                psycopg.errors.DeadlockDetected,
                psycopg.errors.InternalError_,
            ):
                if patience is None:
                    raise
                time.sleep(patience * random.uniform(0.5, 1.5))  # noqa: S311 - spreads them only

    def list_queues(self, conn: Any = None) -> list[QueueRecord]:
        """As the library's, without its warning."""
        rows = self._execute_with_result(_sql.LIST_QUEUES, conn=conn)
        return [QueueRecord.from_row(row) for row in rows]

    def close(self) -> None:
        if self.pool is not None:
            self.pool.close()
