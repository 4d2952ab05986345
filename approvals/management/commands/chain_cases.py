"""`chain_cases FILE`: runs cases of the approval chain through the portal's own code."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from approvals.domain import cases
from approvals.domain.cases import Difference


class Command(BaseCommand):
    """Exits 0 if every case agrees, 1 if one differs, 2 if the file can't be read as cases."""

    help = "Run a file of approval chain cases through the portal's own evaluation."
    requires_system_checks = ()
    requires_migrations_checks = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take the file's path."""
        parser.add_argument("file", type=Path, help="a JSON file with a list of cases")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print each difference and a line that sums up; one ill-formed case hides no other."""
        path: Path = options["file"]
        found = self._load(path)
        differing = 0
        ill_formed: list[str] = []
        for number, case in enumerate(found, start=1):
            try:
                differences = cases.run(case)
            except cases.CaseError as error:
                ill_formed.append(f"case {number}: {error}")
                continue
            differing += bool(differences)
            self._print(differences)
        if ill_formed:
            raise CommandError(f"{path}: ill-formed: {'; '.join(ill_formed)}.", returncode=2)
        self.stdout.write(f"{len(found)} cases, {differing} differ.")
        if differing:
            raise SystemExit(1)

    def _print(self, differences: list[Difference]) -> None:
        for one in differences:
            self.stdout.write(
                f"{one.case}: at {one.at}: {one.what}: "
                f"expected {json.dumps(one.expected)}, got {json.dumps(one.got)}"
            )

    def _load(self, path: Path) -> list[Any]:
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise CommandError(f"{path}: {error.strerror or error}.", returncode=2) from error
        except (ValueError, RecursionError) as error:
            raise CommandError(f"{path}: not JSON: {error}.", returncode=2) from error
        if not isinstance(found, list) or not found:
            raise CommandError(f"{path}: must hold a list of cases.", returncode=2)
        return found
