"""`doctor [--json]`: looks over the deployment, explains what is wrong and what to do."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand

from jitportal.doctor import rounds
from jitportal.doctor.finding import Result


class Command(BaseCommand):
    """Exits 0 when nothing is wrong (notes aside), 1 when something is. Changes nothing."""

    help = "Look over the deployment, and explain what is wrong and what to do."
    # The checks that Django would make first are made, and explained, by the round.
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take --json."""
        parser.add_argument("--json", action="store_true", help="for machines")

    def handle(self, *args: Any, **options: Any) -> None:
        """Make the round and print it."""
        results = []
        for result in rounds.every():
            results.append(result)
            if not options["json"]:
                self._say(result)
        wrong = sum(finding.level == "wrong" for result in results for finding in result.findings)
        if options["json"]:
            checks = [asdict(result) | {"ok": _is_ok(result)} for result in results]
            self.stdout.write(json.dumps({"ok": not wrong, "checks": checks}, indent=2))
        elif wrong:
            self.stdout.write(f"{wrong} thing{'' if wrong == 1 else 's'} to mend.")
        else:
            self.stdout.write("Nothing is wrong.")
        if wrong:
            raise SystemExit(1)

    def _say(self, result: Result) -> None:
        if result.skipped:
            self.stdout.write(f"  ?   {result.name}: not looked at without the database")
            return
        mark = "WRONG" if result.is_wrong else "note " if result.findings else "  ok "
        self.stdout.write(f"{mark} {result.name}")
        for finding in result.findings:
            self.stdout.write(f"      {finding.what}")
            self.stdout.write(f"        Why it matters: {finding.why}")
            self.stdout.write(f"        What to do: {finding.do}")


def _is_ok(result: Result) -> bool:
    return not result.skipped and not result.is_wrong
