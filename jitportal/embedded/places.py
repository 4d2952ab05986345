"""Folders outside the checkout that other accounts must be able to enter, made without trust.

They lie under /var/tmp, where anybody may have made a folder of our name first: one that we don't
own, that is a link, or that others may write to is refused, never used.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
from pathlib import Path

SHARED = Path("/var/tmp")  # noqa: S108 - what is made there is checked, see make_owned()
PROC = Path("/proc")
ORIGIN = "throw-away-of"


class UnsafeFolder(Exception):
    """A folder of the name that we need exists and is not safely ours."""


def make_owned(folder: Path, *, mode: int) -> Path:
    """`folder` exists with `mode`, belongs to us, and nobody else can write to it. Idempotent.

    Its parent must be ours or sticky, which keeps others from swapping it afterwards.

    Raises:
        UnsafeFolder: something else of that name is there.
    """
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=mode)
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        raise UnsafeFolder(f"{folder} is not a folder that we made: remove it.") from error
    try:
        found = os.fstat(handle)
        if found.st_uid != os.geteuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise UnsafeFolder(
                f"{folder} belongs to someone else or is writable by others: remove it."
            )
        os.fchmod(handle, mode)
    finally:
        os.close(handle)
    return folder


def shared_cache() -> Path:
    """A folder of ours that everyone may read: for program files, never for data."""
    return make_owned(SHARED / f"jitportal-{os.geteuid()}", mode=0o755)


def outside(folder: Path, *, throw_away: bool) -> Path:
    """The stand-in for `folder` when another account can't reach it; always the same one.

    Others may pass through it (0711) and read nothing in it. A throw-away one is remembered as
    such, see forget_orphans().
    """
    digest = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:16]
    place = make_owned(SHARED / f"jitportal-{os.geteuid()}-{digest}", mode=0o711)
    if throw_away:
        (place / ORIGIN).write_text(str(folder.resolve()))
        (place / ORIGIN).chmod(0o600)
    return place


def forget_orphans() -> None:
    """Remove throw-away stand-ins that a killed test run left, their original folder being gone.

    Durable ones are never touched: their original may merely be unmounted.
    """
    for place in SHARED.glob(f"jitportal-{os.geteuid()}-*"):
        try:
            found = place.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
                continue
            origin = Path((place / ORIGIN).read_text())
        except OSError:
            continue
        if not origin.exists() and not processes_in(place / "data"):
            shutil.rmtree(place, ignore_errors=True)


def processes_in(folder: Path) -> list[int]:
    """The ids of processes whose working directory is `folder`. Empty where there is no /proc.

    PostgreSQL's postmaster and every one of its backends work in their data directory, also after
    the postmaster was killed; a pid file would lie then.
    """
    try:
        wanted = folder.resolve(strict=True)
        entries = list(PROC.iterdir())
    except OSError:
        return []
    found: list[int] = []
    for entry in entries:
        if not entry.name.isdigit():
            continue
        try:
            if (entry / "cwd").readlink() == wanted and is_postgres(entry):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def is_postgres(entry: Path) -> bool:
    """Whether the /proc entry is a PostgreSQL server process, also when its file was replaced."""
    program = (entry / "exe").readlink().name.removesuffix(" (deleted)")
    return program in {"postgres", "postmaster"}
