"""A cluster comes up, lets in who may, and comes back after anything was killed."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest

from jitportal.embedded import files, places
from jitportal.embedded.postgres import Cluster
from tests.programs import NO_POSTGRES, lacking

OWNED_ELSEWHERE = """
import sys, time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from jitportal.embedded.postgres import Cluster
cluster = Cluster(Path(sys.argv[1]), fast=True).start()
print(cluster.pid, flush=True)
time.sleep(60)
"""


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster to be mistreated; its folder can't be entered by others."""
    folder = tmp_path_factory.mktemp("closed")
    folder.chmod(0o700)
    with Cluster(folder / "cluster", fast=True) as running:
        yield running


@pytest.fixture
def running(own: Cluster) -> Cluster:
    return own.start()


def _url(cluster: Cluster, password: str) -> str:
    return f"postgresql://postgres:{password}@127.0.0.1:{cluster.port}/postgres"


def _pid(cluster: Cluster) -> int:
    assert cluster.pid is not None
    return cluster.pid


def _wait_until_gone(pid: int) -> None:
    ends = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists() and time.monotonic() < ends:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        if state == "Z":
            return
        time.sleep(0.02)


@pytest.mark.parametrize("password", ["wrong", ""])
def test_a_wrong_password_is_refused(running: Cluster, password: str) -> None:
    with pytest.raises(psycopg.OperationalError, match=r"password"):
        psycopg.connect(_url(running, password))


def test_every_way_in_asks_for_scram(running: Cluster) -> None:
    with running.connect() as connection:
        methods = connection.execute("SELECT DISTINCT auth_method FROM pg_hba_file_rules")
        assert methods.fetchall() == [("scram-sha-256",)]
        hashed = connection.execute("SELECT rolpassword FROM pg_authid WHERE rolname = 'postgres'")
        assert hashed.fetchone()[0].startswith("SCRAM-SHA-256$")  # type: ignore[index]


def test_it_listens_on_loopback_and_a_socket_of_ours_in_utc_with_checksums(
    running: Cluster,
) -> None:
    with running.connect() as connection:
        found = connection.execute(
            "SELECT name, setting FROM pg_settings WHERE name IN ('listen_addresses',"
            " 'TimeZone', 'data_checksums', 'server_encoding')"
        )
        assert dict(found.fetchall()) == {
            "listen_addresses": "127.0.0.1",
            "TimeZone": "UTC",
            "data_checksums": "on",
            "server_encoding": "UTF8",
        }


@pytest.mark.parametrize("address", [Cluster.url, Cluster.socket_url])
def test_a_password_is_asked_for_on_loopback_and_on_the_socket(
    running: Cluster, address: Callable[[Cluster, str, str], str]
) -> None:
    where = address(running, "postgres", "postgres")
    assert ("?host=" in where) == (address is Cluster.socket_url)
    with psycopg.connect(where, require_auth="scram-sha-256") as connection:
        assert connection.execute("SELECT inet_server_addr() IS NULL").fetchone() == (
            address is Cluster.socket_url,
        )
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(where, password="wrong")


def test_only_we_and_root_reach_the_socket(running: Cluster) -> None:
    [folder] = parse_qs(urlsplit(running.socket_url("postgres")).query)["host"]
    assert Path(folder, f".s.PGSQL.{running.port}").is_socket()
    assert stat.S_IMODE(Path(folder).stat().st_mode) == 0o700


