"""`ledger_verify`: holds the database to its log and names the first bad record."""

from __future__ import annotations

import getpass
import json
import os
import sys
from argparse import ArgumentParser
from concurrent.futures import BrokenExecutor
from pathlib import Path
from typing import Any

import psycopg
from django.core.management.base import BaseCommand
from django.db import DatabaseError, connection

from audit.services import verifying

VERIFIED, PROBLEMS, UNUSABLE = 0, 1, 2
#: What keeps a run from looking at all of it; entries are read on the driver's own connection.
_UNUSABLE = (verifying.Unusable, DatabaseError, psycopg.Error, BrokenExecutor, OSError)


class Command(BaseCommand):
    """Exit status: 0 all of it holds, 1 something doesn't, 2 it could not be looked at."""

    help = (
        "Verify the database against its sealed log: entries, leaves, tree and checkpoints, each"
        " record's columns, and the indexes over the records."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take whom to trust and what to measure by."""
        parser.add_argument("--json", action="store_true", help="answer in JSON")
        parser.add_argument(
            "--checkpoint",
            action="append",
            type=Path,
            default=[],
            metavar="FILE",
            help="an earlier checkpoint that was held outside: finds a cut end, a restored backup",
        )
        parser.add_argument(
            "--vkey",
            action="append",
            default=[],
            metavar="KEY",
            help="the log's public key (or its file), from elsewhere than this database",
        )
        parser.add_argument(
            "--jobs", type=int, default=1, metavar="N", help="processes to verify with (default 1)"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Verify, print, and exit with the status."""
        try:
            report = verifying.run(
                by=f"{_who()} at the command line",
                vkeys=[_text(each) for each in options["vkey"]],
                checkpoints=options["checkpoint"],
                jobs=options["jobs"],
                progress=_bar if sys.stderr.isatty() else None,
            )
        except _UNUSABLE as error:
            self.stderr.write(str(error) or type(error).__name__)
            sys.exit(UNUSABLE)
        if options["json"]:
            self.stdout.write(json.dumps(report.as_json(), indent=2))
        else:
            for line in report.as_text():
                self.stdout.write(line)
        sys.exit(VERIFIED if report.ok else PROBLEMS)


def _text(vkey: str) -> str:
    """Return a key, given as itself or as a file."""
    path = Path(vkey)
    try:
        return path.read_text(encoding="utf-8") if path.is_file() else vkey
    except OSError as error:
        raise verifying.Unusable(f"{vkey} can't be read: {error.strerror}.") from error


def _who() -> str:
    try:
        person = getpass.getuser()
    except (KeyError, OSError):
        person = str(os.getuid())
    return f"{person} as {connection.settings_dict['USER']}"


def _bar(done: int, total: int) -> None:
    """Draw how far it is on a terminal."""
    part = done / total if total else 1.0
    line = f"\r[{'#' * int(part * 40):<40}] {part:4.0%} {done:,} of {total:,} entries"
    sys.stderr.write(line + ("\n" if done >= total else ""))
    sys.stderr.flush()
