"""One short session at a PostgreSQL target: bounded in time, with errors in our words.

What is done in the session is the connectors' own business. Nobody else opens connections to
targets of this kind.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from approvals.connectors.protocol import (
    ConnectorError,
    NotYet,
    PermanentError,
    TransientError,
    untouched,
)
from approvals.connectors.secrets import redact

CONNECT_TIMEOUT_SECONDS = 5  # for each address that the host name stands for
STATEMENT_TIMEOUT_MS = 10_000
LOCK_TIMEOUT_MS = 5_000
OLDEST_SERVER = 130000

Session = psycopg.Connection[tuple[Any, ...]]

# A dead peer is noticed by the kernel within about 20 s even in the middle of a statement, when no
# timeout of the server's can reach us.
_LIVENESS: dict[str, Any] = {
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}

# Names are looked up in pg_catalog alone: an object that someone put into the target's search path
# can't stand in for a catalog. One statement, so that it costs one round trip, and not the start-up
# packet's "options", which poolers refuse.
_SETTINGS = """
SELECT pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', false),
       pg_catalog.set_config('statement_timeout', %s, false),
       pg_catalog.set_config('lock_timeout', %s, false)
"""

# libpq reports a failed connection as text without a SQLSTATE. What isn't recognised (a server that
# speaks another language) counts as transient: it is tried again in vain, but never given up.
_REFUSED_FOR_GOOD = re.compile(
    r"authentication failed|no password supplied|no pg_hba\.conf entry|pg_hba\.conf rejects"
    r"|(role|database|user) \"?.*\"? does not exist|is not permitted to log ?in"
    r"|permission denied for database|certificate verify failed|invalid \w+ value|invalid port"
    r"|service .* not found|does not support SSL",
    re.IGNORECASE,
)

# Classes: 08 connection, 40 rollback, 53 out of resources, 57 operator intervention, 58 system
# error, XX internal ("tuple concurrently updated" is one). Source: PostgreSQL manual, appendix A.
_PASSING_CLASSES = ("08", "53", "57", "58", "XX")
_PASSING_STATES = ("25006",)
# Others hold or change the very thing that is wanted: no word about the rest of the server.
_CONTENDED_CLASSES = ("40",)
_CONTENDED_STATES = ("55P03", "23505")


def parameters(*, dsn: str | None, database: str | None) -> dict[str, Any]:
    """The connection's parameters, password included: never show them.

    Raises: PermanentError, without a word of the DSN.
    """
    if not dsn:
        raise PermanentError(
            "The resource has no secret reference: set one (env:NAME or file:/path) that holds "
            "the connection string of jitportal's own login at this PostgreSQL."
        )
    try:
        found: dict[str, Any] = dict(conninfo_to_dict(dsn))
    except psycopg.Error:
        found = {}
    named = found.get("host") or found.get("hostaddr") or found.get("service")
    if not named or not (found.get("user") or found.get("service")):
        # Without a host libpq would take PGHOST or a local socket: some other PostgreSQL.
        raise PermanentError(
            "The resource's secret must be a connection string with host and user, such as "
            "postgresql://user:password@host:5432/database."
        )
    if database:
        found["dbname"] = database
    return found


@contextmanager
def session(*, dsn: str | None, database: str | None) -> Iterator[Session]:
    """An open session in autocommit, named jitportal; psycopg's errors leave as ours.

    Raises: PermanentError, TransientError.
    """
    with untouched():
        wanted = parameters(dsn=dsn, database=database) | _LIVENESS
        wanted |= {"connect_timeout": CONNECT_TIMEOUT_SECONDS, "application_name": "jitportal"}
        try:
            connection = psycopg.connect("", autocommit=True, prepare_threshold=None, **wanted)
        except psycopg.Error as error:
            raise _connect_error(error, wanted=wanted, secret=dsn) from None
    with _translated(secret=dsn), connection:
        with untouched(), _translated(secret=dsn):
            if connection.info.server_version < OLDEST_SERVER:
                raise PermanentError("This PostgreSQL is older than 13: upgrade it.")
            connection.execute(_SETTINGS, [f"{STATEMENT_TIMEOUT_MS}ms", f"{LOCK_TIMEOUT_MS}ms"])
        yield connection


@contextmanager
def all_or_nothing(connection: Session, *, secret: str | None) -> Iterator[None]:
    """A transaction: what is refused in it, or at its end, was taken back and is `untouched`.

    Raises: PermanentError, TransientError.
    """
    with untouched(), _translated(secret=secret), connection.transaction():
        yield


@contextmanager
def _translated(*, secret: str | None) -> Iterator[None]:
    try:
        yield
    except psycopg.Error as error:
        raise statement_error(error, secret=secret) from None


def _connect_error(
    error: psycopg.Error, *, wanted: dict[str, Any], secret: str | None
) -> ConnectorError:
    said = redact(str(error).strip() or type(error).__name__, secret)
    said = redact(said, wanted.get("password"))
    where = wanted.get("host") or wanted.get("hostaddr") or f"service {wanted.get('service')}"
    port = wanted.get("port") or 5432
    head = f"Could not connect to PostgreSQL at {where}, port {port}, as {wanted.get('user')}: "
    if _REFUSED_FOR_GOOD.search(said):
        return PermanentError(
            f"{head}{said}. Correct the resource's secret, or the login at the target."
        )
    return TransientError(f"{head}{said}. It is tried again; check that the server is up.")


def statement_error(error: psycopg.Error, *, secret: str | None) -> ConnectorError:
    """What an error of a running session means for the caller."""
    state = error.sqlstate
    said = redact(error.diag.message_primary or str(error) or type(error).__name__, secret)
    if error.diag.message_detail:
        said += f" ({redact(error.diag.message_detail, secret)})"
    if state is None:
        # No answer from the server: the connection broke.
        if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
            return TransientError(f"The connection to PostgreSQL broke: {said}. It is tried again.")
        return PermanentError(f"PostgreSQL's driver refused: {said}.")
    if state[:2] in _CONTENDED_CLASSES or state in _CONTENDED_STATES:
        return NotYet(f"PostgreSQL could not do it now: {said} [{state}].")
    if state[:2] in _PASSING_CLASSES or state in _PASSING_STATES:
        return TransientError(f"PostgreSQL could not do it now: {said} [{state}].")
    if state == "42501":
        return PermanentError(
            f"PostgreSQL refused: {said} [{state}]. jitportal's login needs the right to grant the "
            "role: GRANT role TO login WITH ADMIN OPTION."
        )
    return PermanentError(f"PostgreSQL refused: {said} [{state}].")


def milliseconds_since(begun: float) -> int:
    """Return how long ago a moment of `time.monotonic()` was, in whole milliseconds."""
    return round((time.monotonic() - begun) * 1000)
