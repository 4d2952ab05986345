"""The demo's mail server: a folder with one .eml file for each mail, for a page to show."""

import os
import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend


class FolderBackend(BaseEmailBackend):
    """Writes each mail whole or not at all, under a name that sorts by time.

    For Django's EMAIL_BACKEND; the folder is `settings.DEMO_MAIL_DIR`.
    """

    def __init__(self, *, fail_silently: bool = False, **_: Any) -> None:
        super().__init__(fail_silently=fail_silently)
        self._folder = Path(settings.DEMO_MAIL_DIR)

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        """Write the mails; return how many. Raises: OSError, as a mail server's failure would."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for message in email_messages:
            name = f"{time.time_ns():020d}-{secrets.token_hex(4)}"
            aside = self._folder / f".{name}.part"
            with aside.open("wb") as file:
                file.write(message.message().as_bytes())
                file.flush()
                os.fsync(file.fileno())
            aside.replace(self._folder / f"{name}.eml")
        return len(email_messages)
