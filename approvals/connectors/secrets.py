"""Where targets' secrets come from, and how they are kept out of everything that is said.

The database holds references only: `env:NAME` or `file:/absolute/path`. A secret lives in memory
for one call, and nothing here logs.
"""

from __future__ import annotations

import os
import re
import stat
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from approvals.connectors.protocol import PermanentError

LONGEST_BYTES = 64 * 1024
HIDDEN = "[hidden]"

_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# libpq's key=value form: a bare word or a quoted value, both with backslash escapes.
_PASSWORD_PAIR = re.compile(
    r"(?:^|\s)(?:ssl)?password\s*=\s*('(?:\\.|[^'\\])*'|(?:\\.|[^\s\\])+)", re.DOTALL
)
_LONG_LINE_CHARACTERS = 8


def resolve(reference: str) -> str:
    """The secret that `reference` points to, without one trailing newline; never empty.

    Raises: PermanentError, which says what to set and repeats nothing that may be a secret: people
    do paste the secret itself into the field for its reference.
    """
    scheme, _, rest = reference.partition(":")
    if scheme == "env":
        return _from_environment(rest)
    if scheme == "file":
        return _from_file(rest)
    raise PermanentError(
        "The secret reference must read env:NAME or file:/absolute/path. "
        "It names where the secret is; it is not the secret."
    )


def _from_environment(name: str) -> str:
    if not _ENV_NAME.fullmatch(name):
        raise PermanentError("The secret reference env:NAME needs the name of a variable.")
    value = os.environ.get(name, "")
    if not value:
        raise PermanentError(
            f"Set the environment variable {name} for the workers: the target's secret is read "
            "from it, and it is missing or empty."
        )
    return value


def _from_file(path: str) -> str:
    if not path.startswith("/") or "\0" in path:
        raise PermanentError("The secret reference file:/path needs an absolute path.")
    try:
        # Not blocking: a pipe of that name must not hang the worker.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise PermanentError(
            f"The secret file {path} can't be read ({error.strerror}): create it for the "
            "account that runs the workers, with mode 0600."
        ) from None
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise PermanentError(f"The secret file {path} is not a regular file.")
        if found.st_mode & 0o077:
            raise PermanentError(
                f"The secret file {path} is open to other accounts (mode "
                f"{stat.S_IMODE(found.st_mode):04o}): chmod 600 it, and change the secret if "
                "others may have read it."
            )
        content = os.read(handle, LONGEST_BYTES + 1)
    finally:
        os.close(handle)
    if len(content) > LONGEST_BYTES:
        raise PermanentError(f"The secret file {path} is longer than {LONGEST_BYTES} bytes.")
    try:
        value = content.decode()
    except UnicodeDecodeError:
        raise PermanentError(f"The secret file {path} is not UTF-8 text.") from None
    value = value.removesuffix("\n").removesuffix("\r")
    if not value:
        raise PermanentError(f"The secret file {path} is empty: put the secret into it.")
    return value


def redact(text: str, secret: str | None) -> str:
    """`text` with the secret, and every password found inside it, replaced by `[hidden]`.

    A DSN's password is hidden as it is written, decoded, and encoded for a URL; so is each line of
    8 characters or more of a secret that has several lines.
    """
    for part in sorted(_sensitive_parts(secret or ""), key=len, reverse=True):
        text = text.replace(part, HIDDEN)
    return text


def _sensitive_parts(secret: str) -> set[str]:
    parts = {secret, unquote(secret)}
    parts.update(line for line in secret.splitlines() if len(line) >= _LONG_LINE_CHARACTERS)
    try:
        url = urlsplit(secret)
        if url.scheme and url.password:
            parts.update((url.password, unquote(url.password)))
        for name, value in parse_qsl(url.query):
            if name.endswith("password"):
                parts.add(value)
        for raw in url.query.split("&"):
            name, _, value = raw.partition("=")
            if name.endswith("password"):
                parts.add(value)
    except ValueError:  # not a URL that Python reads; what follows still applies
        pass
    # What urlsplit does not see: "#", "?" or "/" written bare in a password.
    authority = re.match(r"[a-z][a-z0-9+.-]*://[^:@/]*:(.+)@", secret, re.DOTALL | re.IGNORECASE)
    if authority is not None:
        parts.update((authority[1], unquote(authority[1])))
    for written in _PASSWORD_PAIR.findall(secret):
        bare = written[1:-1] if written.startswith("'") else written
        parts.update((bare, re.sub(r"\\(.)", r"\1", bare, flags=re.DOTALL)))
    parts.discard("")
    return parts | {quote(part, safe="", errors="replace") for part in parts}
