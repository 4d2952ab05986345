"""The log's key: from a file, the environment, or a command that signs (a KMS, an HSM).

The private key is 32 bytes in base64, as `ledger_key` makes it. With a command the key never comes
near the portal: the command reads the text on standard input and writes the 64 bytes of the Ed25519
signature, in base64, on standard output.
"""

import base64
import binascii
import shlex
import subprocess

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from audit.domain import note
from audit.domain.note import LogKey, LogSigner

COMMAND_SECONDS = 10


class SigningFailed(Exception):
    """The command that signs didn't, or signed with another key. Nothing was sealed."""


class CommandSigner:
    """Signs by a command; the public key is configured, and every signature is checked by it."""

    def __init__(self, *, key: LogKey, command: str) -> None:
        self.key = key
        self.name = key.name
        self.key_id = key.key_id
        self._command = shlex.split(command)

    def sign(self, text: bytes) -> bytes:
        """Return the signature on the text. Raises: SigningFailed."""
        try:
            done = subprocess.run(
                self._command, input=text, capture_output=True, timeout=COMMAND_SECONDS, check=False
            )
            signature = base64.b64decode(done.stdout.strip(), validate=True)
        except (OSError, subprocess.TimeoutExpired, binascii.Error) as error:
            raise SigningFailed(
                f"LEDGER_SIGN_COMMAND did not sign ({type(error).__name__}): it must write the "
                f"signature in base64 within {COMMAND_SECONDS} s."
            ) from error
        if done.returncode != 0 or not note.verifies_ed25519(
            public=self.key.public, message=text, value=signature
        ):
            raise SigningFailed(
                f"LEDGER_SIGN_COMMAND ended with status {done.returncode} and without a valid "
                f"signature by the key of LEDGER_VKEY ({self.name})."
            )
        return signature


def signer() -> LogSigner | CommandSigner:
    """Return the configured signer. Raises: ImproperlyConfigured, which says what to set."""
    name = settings.LEDGER_ORIGIN
    if settings.LEDGER_SIGN_COMMAND:
        name_of, _, public = note.read_vkey(settings.LEDGER_VKEY)
        key = LogKey(name_of, public)
        if key.name != name:
            raise ImproperlyConfigured(
                f"LEDGER_VKEY is the key of {key.name}, and LEDGER_ORIGIN is {name}: make them one."
            )
        return CommandSigner(key=key, command=settings.LEDGER_SIGN_COMMAND)
    return LogSigner(name=name, seed=_seed())


def _seed() -> bytes:
    if not settings.LEDGER_KEY:
        raise ImproperlyConfigured(
            "The sealer has no key: set LEDGER_KEY_FILE (made by `manage.py ledger_key FILE`),"
            " LEDGER_KEY, or LEDGER_SIGN_COMMAND with LEDGER_VKEY."
        )
    try:
        seed = base64.b64decode(settings.LEDGER_KEY, validate=True)
    except binascii.Error as error:
        raise ImproperlyConfigured("The ledger's key is not base64.") from error
    if len(seed) != note.ED25519_BYTES:
        raise ImproperlyConfigured(f"The ledger's key has {len(seed)} bytes, not 32.")
    return seed
