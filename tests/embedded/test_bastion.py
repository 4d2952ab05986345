"""The quick start's SSH target: a real sshd that takes the demo's own certificates, and no others."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from approvals.connectors.protocol import GrantSpec
from approvals.connectors.ssh_certificate import CONNECTOR as SSH
from approvals.management.demo_world import bastion as world
from jitportal.embedded import bastion, server
from jitportal.embedded.supervisor import Supervisor
from jitportal.embedded.terminal import Terminal
from tests.connectors.moments import now
from tests.programs import require


@pytest.fixture
def target(tmp_path: Path) -> bastion.Bastion:
    require("sshd", package="openssh-server")
    found, why = bastion.prepare(tmp_path / "bastion")
    assert found is not None, why
    return found


@pytest.fixture
def supervisor(target: bastion.Bastion, tmp_path: Path) -> Iterator[Supervisor]:
    """Runs the target's sshd."""
    running = Supervisor(terminal=Terminal(), record=tmp_path / "processes.json")
    running.start([target.program()], {"SECRET_KEY": "not for sshd"})
    port = json.loads(target.described.read_text())["resource"]["port"]
    for _ in range(100):
        if not server.is_free(port):
            break
        time.sleep(0.05)
    yield running
    bastion.end_sessions(running.pid(bastion.NAME))
    running.stop()


def spec(target: bastion.Bastion, right: str, *, key: str | None = None) -> GrantSpec:
    told = json.loads(target.described.read_text())
    settings = {found.name: found.settings for found in world._rights(told)}
    return GrantSpec(
        now=now(),
        request_id=f"r-{right}",
        subject_login="alice",
        subject_email="alice@example.com",
        resource="bastion",
        entitlement=right,
        resource_settings=told["resource"],
        entitlement_settings=settings[right],
        secret=target.environment()[bastion.CA_VARIABLE],
        ends_at=datetime.now(UTC) + timedelta(minutes=5),
        subject_keys=(key or told["key"],),
    )


def certificate(spec: GrantSpec) -> str:
    return SSH.grant(spec).handover[0].text


def ssh(target: bastion.Bastion, *words: str) -> list[str]:
    program = require("ssh", package="openssh-client")
    return [str(program), "-F", str(target.ssh_config), "-o", "BatchMode=yes", *words]


def run(target: bastion.Bastion, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ssh(target, *words), capture_output=True, text=True, timeout=20, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip


def refused(target: bastion.Bastion, *words: str) -> bool:
    ran = run(target, *words, "bastion", "echo in")
    return ran.returncode == 255 and "Permission denied" in ran.stderr


@pytest.mark.usefixtures("supervisor")
def test_a_shell_is_open_while_it_is_granted(target: bastion.Bastion) -> None:
    assert refused(target)
    wanted = spec(target, "shell")
    target.certificate.write_text(certificate(wanted) + "\n")
    ran = run(target, "bastion", 'id -un; echo "${SECRET_KEY:-clean}"')
    assert ran.stdout == f"{target.login}\nclean\n", ran.stderr
    if os.geteuid() == 0:
        assert target.login != "root"
    SSH.revoke(wanted)
    assert refused(target)


@pytest.mark.usefixtures("supervisor")
def test_a_shell_without_a_command_works_wherever_it_runs(target: bastion.Bastion) -> None:
    """With a terminal where sshd can give one; the settings for ssh say so where it can't."""
    target.certificate.write_text(certificate(spec(target, "shell")) + "\n")
    wanted = "no" if "RequestTTY no" in target.ssh_config.read_text() else "force"
    ran = subprocess.run(
        ssh(target, "-o", f"RequestTTY={wanted}", "bastion"),
        input="echo $((40 + 2)); exit\n", capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip
    assert "42" in ran.stdout, ran


@pytest.mark.usefixtures("supervisor")
def test_logs_are_the_logs_whatever_is_asked(target: bastion.Bastion) -> None:
    target.certificate.write_text(certificate(spec(target, "logs")) + "\n")
    ran = run(target, "bastion", "echo never")
    assert ran.returncode == 0
    assert "jit:r-logs:1:alice" in ran.stdout


@pytest.mark.usefixtures("supervisor")
def test_a_key_from_elsewhere_stays_out(target: bastion.Bastion, tmp_path: Path) -> None:
    """Whoever can sign in to the demo, which everybody here can, must not become its user."""
    key = Ed25519PrivateKey.generate()
    mine = tmp_path / "mallory"
    mine.touch(mode=0o600)
    mine.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.OpenSSH,
            serialization.NoEncryption(),
        )
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    (tmp_path / "mallory-cert.pub").write_text(
        certificate(spec(target, "shell", key=public.decode()))
    )
    assert refused(target, "-o", "IdentityFile=none", "-i", str(mine))
    assert "authorized principal" in (target._shared / "sshd.log").read_text()


def test_nobody_stays_signed_in_when_the_demo_stops(
    target: bastion.Bastion, supervisor: Supervisor
) -> None:
    target.certificate.write_text(certificate(spec(target, "shell")) + "\n")
    with subprocess.Popen(
        ssh(target, "bastion", "echo in; exec sleep 60"),
        stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True,
    ) as session:  # fmt: skip
        assert session.stdout is not None
        assert session.stdout.readline() == "in\n"
        bastion.end_sessions(supervisor.pid(bastion.NAME))
        assert session.wait(10) != 0


def test_another_start_keeps_keys_and_port(target: bastion.Bastion) -> None:
    before = (target.described.read_text(), target.environment())
    again, _ = bastion.prepare(target.folder)
    assert again is not None
    assert (again.described.read_text(), again.environment()) == before


def test_private_files_are_private(target: bastion.Bastion) -> None:
    for name in ("ca", "alice", "target.json", "ssh_config"):
        found = (target.folder / name).stat()
        assert (found.st_mode & 0o077, found.st_uid) == (0, os.geteuid()), name
    key = (target._shared / "host_key").stat()
    assert (key.st_mode & 0o077, pwd.getpwuid(key.st_uid).pw_name) == (0, target.login)


def test_without_sshd_there_is_one_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(bastion, "_SYSTEM_FOLDERS", ())
    found, why = bastion.prepare(tmp_path / "bastion")
    assert found is None
    assert why == ("No sshd here: the demo has one target; Debian's package is openssh-server.")
    assert not (tmp_path / "bastion").exists()
