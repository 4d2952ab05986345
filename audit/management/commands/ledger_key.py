"""`ledger_key FILE`: makes the log's private key and prints the public one."""

from __future__ import annotations

import base64
import os
import secrets
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from audit.domain.note import LogSigner


class Command(BaseCommand):
    """Never writes over a file: a lost key ends a log."""

    help = "Make the ledger's private key in a new file (mode 0600) and print its public key."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take the file's path."""
        parser.add_argument("file")

    def handle(self, *args: Any, **options: Any) -> None:
        """Write the key. Raises: CommandError when there is such a file already."""
        seed = secrets.token_bytes(32)
        try:
            handle = os.open(options["file"], os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as error:
            raise CommandError(f"{options['file']} was not made: {error.strerror}.") from error
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(base64.b64encode(seed).decode() + "\n")
        self.stdout.write(LogSigner(name=settings.LEDGER_ORIGIN, seed=seed).key.vkey)
