"""One moment of the database, read by one process or by several."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import psycopg
from django.db import connection, transaction
from psycopg import sql

_BEGIN = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"
#: Rows are found by their keys, a run at a time, whatever the planner knows of the tables; a run
#: that waits for another must not be ended for being idle.
_SETTINGS = (
    "SET LOCAL idle_in_transaction_session_timeout = 0",
    "SET LOCAL jit = off",
)
BY_KEY = ("SET LOCAL enable_hashjoin = off", "SET LOCAL enable_mergejoin = off")
BY_TABLE = ("SET LOCAL enable_hashjoin = on", "SET LOCAL enable_mergejoin = on")


@contextmanager
def unswept() -> Iterator[None]:
    """Inside it the garbage collector leaves alone what was there before: a tenth of the time."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@contextmanager
def taken() -> Iterator[datetime]:
    """Inside it this process reads one snapshot, of the moment that is yielded; writes nothing."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(_BEGIN)
            for each in _SETTINGS:
                cursor.execute(each)
            cursor.execute("SELECT clock_timestamp()")
            now = cursor.fetchone()[0]
        yield now


def raw() -> psycopg.Connection[Any]:
    """Return the connection that the snapshot is read on."""
    found: psycopg.Connection[Any] = connection.connection
    return found


def set_local(statements: tuple[str, ...]) -> None:
    """Change settings for the rest of the snapshot."""
    with connection.cursor() as cursor:
        for each in statements:
            cursor.execute(each)


def export() -> str:
    """Return the snapshot's name, by which other connections share it while it lasts."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_export_snapshot()")
        name: str = cursor.fetchone()[0]
    return name


def parameters() -> dict[str, Any]:
    """Return what another process needs to connect as this one did."""
    found = connection.get_connection_params()
    for name in ("cursor_factory", "context"):
        found.pop(name, None)
    return found | {"role": connection.settings_dict["OPTIONS"].get("assume_role")}


def join(parameters: dict[str, Any], name: str) -> psycopg.Connection[Any]:
    """Return a connection of this process's own that reads a snapshot of another one's."""
    parameters = dict(parameters)
    role = parameters.pop("role")
    made: psycopg.Connection[Any] = psycopg.connect(**parameters)
    made.execute(_BEGIN)
    made.execute(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(name)))
    if role:
        made.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(role)))
    for each in (*_SETTINGS, *BY_KEY):
        made.execute(each)
    return made
