"""Every process's own part of the watch: it shows that it lives, and looks after the others.

Two small threads, so that neither a mail server that hangs nor one that is slow can make a process
seem silent, or hold up what beat and workers are there for. What is seen is kept and told by
`approvals.services.process_watch`.
"""

import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime

import psycopg
import structlog
from django.conf import settings
from django.db import DatabaseError, connection

import jitportal
from approvals.selectors import clock, processes
from approvals.services import process_watch

log = structlog.get_logger(__name__)

#: Seconds without mail after the mail server, or the lack of a reader, refused one.
MAIL_PAUSE_SECONDS = 60.0


def _host() -> str:
    return socket.gethostname()[:180]


def name() -> str:
    """Return what this process is called: its host and its process id."""
    return f"{_host()}:{os.getpid()}"


def _is_there(number: int) -> bool:
    """Return whether this host, as far as it is seen from here, has a process of that id."""
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


class Heart:
    """Writes the signs of life of one process under any number of kinds."""

    def __init__(self) -> None:
        self._began: dict[str, datetime] = {}

    def beat(self, kinds: Sequence[str]) -> None:
        """Write that this process lives as each of `kinds`, since it first did so without a break.

        Raises: DatabaseError.
        """
        now = clock.now()
        new = set(kinds) - self._began.keys()
        self._began = {kind: self._began.get(kind, now) for kind in kinds}
        for kind in kinds:
            process_watch.beat(
                kind=kind,
                name=name(),
                started_at=self._began[kind],
                version=jitportal.__version__,
            )
        for kind in new:
            process_watch.succeed(kind=kind, host=_host(), is_there=_is_there)


class BeatHeart:
    """Beat's sign of life: written by the scheduler itself, so that one that hangs falls silent."""

    def __init__(self) -> None:
        self._heart = Heart()
        self._kind = ""
        self._next = 0.0

    def beat(self, *, leads: bool) -> None:
        """Write it, at most once per WATCH_PULSE unless it begins or ceases to lead."""
        kind = processes.BEAT if leads else processes.STANDBY
        if kind == self._kind and time.monotonic() < self._next:
            return
        was, self._kind = self._kind, kind
        self._next = time.monotonic() + settings.WATCH_PULSE.total_seconds()
        try:
            self._heart.beat([kind])
            if was == processes.STANDBY != kind:
                process_watch.gone(kind=was, name=name())
        except DatabaseError as error:
            _tell_of(error)


class Watcher:
    """Looks after all processes, and mails operators; one per process."""

    def __init__(self) -> None:
        self._since: datetime | None = None
        self._looked = 0.0
        self._mail_at = 0.0

    def look(self) -> None:
        """Look once. Raises: DatabaseError."""
        now = clock.now()
        began, self._looked = self._looked, time.monotonic()
        if self._since is None or self._looked - began > settings.WATCH_SILENT.total_seconds():
            self._since = now  # it has been blind, and signs may have been missed meanwhile
        process_watch.look(since=self._since, now=now)
        if time.monotonic() >= self._mail_at:
            self._tell(now)

    def _tell(self, now: datetime) -> None:
        try:
            process_watch.tell(now=now)
        except process_watch.NobodyTold as error:
            self._mail_at = time.monotonic() + MAIL_PAUSE_SECONDS
            log.error("watch.mail_failed", error=str(error), again_in_seconds=MAIL_PAUSE_SECONDS)


def start(kinds: Sequence[str] = ()) -> None:
    """Have this process watch from now on and, as each of `kinds`, show that it lives.

    To be called once in each process, after it has forked.
    """
    if kinds:
        heart = Heart()
        _thread("heart", settings.WATCH_PULSE.total_seconds(), lambda: heart.beat(kinds))
    _thread("watch", settings.WATCH_LOOK.total_seconds(), Watcher().look)


def _tell_of(error: DatabaseError) -> None:
    """Log what kept a step from the database; tables that are yet to be made are no alarm."""
    if isinstance(error.__cause__, psycopg.errors.UndefinedTable):
        log.info("watch.no_tables", error=str(error).partition("\n")[0])
    else:
        log.warning("watch.database_away", error=type(error).__name__)


def _thread(title: str, every_seconds: float, step: Callable[[], None]) -> None:
    def run() -> None:
        while True:
            try:
                step()
            except DatabaseError as error:
                _tell_of(error)
            except Exception:  # it must outlive anything
                log.exception("watch.failed")
            finally:
                connection.close()
            time.sleep(every_seconds)

    threading.Thread(target=run, name=f"jitportal-{title}", daemon=True).start()
