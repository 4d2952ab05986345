"""Makes `.venv` from a lock file. A script for the Makefile; runs on the system's Python.

    python3 install.py requirements.lock

Does nothing when that lock, or the development lock that contains it, is installed already. It
imports nothing of ours and has no new syntax, so that an old Python gets a sentence, not a
SyntaxError.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

LEAST = (3, 11)
LEAST_CODE = "import sys, pip; sys.exit(sys.version_info < (3, 11))"
VENV = Path(".venv")
PYTHON = VENV / "bin" / "python"
RUNTIME_LOCK = "requirements.lock"
DEVELOPMENT_LOCK = "requirements-dev.lock"


def main(lock: str) -> int:
    """Return the exit status: 0 once the lock's packages are in `.venv`."""
    if sys.version_info[:2] < LEAST:
        names = ("python3.13", "python3.12", "python3.11")
        newer = [name for name in names if runs(name, "import ensurepip")]
        how = f"run `make PYTHON={newer[0]}`" if newer else "install it"
        version = ".".join(map(str, sys.version_info[:2]))
        return refuse(
            f"jitportal needs Python 3.11 or newer, and {sys.executable} is {version}: {how}."
        )
    # Two makes at once: the second one waits here, then finds the work done.
    fcntl.flock(os.open(".", os.O_RDONLY), fcntl.LOCK_EX)
    if not runs(str(PYTHON), LEAST_CODE):
        if VENV.exists():
            say(f"{VENV} can't be used: making it anew.")
            shutil.rmtree(VENV)
        trouble = make_venv()
        if trouble:
            return refuse(trouble)
    if is_installed(lock):
        return 0
    say(f"Installing what {lock} names into {VENV} (once).")
    command = [str(PYTHON), "-m", "pip", "install", "--disable-pip-version-check", "--quiet"]
    # The lock is whole, so nothing is resolved: pip would look for `name[extra]` beyond it.
    command += ["--no-warn-script-location", "--no-deps", "--require-hashes", "-r", lock]
    environment = dict(os.environ, PIP_USER="0", PIP_REQUIRE_VIRTUALENV="0")
    for name in (RUNTIME_LOCK, DEVELOPMENT_LOCK):  # what either installed is about to change
        stamp(name).unlink(missing_ok=True)
    if subprocess.call(command, env=environment) != 0:
        return refuse("pip could not install the packages, see above.")
    stamp(lock).write_text(digest(lock))
    return 0


def make_venv() -> str:
    """Return what is wrong; nothing once `.venv` exists."""
    package = "python{}.{}-venv".format(*sys.version_info[:2])
    missing = (
        f"This Python ({sys.executable}) can't make virtual environments. On Debian or Ubuntu: "
        f"`sudo apt-get install {package}`, then run make again."
    )
    if not runs(sys.executable, "import venv, ensurepip"):
        return missing
    made = subprocess.call([sys.executable, "-m", "venv", str(VENV)]) == 0
    if not made or not runs(str(PYTHON), LEAST_CODE):
        shutil.rmtree(VENV, ignore_errors=True)
        return missing
    return ""


def runs(python: str, code: str) -> bool:
    """Tell whether this Python is there and the code ends well on it."""
    quiet = subprocess.DEVNULL
    try:
        return subprocess.call([python, "-c", code], stdout=quiet, stderr=quiet) == 0
    except OSError:
        return False


def is_installed(lock: str) -> bool:
    """Tell whether the lock as it is now was installed, itself or within the development lock."""
    return any(
        stamp(name).exists() and stamp(name).read_text() == digest(name)
        for name in (lock, DEVELOPMENT_LOCK)
    )


def stamp(lock: str) -> Path:
    """Return the file that remembers which version of the lock was installed."""
    return VENV / f"installed-{lock}"


def digest(lock: str) -> str:
    """Return what changes with the lock, and with the runtime lock that goes with it."""
    found = hashlib.sha256()
    for name in sorted({lock, RUNTIME_LOCK}):
        found.update(Path(name).read_bytes())
    return found.hexdigest()


def say(text: str) -> None:
    """Print it now."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def refuse(reason: str) -> int:
    """Print why it can't go on, and return the exit status for that."""
    sys.stderr.write("\n" + reason + "\n\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
