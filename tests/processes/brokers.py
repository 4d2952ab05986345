"""A real Redis and a real RabbitMQ: own files, own ports of the loopback, as an ordinary account.

They listen on ports of their own, whatever servers of the system run beside them.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from jitportal.embedded import account, children
from tests.programs import require

HOST = "127.0.0.1"
_START_SECONDS = 60.0
_DEBIANS_RABBITMQ = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")


def free_ports(count: int) -> list[int]:
    """That many ports that nobody listened at a moment ago, all different."""
    probes = [socket.create_server((HOST, 0)) for _ in range(count)]
    try:
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()


@contextmanager
def redis() -> Iterator[str]:
    """Run a Redis that keeps nothing; yields its URL."""
    (port,) = free_ports(1)
    with redis_at(port) as url:
        yield url


@contextmanager
def redis_at(port: int) -> Iterator[str]:
    """Run a Redis that keeps nothing at a port, until it is killed in the end; yields its URL."""
    program = require("redis-server", package="redis-server")
    command = (
        *(str(program), "--port", str(port), "--bind", HOST, "--daemonize", "no"),
        *("--save", "", "--appendonly", "no"),
    )
    with _folder() as folder, _child(command, folder=folder, environment={}) as process:
        _wait(process, folder, lambda: _says(port, b"PING\r\n", b"+PONG"))
        yield f"redis://{HOST}:{port}/0"


@contextmanager
def rabbitmq() -> Iterator[str]:
    """Run a RabbitMQ node that nobody else knows of; yields its URL."""
    program = require("rabbitmq-server", package="rabbitmq-server")
    epmd = require("epmd", package="erlang-base")
    if _DEBIANS_RABBITMQ.exists():  # in PATH is a wrapper that insists on its own account
        program = _DEBIANS_RABBITMQ
    port, distribution_port, epmd_port = free_ports(3)
    with _folder() as folder:
        (folder / "empty.conf").touch()
        (folder / "plugins").write_text("[].\n")
        environment = {
            "HOME": str(folder),  # the cookie
            "ERL_EPMD_PORT": str(epmd_port),
            "ERL_EPMD_ADDRESS": HOST,
            "RABBITMQ_NODENAME": f"tests{port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": HOST,
            "RABBITMQ_NODE_PORT": str(port),
            "RABBITMQ_DIST_PORT": str(distribution_port),
            "RABBITMQ_BASE": str(folder),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "RABBITMQ_CONFIG_FILE": str(folder / "empty.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "none.config"),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "empty.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none",
            "RUNNING_UNDER_SYSTEMD": "1",  # its script becomes the node, and leaves no shell behind
        }
        for inherited in [name for name in os.environ if name.startswith(("RABBITMQ_", "ERL_"))]:
            environment.setdefault(inherited, "")
        # Erlang would start this one by itself, as a daemon that stays.
        names = (str(epmd), "-port", str(epmd_port), "-address", HOST)
        with (
            _child(names, folder=folder, environment=environment),
            _child((str(program),), folder=folder, environment=environment) as process,
        ):
            _wait(process, folder, lambda: _says(port, b"AMQP\x00\x00\x09\x01", b"\x01\x00\x00"))
            yield f"amqp://guest:guest@{HOST}:{port}//"


KINDS = {"redis": redis, "rabbitmq": rabbitmq}


@contextmanager
def _folder() -> Iterator[Path]:
    """A folder that belongs to the ordinary account, gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="jitportal-broker-"))
    try:
        if ordinary := account.unprivileged():
            os.chown(folder, ordinary.uid, ordinary.gid)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _child(
    command: tuple[str, ...], *, folder: Path, environment: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command in `folder` as an ordinary account; nothing of it is left afterwards."""
    ordinary = account.unprivileged()
    with (folder / "output").open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=children.dies_with_us(signal.SIGKILL),
            **(ordinary.process_options() if ordinary else {}),
        )
    try:
        yield process
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait(process: subprocess.Popen[bytes], folder: Path, answers: Callable[[], bool]) -> None:
    """Wait until the server answers. Raises: RuntimeError with what it said."""
    end = time.monotonic() + _START_SECONDS
    while not answers():
        if process.poll() is not None or time.monotonic() > end:
            said = (folder / "output").read_text(errors="replace")[-2000:]
            raise RuntimeError(f"{process.args!r} did not start: {said}")
        time.sleep(0.05)


def _says(port: int, question: bytes, answer: bytes) -> bool:
    """Whether whoever listens at the port answers so."""
    try:
        with socket.create_connection((HOST, port), timeout=2) as connection:
            connection.sendall(question)
            return connection.recv(64).startswith(answer)
    except OSError:
        return False
