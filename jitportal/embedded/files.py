"""Small files that a crash can't tear and others can't read, and a lock that a crash releases."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Any


class Busy(Exception):
    """Another process works in this folder."""


def write_private(path: Path, text: str) -> None:
    """`path` holds `text`, whole or not at all, readable by us alone."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def to_json(content: dict[str, Any]) -> str:
    """`content` as it is written to a file."""
    return json.dumps(content, indent=1, sort_keys=True) + "\n"


def read_json(path: Path) -> dict[str, Any]:
    """What `path` holds; nothing when it isn't there."""
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    return found if isinstance(found, dict) else {}


class Lock:
    """Held by one process at a time; the kernel releases it when that process ends, however."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle: int | None = None

    def take(self) -> None:
        """Hold the lock. Taking it again is nothing.

        Raises:
            Busy: another process holds it.
        """
        if self._handle is not None:
            return
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(handle, 20).decode(errors="replace").strip() or "unknown"
            os.close(handle)
            raise Busy(f"{self._path.parent} is in use by process {holder}.") from error
        os.truncate(handle, 0)
        os.pwrite(handle, str(os.getpid()).encode(), 0)
        self._handle = handle

    def release(self) -> None:
        """Let others have it. Releasing what isn't held is nothing."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def is_held_elsewhere(self) -> bool:
        """Whether another process holds it now."""
        if self._handle is not None or not self._path.exists():
            return False
        try:
            self.take()
        except Busy:
            return True
        self.release()
        return False
