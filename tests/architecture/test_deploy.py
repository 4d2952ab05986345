"""The examples of deployment start what there is, with the flags that the quick start is run with."""

import http.server
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from configparser import RawConfigParser
from contextlib import contextmanager
from dataclasses import astuple
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from django.conf import settings
from django.core.management import get_commands, load_command_class
from gunicorn.config import Config  # type: ignore[import-untyped]

from approvals.outbox.queue import LANES
from approvals.services import process_words
from jitportal import env
from jitportal.embedded import binaries, demo
from jitportal.embedded.postgres import Cluster
from tests.programs import require

ROOT = Path(settings.BASE_DIR)
DEPLOY = ROOT / "deploy"
HOME = "/opt/jitportal"
SERVICES = {
    path.stem.removeprefix("jitportal-"): path
    for path in sorted((DEPLOY / "systemd").glob("*.service"))
}
WORKERS = sorted(demo.CELERY_WORKERS)
ALL = {"web", "beat", "sealer", *WORKERS}
HARDENED = {
    "Restart": "always",
    "NoNewPrivileges": "yes",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "PrivateTmp": "yes",
    "CapabilityBoundingSet": "",
}

each_service = pytest.mark.parametrize("name", sorted(SERVICES))


def unit(name: str) -> dict[str, str]:
    """Return the settings of a service, all sections together; none is given twice."""
    parser = RawConfigParser(comment_prefixes=("#",), interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(SERVICES[name])
    return {key: value for section in parser.sections() for key, value in parser[section].items()}


def words(name: str) -> list[str]:
    """Return the command of a service, as systemd makes it."""
    return unit(name)["ExecStart"].replace("%%", "%").split()


@pytest.fixture
def quick_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """What the quick start runs, without the interpreter in front: name -> words from `-m` on."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    monkeypatch.delenv("DATABASE_URL_SEALER", raising=False)
    parts = demo.Demo(checkout=ROOT, directory=tmp_path / "demo", developing=False)._programs()
    return {part.name: list(part.command[part.command.index("-m") + 1 :]) for part in parts}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.example.yaml").read_text())
    return found


# -- systemd


def test_there_is_a_service_for_each_process() -> None:
    assert set(SERVICES) == ALL


def test_every_unit_that_operators_are_told_of_is_there() -> None:
    kinds = [
        "beat", "ends", "target:orders-db", "unseen:orders-db",
        *(f"{family}{lane}" for family in ("", "queue:", "lane:") for lane in LANES),
    ]  # fmt: skip
    told = {kind: " ".join(astuple(process_words.about(kind))) for kind in kinds}
    told |= {path.name: path.read_text() for path in (ROOT / "docs").glob("*.md")}
    told["doctor"] = (ROOT / "jitportal" / "doctor" / "work.py").read_text()
    units = {
        (who, unit)
        for who, text in told.items()
        for command in re.finditer(r"systemctl\s+[a-z-]+((?:\s+jitportal[-.@\w]*)+)", text)
        for unit in re.findall(r"jitportal[-.@\w]*[\w]", command[1])
    }
    there = {f"jitportal-{name}" for name in SERVICES} | {"jitportal.target"}
    assert {who for who, _ in units} > {"beat", "queue:due", "lane:notices", "provisioning"}
    assert {(who, unit) for who, unit in units if unit not in there} == set()


@each_service
def test_every_program_is_there(name: str) -> None:
    program, *arguments = words(name)
    assert program.startswith(f"{HOME}/.venv/bin/")
    assert (Path(sys.prefix) / "bin" / Path(program).name).exists()
    assert unit(name)["WorkingDirectory"] == HOME
    if Path(program).name == "python":
        assert arguments[0] == f"{HOME}/manage.py"
        assert (ROOT / "manage.py").exists()


def parse_gunicorn(arguments: list[str]) -> dict[str, Any]:
    """Return what gunicorn understands. Raises: SystemExit for what it does not know."""
    return dict(vars(Config().parser().parse_args(arguments)))


def test_the_pages_are_served_as_in_the_quick_start(quick_start: dict[str, list[str]]) -> None:
    ours, theirs = parse_gunicorn(words("web")[1:]), parse_gunicorn(quick_start["web"][1:])
    for name in ("args", "worker_class", "threads", "control_socket_disable"):
        assert ours[name] == theirs[name], name


@pytest.mark.parametrize("queue", WORKERS)
def test_each_worker_has_the_quick_starts_queue_and_flags(
    queue: str, quick_start: dict[str, list[str]]
) -> None:
    assert words(queue)[1:] == quick_start[queue][1:]
    assert words(queue)[words(queue).index("-Q") + 1] == queue


def test_beat_has_the_quick_starts_flags(quick_start: dict[str, list[str]]) -> None:
    assert words("beat")[1:] == quick_start["beat"][1:]


def test_the_sealer_is_a_command_that_takes_its_arguments() -> None:
    _, _, command, *arguments = words("sealer")
    load_command_class(get_commands()[command], command).create_parser(
        "manage.py", command
    ).parse_args(arguments)


@each_service
def test_every_service_is_hardened_and_belongs_to_the_target(name: str) -> None:
    found = unit(name)
    assert {key: found.get(key) for key in HARDENED} == HARDENED
    assert found["WantedBy"] == found["PartOf"] == "jitportal.target"


def test_nobody_shares_the_sealers_account_or_its_environment() -> None:
    for key in ("User", "EnvironmentFile"):
        others = {unit(name)[key] for name in ALL - {"sealer"}}
        assert len(others) == 1
        assert unit("sealer")[key] not in others
    assert all(unit(name)["User"] not in ("", "root") for name in ALL)


def test_mail_gives_way() -> None:
    assert {name: unit(name).get("Nice") for name in WORKERS} == {
        "due": None, "notices": "10", "provisioning": None,
    }  # fmt: skip


def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    """Where systemd is: programs are looked for where this machine has them."""
    program = require("systemd-analyze", package="systemd")
    for path in (*SERVICES.values(), DEPLOY / "systemd" / "jitportal.target"):
        text = path.read_text().replace(f"{HOME}/.venv", sys.prefix).replace(HOME, str(ROOT))
        (tmp_path / path.name).write_text(text)
    said = subprocess.run(
        [program, "verify", "--man=no", *sorted(tmp_path.iterdir())],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    ours = [line for line in said.stderr.splitlines() if "jitportal" in line]
    assert (said.returncode, ours) == (0, [])


def assignments(path: Path) -> dict[str, str]:
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return {name: value.strip('"') for name, _, value in (line.partition("=") for line in lines)}


@pytest.mark.parametrize("name", ["environment.example", "sealer-environment.example"])
def test_the_environments_are_accepted(name: str, tmp_path: Path) -> None:
    given = assignments(DEPLOY / "systemd" / name)
    for key in [key for key in given if key.endswith("_FILE")]:
        (tmp_path / key).write_text("x" * 60)
        given[key] = str(tmp_path / key)
    known = {key.removesuffix("_FILE") for key in given}
    assert known - {"ORDERS_DB_DSN"} <= set(env.VARIABLES)
    program = "from jitportal import settings; print(settings.DATABASE_URL, settings.LEDGER_ORIGIN)"
    said = subprocess.run(
        [sys.executable, "-c", program],
        env=given,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert said == [given["DATABASE_URL"], given["LEDGER_ORIGIN"]]
    role = "jitportal_sealer" if name.startswith("sealer") else "jitportal_app"
    assert f"//{role}:" in given["DATABASE_URL"]


# -- containers


def instructions() -> list[tuple[str, str]]:
    """Return the instructions of the Containerfile."""
    text = re.sub(r"(?m)^#.*\n", "", (DEPLOY / "Containerfile").read_text()).replace("\\\n", " ")
    pairs = (line.partition(" ") for line in text.splitlines() if line.strip())
    return [(name, " ".join(rest.split())) for name, _, rest in pairs]


def test_what_the_image_is_made_of_is_there_and_let_in() -> None:
    copied = {
        word
        for name, rest in instructions()
        if name == "COPY" and "--from" not in rest
        for word in rest.split()[:-1]
    }
    let_in = set(re.findall(r"(?m)^!(.*)$", (ROOT / ".dockerignore").read_text()))
    assert copied == let_in
    assert all((ROOT / name).exists() for name in copied)
    assert {"approvals", "audit", "jitportal", "templates", "requirements.lock"} <= copied


def test_the_image_runs_without_root_installs_by_hash_and_asks_healthz() -> None:
    given = instructions()
    last = max(number for number, (name, _) in enumerate(given) if name == "FROM")
    assert [name for name, _ in given].count("FROM") == 2
    assert ("USER", "10001") in given[last:]
    assert any("--no-deps --require-hashes -r requirements.lock" in rest for _, rest in given)
    assert any("collectstatic" in rest for _, rest in given)
    final = dict(given[last:])
    assert "deploy/healthcheck.py" in final["HEALTHCHECK"]
    command = yaml.safe_load(final["CMD"])
    assert command[0] == "gunicorn"
    ours, theirs = parse_gunicorn(command[1:]), parse_gunicorn(words("web")[1:])
    for name in ("args", "worker_class", "workers", "threads", "control_socket_disable"):
        assert ours[name] == theirs[name], name


def test_the_composition_has_two_of_each_with_the_units_commands(compose: dict[str, Any]) -> None:
    services = compose["services"]
    for name in ALL - {"sealer"}:
        pair = [services[f"{name}-{number}"] for number in (1, 2)]
        for service in pair:
            if name == "web":
                assert "command" not in service, "the image's own"
                continue
            command = service["command"]
            nice, rest = command[:3], command[3:]
            if name == "notices":
                assert nice == ["nice", "-n", unit("notices")["Nice"]]
                command = rest
            assert command[1:] == words(name)[1:]
            assert service["healthcheck"] == {"disable": True}
    assert services["sealer"]["command"][1:] == ["manage.py", *words("sealer")[2:]]


def test_the_composition_refers_to_what_it_has(compose: dict[str, Any]) -> None:
    services = compose["services"]
    for name, service in services.items():
        assert set(service.get("depends_on", ())) <= set(services), name
        for key, value in service.get("environment", {}).items():
            if key.endswith("_FILE"):
                assert value.removeprefix("/run/secrets/") in service["secrets"], (name, key)
            if service["image"] == compose["x-portal"]["image"]:
                assert key.removesuffix("_FILE") in env.VARIABLES
    assert {secret for service in services.values() for secret in service["secrets"]} == set(
        compose["secrets"]
    )


def test_each_process_is_given_its_own_secrets_only(compose: dict[str, Any]) -> None:
    having: dict[str, set[str]] = {}
    for name, service in compose["services"].items():
        for secret in service["secrets"]:
            having.setdefault(secret, set()).add(name)
    assert having["ledger-key"] == having["sealer-database-url"] == {"sealer"}
    assert having["owner-database-url"] == {"migrate"}
    assert "sealer" not in having["app-database-url"] | having["secret-key"]


def test_the_scripts_make_secrets_that_open_the_database(
    compose: dict[str, Any], tmp_path: Path
) -> None:
    folder = tmp_path / "secrets"
    for _ in range(2):
        subprocess.run(["/bin/sh", DEPLOY / "make-secrets.sh", folder], check=True)
    made = {path.name: path.read_text().strip() for path in folder.iterdir()}
    assert set(made) == {Path(entry["file"]).name for entry in compose["secrets"].values()}
    assert len({value for name, value in made.items() if "-url" not in name}) == 8
    assert folder.stat().st_mode & 0o77 == 0
    with Cluster(tmp_path / "cluster", fast=True) as cluster:
        address = cluster.superuser_url("postgres")
        variables = {
            "PATH": f"{Path(binaries.locate(account=None).program('psql')).parent}:/usr/bin:/bin",
            "SQL_FOLDER": str(ROOT / "jitportal" / "embedded"),
            "PASSWORDS": str(folder),
            "PGHOST": "127.0.0.1",
            "PGPORT": str(cluster.port),
            "PGUSER": "postgres",
            "PGPASSWORD": str(psycopg.conninfo.conninfo_to_dict(address)["password"]),
        }
        for _ in range(2):
            subprocess.run(["/bin/sh", DEPLOY / "postgres-init.sh"], env=variables, check=True)
        for role in ("owner", "app", "sealer"):
            url = made[f"{role}-database-url"].replace("@postgres/", f"@127.0.0.1:{cluster.port}/")
            with psycopg.connect(url) as opened:
                row = opened.execute("SELECT current_user, current_database()").fetchone()
            assert row == (f"jitportal_{role}", "jitportal")


@contextmanager
def answering(status: int) -> Iterator[tuple[str, list[str]]]:
    """Serve one status on a free port; yields the address and the `Host`s that were asked."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(f"{self.headers['Host']} {self.headers['X-Forwarded-Proto']} {self.path}")
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/healthz", asked
        server.shutdown()
        thread.join()


def health(url: str) -> int:
    given = {"HEALTHCHECK_URL": url, "ALLOWED_HOSTS": "access.example.com,other"}
    return subprocess.run(
        [sys.executable, DEPLOY / "healthcheck.py"], env=given, capture_output=True, check=False
    ).returncode


def test_the_health_check_asks_as_the_proxy_does() -> None:
    with answering(200) as (url, asked):
        assert health(url) == 0
    assert asked == ["access.example.com https /healthz"]
    with answering(503) as (url, _):
        assert health(url) == 1
    assert health(url) == 1, "nobody listens there any more"