@pytest.mark.parametrize("folder", ["/" + "d" * 100, "/a,b"])
def test_where_the_path_is_none_for_a_socket_it_is_loopback(
    running: Cluster, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    monkeypatch.setattr(running, "_data", Path(folder))
    assert running.socket_url("postgres") == running.url("postgres")


def test_passwords_lie_in_a_file_that_we_alone_can_read(running: Cluster) -> None:
    for name in ("secrets.json", "state.json", "postgres.log"):
        assert stat.S_IMODE((running.directory / name).stat().st_mode) == 0o600


def test_passwords_stay_out_of_the_servers_log(running: Cluster) -> None:
    with running.connect() as connection:
        connection.execute("CREATE ROLE logged LOGIN")
        connection.execute("ALTER SYSTEM SET log_statement = 'all'")
        connection.execute("SELECT pg_reload_conf()")
    time.sleep(0.3)
    running.set_password("logged")
    said = (running.directory / "postgres.log").read_text()
    assert "ALTER ROLE" in said
    assert running.password("logged") not in said
    with running.connect() as connection:
        connection.execute("ALTER SYSTEM RESET ALL")
        connection.execute("SELECT pg_reload_conf()")


def test_committed_rows_outlive_a_kill_of_the_postmaster(running: Cluster) -> None:
    with running.connect() as connection:
        connection.execute("SET synchronous_commit = on")  # which a fast cluster leaves out
        connection.execute("CREATE TABLE kept AS SELECT 7 AS n")
    os.kill(_pid(running), signal.SIGKILL)
    _wait_until_gone(running._process.pid if running._process else 0)
    assert not running.is_alive()
    running.start()
    with running.connect() as connection:
        assert connection.execute("SELECT n FROM kept").fetchone() == (7,)


def test_a_backend_that_lost_its_postmaster_does_not_stop_the_next_start(running: Cluster) -> None:
    """It computes and so doesn't notice; PostgreSQL refuses to start beside it."""

    def compute() -> None:
        with pytest.raises(psycopg.OperationalError), running.connect() as connection:
            connection.execute("SELECT count(*) FROM generate_series(1, 10000000000)")

    busy = threading.Thread(target=compute)
    busy.start()
    time.sleep(0.5)
    os.kill(_pid(running), signal.SIGKILL)
    time.sleep(0.3)
    running.start()
    busy.join(timeout=10)
    assert running.is_alive()
    assert not busy.is_alive()


def test_a_pid_file_that_names_a_stranger_does_not_stop_the_next_start(running: Cluster) -> None:
    running.stop()
    assert running._data is not None
    (running._data / "postmaster.pid").write_text(f"{os.getppid()}\n{running._data}\n0\n0\n")
    running.start()
    assert running.is_alive()


def test_another_port_is_taken_when_someone_has_ours(running: Cluster) -> None:
    before = running.port
    running.stop()
    with socket.socket() as stranger:
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        stranger.bind(("127.0.0.1", before))
        stranger.listen()
        running.start()
        assert running.port != before
        assert running.is_alive()


def test_the_port_stays_the_same_otherwise(running: Cluster) -> None:
    before = running.port
    running.stop()
    assert running.start().port == before


def test_a_second_owner_is_refused(running: Cluster) -> None:
    with pytest.raises(files.Busy, match=str(os.getpid())):
        Cluster(running.directory, fast=True).start()
    assert running.is_alive()


def test_it_ends_with_its_owner_even_when_that_is_killed(running: Cluster) -> None:
    running.stop()
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNED_ELSEWHERE, str(running.directory)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert owner.stdout is not None
    postmaster = int(owner.stdout.readline())
    assert running.is_running_elsewhere()
    owner.kill()
    owner.wait()
    owner.stdout.close()
    _wait_until_gone(postmaster)
    assert not places.processes_in(running._data or Path())
    assert running.start().is_alive()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to step down")
def test_root_steps_down_and_opens_no_folder(running: Cluster) -> None:
    assert Path(f"/proc/{_pid(running)}").stat().st_uid != 0
    assert stat.S_IMODE(running.directory.parent.stat().st_mode) == 0o700
    assert running._data is not None
    assert running.directory not in running._data.parents
    assert stat.S_IMODE(running._data.stat().st_mode) == 0o700
    assert stat.S_IMODE(running._data.parent.stat().st_mode) == 0o711


@pytest.mark.skipif(os.geteuid() == 0, reason="root keeps the data elsewhere")
def test_a_normal_user_keeps_everything_in_the_folder(running: Cluster) -> None:
    assert running._data == running.directory / "data"


def test_the_systems_programs_do_when_the_wheel_is_missing(tmp_path: Path) -> None:
    if not any(Path("/usr/lib/postgresql").glob("*/bin/postgres")):
        lacking(NO_POSTGRES)
    with Cluster(tmp_path / "cluster", fast=True, wheel=False) as cluster:
        assert cluster.is_alive()


def test_a_thrown_away_cluster_leaves_nothing(tmp_path: Path) -> None:
    with Cluster(tmp_path / "cluster", fast=True) as cluster:
        data = cluster._data
    assert data is not None
    assert not data.exists()
    assert list(tmp_path.iterdir()) == []
    assert data.parent == cluster.directory or not data.parent.exists()
