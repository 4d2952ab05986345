"""The two files that early removal lives in: the revocation list, and beside it who has what.

`revoked.krl` is what sshd reads. `revoked.krl.issued.json` is ours: each certificate that may still
be good, written before the certificate is handed over. A lock file keeps two writers apart, on one
host or on a shared file system with working locks; each file is replaced as a whole, so a reader
never sees a half.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from time import monotonic, sleep

from approvals.connectors.protocol import ConnectorError, PermanentError, TransientError
from approvals.connectors.ssh_certificate.krl import Krl, NotAKrl

LOCK_WITHIN_SECONDS = 4.0
KEPT_AFTER_END = timedelta(days=1)
"""A revoked serial stays in the list so long after its end: a host's clock may be behind."""
MOST_GENERATIONS = 1000

_FORMAT = 1
_MAY_PASS = frozenset(
    {
        errno.ENOENT,  # the folder: a mount that is gone for now
        errno.ENOTDIR,
        errno.EIO,
        errno.ENOSPC,
        errno.EDQUOT,
        errno.ESTALE,
        errno.ENOTCONN,
        errno.EHOSTDOWN,
        errno.ETIMEDOUT,
        errno.EMFILE,
        errno.ENFILE,
        errno.EINTR,
        errno.EBUSY,
    }
)


def serial_of(*, request_id: str, generation: int) -> int:
    """Return the serial number of every certificate of a request: never 0."""
    digest = sha256(f"{request_id}\0{generation}".encode(errors="replace")).digest()
    return int.from_bytes(digest[:8]) or 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """The certificates of one request, which share a serial number and a key id."""

    request_id: str
    generation: int
    """Counts up when a request is granted again after its removal."""
    authority: bytes
    """The public key that signed them, in SSH's wire form: keys are changed while grants live."""
    login: str
    right: str
    """What tells one entitlement from another."""
    ends_at: datetime
    revoked: bool = False

    @property
    def serial(self) -> int:
        """The serial number that OpenSSH knows them by."""
        return serial_of(request_id=self.request_id, generation=self.generation)


@dataclass(slots=True)
class Files:
    """What the two files hold. Changed in memory, and on disk by `save`."""

    path: Path
    krl: Krl
    issued: list[Issued] = field(default_factory=list)
    _on_disk: bytes | None = None

    def of(self, request_id: str) -> list[Issued]:
        """Return the certificates of a request, revoked ones too."""
        return [entry for entry in self.issued if entry.request_id == request_id]

    def live(self, *, now: datetime) -> list[Issued]:
        """Return the certificates that sshd accepts, once it has the list."""
        return [
            entry
            for entry in self.issued
            if not entry.revoked
            and entry.ends_at > now
            and not self.krl.revokes(authority=entry.authority, serial=entry.serial)
        ]

    def enter(self, entry: Issued) -> Issued:
        """Keep a certificate under a serial number that is not revoked; returns what was kept.

        Raises: PermanentError if there is none, as the list revokes all that an authority signs.
        """
        known = self.of(entry.request_id)
        while any(
            old.revoked and old.generation == entry.generation for old in known
        ) or self.krl.revokes(authority=entry.authority, serial=entry.serial):
            if entry.generation >= MOST_GENERATIONS:
                raise PermanentError(
                    f"{self.path} revokes every certificate of this authority: use a new one."
                )
            entry = replace(entry, generation=entry.generation + 1)
        same = [
            old
            for old in known
            if (old.generation, old.authority) == (entry.generation, entry.authority)
        ]
        latest = max([entry.ends_at, *(old.ends_at for old in same)])
        entry = replace(entry, ends_at=latest)
        self.issued = [old for old in self.issued if old not in same] + [entry]
        return entry

    def revoke(self, entries: list[Issued]) -> None:
        """Put certificates on the list."""
        for entry in entries:
            self.krl.revoke(authority=entry.authority, serial=entry.serial)
        self.issued = [
            replace(entry, revoked=True) if entry in entries else entry for entry in self.issued
        ]

    def save(self, *, now: datetime) -> None:
        """Write what has changed: the list first, since it is what ends access."""
        kept = [entry for entry in self.issued if entry.ends_at + KEPT_AFTER_END > now]
        for entry in self.issued:
            if entry not in kept:
                self.krl.drop(authority=entry.authority, serial=entry.serial)
        self.issued = kept
        unchanged = self._on_disk is not None and _same(self.krl, self._on_disk)
        if not unchanged:
            self.krl.version += 1
            self._on_disk = self.krl.write(generated_at=int(now.timestamp()))
            _replace(self.path, self._on_disk, mode=0o644)
        content = {"format": _FORMAT, "issued": [_told(entry) for entry in self.issued]}
        _replace(ledger_path(self.path), json.dumps(content, indent=1).encode(), mode=0o600)


