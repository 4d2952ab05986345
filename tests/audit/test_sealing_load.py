"""The real sealer's process beside many writers: nothing lost, no object's order broken."""

from __future__ import annotations

import base64
import os
import secrets
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from audit.domain.note import LogSigner
from jitportal.embedded import roles
from tests.audit import sealing_load
from tests.conftest import as_role, cluster

CHECKOUT = Path(__file__).parents[2]
KEY = base64.b64encode(secrets.token_bytes(32)).decode()

pytestmark = pytest.mark.django_db(transaction=True)


@contextmanager
def running(log: Path, **changed: str) -> Iterator[subprocess.Popen[bytes]]:
    """A sealer's process, stopped at the end; `changed` is other in its environment."""
    environment = {
        **os.environ,
        "DATABASE_URL": cluster().url(roles.SEALER),
        "LEDGER_KEY": KEY,
        "LEDGER_ORIGIN": "jit.example.com/ledger",
        "DATABASE_POOL": "2",
        "PYTHONUNBUFFERED": "1",
        **changed,
    }
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "ledger_seal"],
            cwd=CHECKOUT,
            env=environment,
            stdout=file,
            stderr=file,
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def wait_for(connection: psycopg.Connection[object], question: str, *, seconds: float) -> bool:
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        answer = connection.execute(question).fetchone()
        connection.rollback()
        if answer is not None and answer[0]:  # type: ignore[index]
            return True
        time.sleep(0.1)
    return False


ALL_SEALED = (
    "SELECT EXISTS (SELECT FROM audit_checkpoint) AND NOT EXISTS (SELECT FROM audit_entry e"
    " WHERE NOT EXISTS (SELECT FROM audit_leaf l WHERE l.entry_id = e.id))"
)


def test_writers_that_pause_and_roll_back_lose_nothing(tmp_path: Path) -> None:
    idle = cluster().url(roles.BROKER, roles.BROKER_DATABASE)
    with (
        running(tmp_path / "one"),
        running(tmp_path / "two"),  # one of them seals, the other stands by
        as_role("superuser") as admin,
        sealing_load.idle_transaction(idle),
    ):
        assert wait_for(admin, "SELECT EXISTS (SELECT FROM audit_checkpoint)", seconds=30)
        admin.rollback()
        written = sealing_load.write(cluster().url(roles.APP), seconds=6, writers=8)
        assert wait_for(admin, ALL_SEALED, seconds=20)
        found = sealing_load.findings(admin)
    assert written > 200
    assert len(found.delays) == written
    # Loose, for slow machines; whoever waits for the idle transaction's end seals nothing before.
    assert statistics.median(found.delays) < 10
    assert not found.problems
    assert not found.unsealed
    logs = [(tmp_path / name).read_text() for name in ("one", "two")]
    assert sum("sealer.waits" in text for text in logs) == 1


def test_another_sealer_takes_over_from_a_killed_one(tmp_path: Path) -> None:
    with as_role("superuser") as admin, running(tmp_path / "one") as first:
        assert wait_for(admin, "SELECT EXISTS (SELECT FROM audit_checkpoint)", seconds=30)
        with running(tmp_path / "two"):
            first.kill()
            sealing_load.write(cluster().url(roles.APP), seconds=1, writers=2)
            assert wait_for(admin, ALL_SEALED, seconds=30)
            assert not sealing_load.findings(admin).problems


def test_another_sealer_takes_over_from_one_that_can_not_sign(tmp_path: Path) -> None:
    vkey = LogSigner(name="jit.example.com/ledger", seed=base64.b64decode(KEY)).key.vkey
    broken = {"LEDGER_SIGN_COMMAND": "/bin/false", "LEDGER_VKEY": vkey}
    with as_role("superuser") as admin, running(tmp_path / "one", **broken):
        ends = time.monotonic() + 60
        while "sealer.failed" not in (tmp_path / "one").read_text():
            assert time.monotonic() < ends, (tmp_path / "one").read_text()
            time.sleep(0.1)
        with running(tmp_path / "two"):
            assert wait_for(admin, "SELECT EXISTS (SELECT FROM audit_checkpoint)", seconds=60)
            sealing_load.write(cluster().url(roles.APP), seconds=1, writers=2)
            assert wait_for(admin, ALL_SEALED, seconds=60)
            assert not sealing_load.findings(admin).problems
