"""`ledger_export DIR`: writes a log for whoever verifies it elsewhere."""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from audit.domain.lines import Malformed
from audit.models import Log
from audit.selectors import holders
from audit.selectors import log as reads
from audit.services import exporting

QUIET_SECONDS, LINE_EVERY_SECONDS = 2.0, 10.0


class Command(BaseCommand):
    """May be repeated into the same folder: what is there already stays."""

    help = "Write a log into a folder: checkpoint, tiles, entries, policy, and the verifier."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take the folder, and what is to be in it."""
        parser.add_argument("folder", type=Path, metavar="DIR")
        parser.add_argument(
            "--with-payloads",
            action="store_true",
            help="also the recorded values with their salts: personal content, for auditors only",
        )
        add_log(parser)
        parser.add_argument(
            "--size", type=int, metavar="N", help="as of the checkpoint of N leaves"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Export. Raises: CommandError where it can't be done."""
        try:
            done = exporting.export(
                options["folder"],
                log=chosen_log(options["log"]),
                size=options["size"],
                with_payloads=options["with_payloads"],
                progress=Progress(),
            )
        except (exporting.NotExported, holders.PolicyUnreadable) as error:
            raise CommandError(str(error)) from error
        except (reads.NoSuchTile, Malformed) as error:
            raise CommandError(
                f"The log is damaged: {error}. Run `manage.py ledger_verify`."
            ) from error
        except OSError as error:
            raise CommandError(f"{error.filename} was not written: {error.strerror}.") from error
        values = "" if done.payloads is None else f", values of {done.payloads}"
        self.stdout.write(
            f"{done.origin}: {done.size} leaves ({done.size - done.before} new){values} in "
            f"{options['folder']}"
        )
        if not done.accepted:
            self.stderr.write(
                "The witnesses of LEDGER_WITNESSES have not cosigned this log yet: whoever asks "
                "for their quorum will not accept the export."
            )


def add_log(parser: ArgumentParser) -> None:
    """Take --log."""
    parser.add_argument("--log", metavar="ORIGIN", help="an older log (default: the current one)")


def chosen_log(origin: str | None) -> Log:
    """Return the log that is meant. Raises: CommandError."""
    found = reads.named(origin) if origin else reads.current()
    if found is None:
        raise CommandError(
            f"There is no log {origin}." if origin else "There is no log: nothing was sealed yet."
        )
    return found


class Progress:
    """A bar on a terminal, a line now and then elsewhere; nothing for what is done in seconds."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._said = self._began

    def __call__(self, done: int, total: int) -> None:
        """Say how far it is."""
        now = time.monotonic()
        if now - self._began < QUIET_SECONDS:
            return
        part = done / total if total else 1.0
        if sys.stderr.isatty():
            end = "\n" if done >= total else ""
            sys.stderr.write(f"\r[{'#' * int(part * 40):<40}] {part:4.0%} {done:,} leaves{end}")
        elif now - self._said >= LINE_EVERY_SECONDS:
            self._said = now
            sys.stderr.write(f"{part:.0%}, {done:,} of {total:,} leaves\n")
        sys.stderr.flush()