def ledger_path(path: Path) -> Path:
    """Return where the file of issued certificates is."""
    return path.with_name(f"{path.name}.issued.json")


@contextmanager
def locked(path: Path) -> Iterator[Files]:
    """Hold the lock for the block, with what the files hold now.

    Raises: PermanentError, TransientError.
    """
    with _translated(path):
        lock = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        with _translated(path):
            _wait(lock, path)
        files = read(path)
        with _translated(path):
            yield files
    finally:
        os.close(lock)


def read(path: Path) -> Files:
    """Return what the files hold; nothing where there are none. Raises as `locked`."""
    with _translated(path):
        path.parent.stat()
        on_disk = _content(path)
        told = _content(ledger_path(path))
    try:
        krl = Krl.parse(on_disk) if on_disk else Krl()
    except NotAKrl as error:
        raise PermanentError(
            f"{path} is no revocation list that the portal can add to ({error}): set "
            '"krl_file" to another path, or move that file away.'
        ) from None
    try:
        issued = _entries(told) if told else []
    except (ValueError, TypeError, KeyError, AttributeError):
        raise PermanentError(
            f"{ledger_path(path)} can't be read: restore it, or move it away; then what was "
            "issued before can't be observed, and is revoked by its request's own serial number."
        ) from None
    return Files(path, krl, issued, on_disk or None)


def _wait(lock: int, path: Path) -> None:
    latest = monotonic() + LOCK_WITHIN_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if monotonic() > latest:
                raise TransientError(
                    f"Somebody else holds the lock of {path}: this is tried again."
                ) from None
            sleep(0.02)
        else:
            return


def _same(krl: Krl, on_disk: bytes) -> bool:
    old = Krl.parse(on_disk)
    return old.write(generated_at=0) == krl.write(generated_at=0)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def _replace(path: Path, content: bytes, *, mode: int) -> None:
    """Write the whole file or nothing; it keeps its mode. Only under the lock."""
    path = path.resolve()
    if path.exists():
        mode = path.stat().st_mode & 0o777
    beside = path.with_name(f".{path.name}.new")
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode)
    with os.fdopen(handle, "wb") as file:
        os.fchmod(handle, mode)
        file.write(content)
        file.flush()
        os.fsync(handle)
    beside.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _told(entry: Issued) -> dict[str, object]:
    return {
        "request_id": entry.request_id,
        "generation": entry.generation,
        "serial": str(entry.serial),  # for people; too large a number for many readers of JSON
        "authority": b64encode(entry.authority).decode(),
        "login": entry.login,
        "right": entry.right,
        "ends_at": entry.ends_at.isoformat(),
        "revoked": entry.revoked,
    }


def _entries(content: bytes) -> list[Issued]:
    """Raises: ValueError, TypeError, KeyError, AttributeError for what is no such file."""
    told = json.loads(content)
    if told["format"] != _FORMAT:
        raise ValueError("another format")
    entries = [
        Issued(
            request_id=str(row["request_id"]),
            generation=int(row["generation"]),
            authority=b64decode(row["authority"], validate=True),
            login=str(row["login"]),
            right=str(row["right"]),
            ends_at=datetime.fromisoformat(row["ends_at"]),
            revoked=bool(row["revoked"]),
        )
        for row in told["issued"]
    ]
    if any(entry.ends_at.tzinfo is None for entry in entries):
        raise ValueError("a time without zone")
    return entries


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except ConnectorError:
        raise
    except OSError as error:
        kind = TransientError if error.errno in _MAY_PASS else PermanentError
        raise kind(
            f"The revocation list {path} can't be worked with ({error.strerror}): its folder must "
            "exist, and the workers' account must be allowed to write there."
        ) from None
