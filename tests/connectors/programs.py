"""Programs that tests run for real, where the machine has them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

# Servers live in directories that an ordinary account's PATH leaves out on Debian.
_SYSTEM_FOLDERS = ("/usr/local/sbin", "/usr/sbin", "/sbin")


def require(program: str, *, package: str) -> Path:
    """Return the path of `program`, or skip the test, naming the Debian package that brings it.

    In continuous integration (`CI` is set) a missing program fails the test instead: there nobody
    reads what was skipped.
    """
    folders = os.pathsep.join((os.environ.get("PATH", os.defpath), *_SYSTEM_FOLDERS))
    found = shutil.which(program, path=folders)
    if found is None:
        sentence = f"{program} is not installed here: on Debian, apt install {package}"
        if os.environ.get("CI"):
            pytest.fail(sentence)
        pytest.skip(sentence)
    return Path(found)
