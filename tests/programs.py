"""Programs that tests run for real, where the machine has them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

# Servers live in directories that an ordinary account's PATH leaves out on Debian.
_SYSTEM_FOLDERS = ("/usr/local/sbin", "/usr/sbin", "/sbin")
#: Debian keeps the server's programs out of every PATH.
NO_POSTGRES = "No PostgreSQL of the system here: on Debian, apt install postgresql"


def require(program: str, *, package: str) -> Path:
    """Return the path of `program`, or skip the test, naming the Debian package that brings it."""
    folders = os.pathsep.join((os.environ.get("PATH", os.defpath), *_SYSTEM_FOLDERS))
    found = shutil.which(program, path=folders)
    if found is None:
        lacking(f"{program} is not installed here: on Debian, apt install {package}")
    return Path(found)


def lacking(sentence: str) -> NoReturn:
    """Skip the test for want of something that the sentence names.

    In continuous integration (`CI` is set) it fails instead: there nobody reads what was skipped.
    """
    if os.environ.get("CI"):
        pytest.fail(sentence)
    pytest.skip(sentence)
