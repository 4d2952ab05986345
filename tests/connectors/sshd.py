"""A real sshd on a free port of the loopback, and a real ssh: as root, and as anybody."""

from __future__ import annotations

import grp
import os
import pwd
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.programs import lacking, require

HOST = "127.0.0.1"
ACCOUNT = pwd.getpwuid(os.geteuid()).pw_name
"""An sshd that isn't root's lets only its own account in."""


@dataclass(frozen=True)
class Sshd:
    """A server that trusts one authority, and people who have keys."""

    folder: Path
    port: int
    ssh: Path
    keygen: Path

    @property
    def krl_file(self) -> Path:
        """What sshd reads as RevokedKeys."""
        return self.folder / "revoked.krl"

    @property
    def authority(self) -> str:
        """The authority's private key."""
        return (self.folder / "ca").read_text()

    @property
    def log(self) -> str:
        """What sshd has said."""
        return (self.folder / "sshd.log").read_text(errors="replace")

    def make_key(self, name: str, *, kind: str = "ed25519", bits: int | None = None) -> str:
        """A key pair of somebody; returns the public line."""
        make_key(self.keygen, self.folder / name, kind=kind, bits=bits)
        return (self.folder / f"{name}.pub").read_text().strip()

    def command(
        self, name: str, certificate: str, *words: str, account: str = ACCOUNT
    ) -> list[str]:
        """An ssh command with somebody's key and a certificate."""
        path = self.folder / f"{name}-cert.pub"
        path.write_text(certificate + "\n")
        options = [
            "BatchMode=yes",
            "IdentitiesOnly=yes",
            "IdentityAgent=none",
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "LogLevel=ERROR",
            "ConnectTimeout=5",
            f"CertificateFile={path}",
        ]
        return [
            str(self.ssh),
            "-F",
            "/dev/null",
            *(word for option in options for word in ("-o", option)),
            "-i",
            str(self.folder / name),
            "-p",
            str(self.port),
            *(word for word in words if word.startswith("-")),
            f"{account}@{HOST}",
            *(word for word in words if not word.startswith("-")),
        ]

    def run(
        self, name: str, certificate: str, *words: str, account: str = ACCOUNT
    ) -> subprocess.CompletedProcess[str]:
        """Sign in and run a command; 255 when sshd refuses."""
        return subprocess.run(
            self.command(name, certificate, *words, account=account),
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    def lets_in(self, name: str, certificate: str, *, account: str = ACCOUNT) -> bool:
        """Whether sshd accepts the certificate now."""
        ran = self.run(name, certificate, "echo in", account=account)
        if ran.returncode == 0:
            assert ran.stdout == "in\n"
            return True
        assert ran.returncode == 255, ran
        assert "Permission denied" in ran.stderr, ran
        return False

    def revokes(self, certificate: str) -> bool:
        """What OpenSSH's own tool says of a certificate and the list."""
        path = self.folder / "asked-cert.pub"
        path.write_text(certificate + "\n")
        ran = subprocess.run(
            [self.keygen, "-Q", "-f", self.krl_file, path],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        assert ran.returncode in (0, 1), ran
        assert ("REVOKED" in ran.stdout) is bool(ran.returncode), ran
        return bool(ran.returncode)

    def shown(self, certificate: str) -> str:
        """A certificate as OpenSSH's own tool reads it."""
        path = self.folder / "shown-cert.pub"
        path.write_text(certificate + "\n")
        return self.keygen_run("-L", "-f", path)

    def keygen_run(self, *words: str | Path) -> str:
        """Run ssh-keygen; returns what it says."""
        return subprocess.run(
            [self.keygen, *words], capture_output=True, text=True, timeout=20, check=True
        ).stdout


def needs_terminals() -> None:
    """Skip the test where an sshd that isn't root's can't give a terminal to anybody.

    It gives each terminal to the group tty. It need not where the system does so already, as Debian
    does and some containers don't.
    """
    if os.geteuid() == 0:
        return
    ours, theirs = os.openpty()
    try:
        if os.fstat(theirs).st_gid != grp.getgrnam("tty").gr_gid:
            lacking("New terminals here are not of the group tty (see devpts), and only root can.")
    finally:
        os.close(ours)
        os.close(theirs)


def make_key(keygen: Path, path: Path, *, kind: str = "ed25519", bits: int | None = None) -> None:
    """A key pair without a passphrase."""
    words = ["-b", str(bits)] if bits else []
    subprocess.run(
        [keygen, "-q", "-t", kind, *words, "-N", "", "-C", "", "-f", path], timeout=60, check=True
    )


@contextmanager
def running(folder: Path) -> Iterator[Sshd]:
    """An sshd for the block, with an authority; its revocation list does not exist yet."""
    program = require("sshd", package="openssh-server")
    ssh = require("ssh", package="openssh-client")
    keygen = require("ssh-keygen", package="openssh-client")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where root's sshd gives up its rights
    for name in ("host_key", "ca"):
        make_key(keygen, folder / name)
    (folder / "principals").write_text(f"{ACCOUNT}\nops\n")
    with socket.socket() as free:
        free.bind((HOST, 0))
        port = free.getsockname()[1]
    config = [
        f"ListenAddress {HOST}:{port}",
        f"HostKey {folder}/host_key",
        "PidFile none",
        "UsePAM no",
        "StrictModes no",
        "PermitRootLogin prohibit-password",
        "AuthenticationMethods publickey",
        "AuthorizedKeysFile none",
        f"TrustedUserCAKeys {folder}/ca.pub",
        f"AuthorizedPrincipalsFile {folder}/principals",
        f"RevokedKeys {folder}/revoked.krl",
        "MaxStartups 100",
        "LogLevel VERBOSE",
    ]
    if _knows_penalties(program):
        config.append("PerSourcePenalties no")
    (folder / "sshd_config").write_text("\n".join(config) + "\n")
    server = subprocess.Popen(
        [program, "-D", "-f", folder / "sshd_config", "-E", folder / "sshd.log"],
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        _wait_for(server, port, folder / "sshd.log")
        yield Sshd(folder, port, ssh, keygen)
    finally:
        # Its sessions are groups of their own; those of a test end with the test.
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(10)


def _knows_penalties(program: Path) -> bool:
    """From 9.8 on, sshd slows down an address that fails often, as these tests do on purpose."""
    ran = subprocess.run(
        [program, "-T", "-f", "/dev/null", "-o", "PerSourcePenalties=no"],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    return "Bad configuration option" not in ran.stderr


def _wait_for(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    for _ in range(200):
        with socket.socket() as trial:
            trial.settimeout(1)
            if trial.connect_ex((HOST, port)) == 0:
                return
        if server.poll() is not None:
            break
        time.sleep(0.05)
    said = log.read_text(errors="replace") if log.exists() else ""
    raise AssertionError(f"sshd did not start: {said[-2000:]}")
