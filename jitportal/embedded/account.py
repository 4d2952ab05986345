"""Which operating-system account PostgreSQL runs under.

PostgreSQL refuses to run as root. Started as root, the quick start drops to an account without
rights; started by anyone else, it runs as that person.
"""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CANDIDATES = ("postgres", "nobody")


class NoAccount(Exception):
    """Root has no unprivileged account to hand PostgreSQL to."""


@dataclass(frozen=True, slots=True)
class Account:
    """An account that root steps down to."""

    name: str
    uid: int
    gid: int

    def process_options(self) -> Mapping[str, Any]:
        """The `subprocess` options that start a child as this account, with no other groups."""
        return {"user": self.uid, "group": self.gid, "extra_groups": ()}

    def can_enter(self, folder: Path) -> bool:
        """Whether the account can reach and traverse `folder`, found by letting it try."""
        tried = subprocess.run(
            ["/bin/sh", "-c", 'cd -- "$1"', "sh", str(folder)],
            cwd="/",
            env={"PATH": os.defpath},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
            **self.process_options(),
        )
        return tried.returncode == 0


def unprivileged() -> Account | None:
    """The account that root must step down to; None when we are not root.

    Raises:
        NoAccount: we are root and neither candidate exists.
    """
    if os.geteuid() != 0:
        return None
    for name in CANDIDATES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid != 0:
            return Account(name=entry.pw_name, uid=entry.pw_uid, gid=entry.pw_gid)
    raise NoAccount(
        "PostgreSQL refuses to run as root, and there is no account named "
        f"{' or '.join(CANDIDATES)} to run it as: create one, or run this as a normal user."
    )
