"""The processes of one PostgreSQL data directory: making it, running it, ending what runs in it.

Knows files and processes; who may use the cluster, and with which passwords, is in postgres.py.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from jitportal.embedded import children, files, places
from jitportal.embedded.account import Account
from jitportal.embedded.binaries import Binaries

HOST = "127.0.0.1"
START_SECONDS = 60
STOP_SECONDS = 20
LOG_LIMIT_BYTES = 20_000_000
#: Bytes that the path of a socket may have (`sun_path`), and the longest name of PostgreSQL's.
SOCKET_PATH_MOST, SOCKET_NAME = 107, "/.s.PGSQL.65535"


class ClusterFailed(Exception):
    """PostgreSQL could not be made or started; the message has its own last words."""


@dataclass(frozen=True, slots=True)
class Programs:
    """PostgreSQL's programs, and the account that they run as (None: ours)."""

    binaries: Binaries
    account: Account | None

    def start(
        self,
        command: list[str],
        *,
        output: IO[bytes] | int,
        before: Callable[[], None] | None = None,
    ) -> subprocess.Popen[bytes]:
        """The program runs in a session of its own, so that Ctrl-C reaches it through us alone."""
        return subprocess.Popen(
            [self.binaries.program(command[0]), *command[1:]],
            cwd="/",
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=before,
            **(self.account.process_options() if self.account else {}),
        )


def initialise(
    *, data: Path, programs: Programs, superuser: str, password: str, durable: bool
) -> None:
    """`data` is a fresh cluster; made aside and renamed, so that it is whole or absent.

    Raises:
        ClusterFailed: initdb refuses, or something else lies at `data`.
    """
    if data.exists():
        raise ClusterFailed(f"{data} exists and is no PostgreSQL cluster: remove it.")
    for leftover in data.parent.glob("new-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    fresh = Path(tempfile.mkdtemp(prefix="new-", dir=data.parent))
    try:
        files.write_private(fresh / "password", password + "\n")
        (fresh / "data").mkdir(mode=0o700)
        if programs.account is not None:
            for path in (fresh / "password", fresh / "data", fresh):
                os.chown(path, programs.account.uid, programs.account.gid)
        command = [
            "initdb",
            f"--pgdata={fresh / 'data'}",
            f"--username={superuser}",
            f"--pwfile={fresh / 'password'}",
            "--auth-host=scram-sha-256",
            "--auth-local=scram-sha-256",
            "--data-checksums",
            "--locale=C.UTF-8",
            "--encoding=UTF8",
            *([] if durable else ["--no-sync"]),
        ]
        made = programs.start(command, output=subprocess.PIPE)
        said, _ = made.communicate()
        if made.returncode != 0:
            raise ClusterFailed(f"initdb failed:\n{_last_lines(said)}")
        (fresh / "data").rename(data)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def check_version(*, data: Path, binaries: Binaries) -> None:
    """The data was made by the same major version. Raises ClusterFailed."""
    made_by = int((data / "PG_VERSION").read_text().strip())
    if made_by != binaries.major():
        raise ClusterFailed(
            f"{data} was made by PostgreSQL {made_by}, and this is {binaries.major()}: "
            "remove it to begin anew."
        )


def run(
    *,
    data: Path,
    programs: Programs,
    settings: Mapping[str, str],
    log: Path,
    is_alive: Callable[[], bool],
) -> subprocess.Popen[bytes]:
    """A postmaster that accepts connections, judged by `is_alive`.

    It shuts down when we end, however we end (see children.py).

    Raises:
        AddressInUse: another program has the port.
        ClusterFailed: it ended, or wasn't ready within START_SECONDS.
    """
    if log.exists() and log.stat().st_size > LOG_LIMIT_BYTES:
        log.replace(log.with_suffix(".log.1"))
    folder = '"{}"'.format(str(data).replace('"', '""')) if has_room_for_socket(data) else ""
    command = ["postgres", "-D", str(data)]
    for name, value in {"unix_socket_directories": folder, **settings}.items():
        command += ["-c", f"{name}={value}"]
    with open(log, "ab", opener=_private) as output:
        began = output.seek(0, os.SEEK_END)
        before = children.dies_with_us(signal.SIGINT)
        process = programs.start(command, output=output, before=before)
    try:
        deadline = time.monotonic() + START_SECONDS
        while process.poll() is None and time.monotonic() < deadline:
            if is_alive():
                return process
            time.sleep(0.05)
    except BaseException:
        end(process=process, first=signal.SIGQUIT)
        raise
    end(process=process, first=signal.SIGQUIT)
    with log.open("rb") as written:
        written.seek(began)
        said = _last_lines(written.read())
    kind = AddressInUse if "Address already in use" in said else ClusterFailed
    raise kind(f"PostgreSQL did not start:\n{said}")


class AddressInUse(ClusterFailed):
    """Someone took the port between our look at it and the start."""


def end(*, process: subprocess.Popen[bytes], first: signal.Signals) -> None:
    """The child has ended: asked, then told, then killed."""
    for sign in (first, signal.SIGQUIT, signal.SIGKILL):
        if process.poll() is not None:
            return
        _send(process.pid, sign)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=STOP_SECONDS)


def end_leftovers(*, data: Path, is_alive: Callable[[], bool]) -> None:
    """No process works in `data` any more: neither a postmaster nor backends that lost it.

    Call it with the cluster's lock held, so that none of them has an owner. They get the time to
    write their last checkpoint, then are killed; PostgreSQL recovers from that at its next start.

    Raises:
        ClusterFailed: some won't end.
    """
    postmaster = _recorded_postmaster(data)
    if postmaster in places.processes_in(data) or (not places.PROC.is_dir() and is_alive()):
        _send(postmaster, signal.SIGINT)
        deadline = time.monotonic() + STOP_SECONDS
        while _exists(postmaster) and time.monotonic() < deadline:
            time.sleep(0.05)
    deadline = time.monotonic() + STOP_SECONDS
    while (left := places.processes_in(data)) and time.monotonic() < deadline:
        for pid in left:
            _send(pid, signal.SIGKILL)
        time.sleep(0.05)
    if left:
        raise ClusterFailed(f"Processes {left} of an earlier start in {data} won't end.")
    if places.PROC.is_dir():
        # PostgreSQL believes these files when their process id is anybody's, or a zombie's.
        for path in (data / "postmaster.pid", *data.glob(".s.PGSQL.*")):
            path.unlink(missing_ok=True)


def has_room_for_socket(data: Path) -> bool:
    """Whether a socket of PostgreSQL can lie in the folder, and be named in a URL.

    The system limits its path's length, and libpq takes what a comma parts for several hosts.
    """
    return len(os.fsencode(data)) + len(SOCKET_NAME) <= SOCKET_PATH_MOST and "," not in str(data)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def is_free(port: int) -> bool:
    """Whether we could listen on the port of 127.0.0.1 now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError):
            return False
        return True


def _environment() -> dict[str, str]:
    """The environment of PostgreSQL's programs: nothing of ours, above all no PG* variable."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
    }


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def _last_lines(said: bytes) -> str:
    return "\n".join(said.decode(errors="replace").strip().splitlines()[-12:])


def _recorded_postmaster(data: Path) -> int:
    """The pid that the last postmaster wrote down; -1 when none. It may be anyone's by now."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int((data / "postmaster.pid").read_text().splitlines()[0])
    return -1


def _exists(pid: int) -> bool:
    """Whether a process of that id exists and is no zombie."""
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    with contextlib.suppress(OSError):
        return (places.PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return True


def _send(pid: int, sign: signal.Signals) -> None:
    if pid > 0:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, sign)
