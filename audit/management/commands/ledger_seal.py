"""`ledger_seal`: the sealer's process. Any number may run; one seals, the others stand by."""

from __future__ import annotations

import signal
import threading
import time
from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any

import structlog
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, connection

from audit.selectors import clock
from audit.services import erasing, sealing, signing
from audit.services.signing import SigningFailed

log = structlog.get_logger("ledger")

LONGEST_PAUSE_SECONDS = 30.0
#: A sealer that failed stays away for as many looks of one that stands by.
STANDBY_INTERVALS = 3
#: How long an erasure that is under way is waited for at the end.
ERASER_SECONDS = 5.0


class Command(BaseCommand):
    """Ends on SIGTERM or SIGINT, between two seals. `--once` seals what there is and ends."""

    help = "Seal new entries into the ledger and sign checkpoints, about once a second."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take --once."""
        parser.add_argument("--once", action="store_true", help="seal what there is, and end")

    def handle(self, *args: Any, **options: Any) -> None:
        """Seal until told to stop. Raises: CommandError where it can't begin."""
        try:
            self._signer = signing.signer()
        except ImproperlyConfigured as error:
            raise CommandError(str(error)) from error
        self._stop = threading.Event()
        self._eraser: threading.Thread | None = None
        if options["once"]:
            self._once()
            return
        for sign in (signal.SIGTERM, signal.SIGINT):
            signal.signal(sign, lambda *_: self._stop.set())
        self._loop()

    def _once(self) -> None:
        if not sealing.lead():
            raise CommandError("Another process seals already.")
        try:
            self._seal_all()
            _beside("erasures", lambda: erasing.carry_out(now=clock.now()))
            self._seal_all()
        except (sealing.LedgerDamaged, sealing.KeyChanged, SigningFailed) as error:
            raise CommandError(str(error)) from error

    def _loop(self) -> None:
        pause, waiting = 0.0, False
        every = settings.LEDGER_SEAL.total_seconds()
        log.info("sealer.started", origin=settings.LEDGER_ORIGIN)
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                if sealing.leads() or sealing.lead():
                    if waiting:
                        log.info("sealer.leads")
                    waiting = False
                    self._seal_all()
                    self._erase()
                elif not waiting:
                    waiting = True
                    log.info("sealer.waits", why="another process seals")
                pause = 0.0
            except sealing.KeyChanged as error:
                raise CommandError(str(error)) from error
            except Exception as error:  # whatever it is may pass, and an ended sealer seals nothing
                shortest = STANDBY_INTERVALS * every  # so that one that can sign takes over
                pause = min(max(pause * 2, shortest), max(LONGEST_PAUSE_SECONDS, shortest))
                known = isinstance(error, DatabaseError | sealing.LedgerDamaged | SigningFailed)
                log.error(
                    "sealer.failed", error=str(error), again_in_seconds=pause, exc_info=not known
                )
                sealing.resign()
            self._stop.wait(max(0.0, max(every, pause) - (time.monotonic() - began)))
        if self._eraser is not None:
            self._eraser.join(ERASER_SECONDS)  # what isn't done then, has not happened
        log.info("sealer.stopped")

    def _erase(self) -> None:
        """Carry out what is due beside the sealing: it reads whole tables, and may wait for others.

        It has a connection of its own, and one runs at a time.
        """
        if self._eraser is not None and self._eraser.is_alive():
            return
        if erasing.is_due():
            self._eraser = threading.Thread(target=_carry_out, name="erasing", daemon=True)
            self._eraser.start()

    def _seal_all(self) -> None:
        now = clock.now()
        made = sealing.open_log(self._signer, vkey=self._signer.key.vkey, now=now)
        _beside(
            "heartbeat", lambda: sealing.beat_heart(made, now=now, every=settings.LEDGER_HEARTBEAT)
        )
        while True:
            done = sealing.seal(made, self._signer, now=now)
            if done.added:
                log.debug("ledger.sealed", size=done.size, added=done.added)
            if not done.more or self._stop.is_set():
                return


def _carry_out() -> None:
    try:
        _beside("erasures", lambda: erasing.carry_out(now=clock.now()))
    finally:
        connection.close()


def _beside(what: str, work: Callable[[], object]) -> None:
    """Do what is not sealing: whatever becomes of it, what is written is sealed."""
    try:
        work()
    except Exception:
        log.exception("sealer.beside_failed", what=what)
