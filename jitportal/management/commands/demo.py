"""`manage.py demo`: the whole portal on this machine, without any server."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from jitportal.embedded import demo


class Command(BaseCommand):
    """Needs no database: it brings one."""

    help = "Run the portal with its own database, broker and target until Ctrl-C."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """Nothing is needed."""
        parser.add_argument(
            "--env",
            action="store_true",
            help="print how to reach the running demo, as shell exports, and end",
        )
        parser.add_argument(
            "--reload", action="store_true", help="for developers: reload code, show error pages"
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        """Raises CommandError with a sentence when the demo can't run, or none runs for --env."""
        checkout = Path(settings.BASE_DIR)
        directory = Path(os.environ.get("DEMO_DIR") or checkout / ".demo")
        it = demo.Demo(checkout=checkout, directory=directory, developing=options["reload"])
        try:
            if options["env"]:
                self.stdout.write(demo.as_shell(it.exports()), ending="")
            else:
                it.run()
        except demo.FAILURES as failure:
            raise CommandError(str(failure)) from failure
