"""`indexes [--rebuild]`: checks the current pointer and the index of who is asked; can rebuild."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from approvals.selectors import clock
from approvals.services import asked, checking


class Command(BaseCommand):
    """Exits 0 if records and indexes agree, 1 if anything differs (after the rebuild, if asked)."""

    help = "Check that records are whole and that the indexes beside them say the same."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take --rebuild."""
        parser.add_argument(
            "--rebuild",
            action="store_true",
            help="make the indexes anew from the records before checking; the pointer needs the "
            "tables' owner",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Rebuild if asked, print each difference and a line that sums up."""
        if options["rebuild"]:
            self._rebuild()
        count = 0
        for line in checking.differences(now=clock.now()):
            count += 1
            self.stdout.write(line)
        if count:
            self.stdout.write(f"{count} differences.")
            raise SystemExit(1)
        self.stdout.write("No differences.")

    def _rebuild(self) -> None:
        try:
            rebuilt = checking.rebuild_pointer()
            self.stdout.write(f"The pointer was made anew: {rebuilt} requests.")
        except checking.RebuildRefusedError as refused:
            self.stderr.write(f"The pointer was left as it is: {refused}")
        pending = asked.rebuild(now=clock.now())
        self.stdout.write(f"Who is asked was made anew: {pending} pending requests.")
