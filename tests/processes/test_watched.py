"""Beat and workers watch each other: a killed one is named, mailed, and told to be back."""

import base64
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.test import Client

from approvals.selectors import processes as lives
from audit.models import Checkpoint
from jitportal.embedded import roles
from tests.conftest import cluster
from tests.processes.conftest import QUEUES, Processes
from tests.services.mails import mail_server
from tests.services.smtp import Server
from tests.world import World

Until = Callable[..., float]

pytestmark = pytest.mark.django_db(transaction=True)

SILENT_SECONDS = 8


@pytest.fixture
def mails(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """The mail server of the processes; silence is a matter of seconds for them and for us."""
    settings.WATCH_SILENT = timedelta(seconds=SILENT_SECONDS)
    with mail_server(settings) as server:
        monkeypatch.setenv("EMAIL_URL", f"smtp://127.0.0.1:{server.port}")
        monkeypatch.setenv("WATCH_SILENT_SECONDS", str(SILENT_SECONDS))
        yield server


def told(server: Server, words: str) -> int:
    subjects = [str(mail["Subject"]) for mail in list(server.mails)]
    return sum(subject.startswith(words) for subject in subjects)


def said() -> dict[str, str]:
    found: dict[str, str] = Client().get("/readyz").json()["processes"]
    return found


def test_each_notices_that_another_was_killed_and_that_it_is_back(
    world: World, mails: Server, processes: Processes, until: Until
) -> None:
    processes.start("beat", *QUEUES)
    until(lambda: set(said().values()) == {"ok"})
    assert {row.kind for row in lives.rows()} >= {"beat", *QUEUES}
    until(lambda: {row.name for row in lives.rows() if row.kind == "queue"} == set(QUEUES))

    processes.kill("beat")
    until(lambda: said()["beat"].startswith("silent for"))
    until(lambda: told(mails, "Beat is silent") == 1)  # by a worker: nobody else is there
    processes.start("beat")
    until(lambda: said()["beat"] == "ok")
    until(lambda: told(mails, "Beat is back") == 1)

    processes.kill(*QUEUES)
    for lane in QUEUES:
        until(lambda lane=lane: told(mails, f"The worker of {lane} is silent") == 1)  # by beat
        assert said()[lane].startswith("silent for")
    processes.start(*QUEUES)
    for lane in QUEUES:
        until(lambda lane=lane: told(mails, f"The worker of {lane} is back") == 1)
    until(lambda: set(said().values()) == {"ok"})
    assert lives.open_incidents() == []
    assert told(mails, "Beat is silent") == 1, "each is told once"


STALE_SECONDS = 4


def ledger() -> str:
    found: str = Client().get("/readyz").json()["ledger"]
    return found


def test_a_killed_sealer_is_noticed_and_mailed_and_seals_what_waited_when_it_is_back(
    world: World, mails: Server, processes: Processes, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "LEDGER_STALE", timedelta(seconds=STALE_SECONDS))
    monkeypatch.setenv("LEDGER_STALE_SECONDS", str(STALE_SECONDS))
    monkeypatch.setenv("LEDGER_KEY", base64.b64encode(secrets.token_bytes(32)).decode())
    processes.start("sealer", "beat", "due", "notices")
    until(lambda: Checkpoint.objects.exists() and ledger() == "ok")
    until(lambda: said()["due"] == said()["notices"] == "ok")

    processes.kill("sealer")
    world.ask()
    until(lambda: ledger().startswith("stale: An entry has waited for the sealer since"))
    assert Client().get("/readyz").json()["status"] == "degraded"
    until(lambda: told(mails, "The ledger is not being sealed") == 1, 150)  # beat asks each minute
    size = Checkpoint.objects.latest("size").size

    processes.start("sealer")
    until(lambda: ledger() == "ok")
    assert Checkpoint.objects.latest("size").size > size, "what has waited is sealed"
    assert told(mails, "The ledger is not being sealed") == 1, "each is told once"


def test_doctor_finds_a_living_broker_and_processes(
    world: World, processes: Processes, until: Until
) -> None:
    processes.start("beat", *QUEUES)
    until(lambda: set(said().values()) == {"ok"})
    environment = os.environ | {
        "DATABASE_URL": cluster().url(roles.APP),
        "BROKER_URL": processes.broker_url,
    }
    answer = subprocess.run(
        [sys.executable, "manage.py", "doctor", "--json"],
        env=environment, cwd=settings.BASE_DIR, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert answer.returncode == 1, "mail is written to the log, and nothing is sealed"
    checks = {check["name"]: check for check in json.loads(answer.stdout)["checks"]}
    for name in ("database", "role and rights", "migrations", "clocks", "broker", "operators",
                 "processes", "what fails", "what is blocked"):  # fmt: skip
        assert checks[name]["ok"], checks[name]
    assert not checks["mail server"]["ok"]
    assert not checks["sealer"]["ok"]


def test_web_mails_when_everything_in_the_background_is_dead(
    world: World, mails: Server, processes: Processes, until: Until
) -> None:
    processes.start("web", "beat", "due")
    until(lambda: said()["beat"] == said()["due"] == "ok")
    processes.kill("beat", "due")
    until(lambda: told(mails, "Beat is silent") == 1)  # nobody but web is left
    until(lambda: told(mails, "The worker of due is silent") == 1)
    assert not [row for row in lives.rows() if row.kind == "web"], "it only watches"
