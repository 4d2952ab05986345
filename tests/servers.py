"""A pytest plugin, loaded before Django: a real PostgreSQL for each test process.

It must run before pytest-django reads the settings, which is earlier than any conftest.
"""

import os
import shutil
import tempfile
import time
from collections.abc import Generator
from pathlib import Path

import pytest

from jitportal.embedded import roles
from jitportal.embedded.postgres import Cluster

cluster: Cluster | None = None
#: What clocks of two processors may differ by: less than lies between two records.
DISAGREEMENT_SECONDS = 0.001


def _is_controller(args: list[str]) -> bool:
    """Return whether this process only hands tests to xdist's workers."""
    spreads = any(arg.startswith(("-n", "--numprocesses")) and arg != "-n0" for arg in args)
    return spreads and "PYTEST_XDIST_WORKER" not in os.environ


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(args: list[str]) -> Generator[None, None, None]:
    """Start the cluster and name it in the environment."""
    global cluster
    for name in ("BROKER_URL", "DEMO", "DEMO_MAIL_DIR", "DATABASE_ROLE", "EMAIL_URL", "PORTAL_URL"):
        os.environ.pop(name, None)
    os.environ["SECRET_KEY"] = "a-key-for-tests-only-" + "x" * 40
    os.environ["DATABASE_POOL"] = "60"
    os.environ["LOG_FORMAT"] = "console"
    os.environ["ERASURE_WAIT_SECONDS"] = "0"
    if _is_controller(args):
        os.environ["DATABASE_URL"] = "postgresql://nobody@127.0.0.1:1/none"
    else:
        folder = Path(tempfile.mkdtemp(prefix="jitportal-tests-"))
        _steady()
        cluster = Cluster(folder / "postgres", fast=True).start()
        roles.prepare(cluster=cluster)
        os.environ["DATABASE_URL"] = cluster.socket_url(roles.OWNER)
    yield


def _steady() -> None:
    """Keep to one processor, with all that is started from here, where they disagree about the time.

    Some virtual machines' do, by tens of milliseconds: what comes later would be written down as
    earlier, which no order of records survives.
    """
    processors = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    backwards, before = 0.0, time.time()
    for processor in processors * 10:
        os.sched_setaffinity(0, {processor})
        backwards, before = max(backwards, before - time.time()), time.time()
    if not processors:
        return
    if backwards > DISAGREEMENT_SECONDS:
        number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
        processors = [processors[number % len(processors)]]
    os.sched_setaffinity(0, processors)


def pytest_unconfigure() -> None:
    """Stop the cluster and remove its files."""
    if cluster is not None:
        cluster.destroy()
        shutil.rmtree(cluster.directory.parent, ignore_errors=True)
