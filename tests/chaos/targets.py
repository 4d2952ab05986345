"""The targets of a run: folders that record every call, each with its own key and its own moods."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from approvals.connectors import registry
from approvals.connectors.protocol import GrantSpec
from tests.connectors.noop import Noop

#: Resource by resource: one that is always well, one that has an outage, one that is slow.
FOLDERS = ("steady", "flapping", "slow")
#: The resource at a real PostgreSQL, behind a gate that can refuse or fall silent.
DATABASE = "orders"
ENTITLEMENTS = ("read", "write", "quiet")


class FolderTarget(Noop):
    """A no-op target of its own key. Its record keeps true time, also under a clock that is off.

    CHAOS_EPOCH is what the monotonic clock, which all processes of a host share, is to be added to.
    """

    def __init__(self, key: str, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        super().__init__(folder)
        self.key = key  # type: ignore[misc]

    def _write(self, name: str, stage: str, spec: GrantSpec) -> None:
        line = json.dumps(
            {
                "name": name,
                "stage": stage,
                "at": time.monotonic() + float(os.environ["CHAOS_EPOCH"]),
                "pid": os.getpid(),
                "request": spec.request_id,
                "login": spec.subject_login,
                "entitlement": str(spec.entitlement_settings.get("name", spec.entitlement)),
            }
        )
        handle = os.open(self._journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(handle, f"{line}\n".encode())
        finally:
            os.close(handle)


def all_in(folder: Path) -> dict[str, FolderTarget]:
    """Return the run's targets by their names."""
    return {name: FolderTarget(f"chaos_{name}", folder / name) for name in FOLDERS}


def install() -> None:
    """Make the run's targets known to this process; CHAOS_FOLDER says where they lie."""
    for target in all_in(Path(os.environ["CHAOS_FOLDER"])).values():
        registry._found()[target.key] = target
