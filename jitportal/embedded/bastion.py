"""The quick start's second target: a real sshd, which lets in who shows a certificate of ours.

It listens on the loopback and runs as whoever started the demo, or, where that is root, as the
account that PostgreSQL gets. Everybody on this machine can sign in to a demo, so sshd takes
certificates of the keys in the demo's folder alone: whoever can't read those stays out.
"""

from __future__ import annotations

import base64
import contextlib
import grp
import hashlib
import os
import pwd
import shlex
import shutil
import signal
import subprocess
from pathlib import Path
from typing import LiteralString

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_ssh_private_key,
)

from jitportal.embedded import account, files, places, server
from jitportal.embedded.supervisor import Program, descendants

NAME = "bastion"
HOST = "127.0.0.1"
FIRST_WEB_PORT = 8000
FIRST_PORT = 2222
CA_VARIABLE = "BASTION_CA"
PRINCIPALS = ("bastion-shell", "bastion-logs")
CHECK_SECONDS = 20
MISSING = "No sshd here: the demo has one target; Debian's package is openssh-server."

# A portal with the demo's people, not with another's, that doesn't know these settings yet.
LACKED: LiteralString = (
    "SELECT true FROM approvals_policy WHERE name = 'orders-db-read-write' AND NOT EXISTS "
    "(SELECT FROM approvals_resource WHERE name = 'bastion' AND settings @> %s::jsonb)"
)

# Servers live in folders that an ordinary account's PATH leaves out on Debian.
_SYSTEM_FOLDERS = ("/usr/local/sbin", "/usr/sbin", "/sbin")
_NO_PENALTIES = "PerSourcePenalties no"


class NoBastion(Exception):
    """There is no such target on this machine; the message says why."""


class Bastion:
    """One sshd with its authority and alice's key, in `folder` (the demo's, made here)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._shared = folder
        self._account: account.Account | None = None
        self._program = Path()
        self._port = 0

    # -- set-up -----------------------------------------------------------------------------------

    def prepare(self) -> None:
        """All its files are there, and sshd accepts them. Idempotent; keys stay the same.

        Raises:
            NoBastion: sshd is missing, or can't run here.
        """
        self._program = _find()
        self._account = self._unprivileged()
        self.folder.mkdir(mode=0o711, exist_ok=True)
        if self._account is not None and not self._account.can_enter(self.folder):
            self._shared = places.outside(self.folder, throw_away=False)
        for name in ("ca", "alice"):
            self._make_key(self.folder / name)
        self._make_key(self._shared / "host_key")
        (self._shared / "sshd.log").touch(mode=0o600)
        if self._account is not None:
            for name in ("host_key", "sshd.log"):
                os.chown(self._shared / name, self._account.uid, self._account.gid)
        self._choose_port()
        mine = _fingerprint(self._public("alice"))
        self._publish("ca.pub", self._public("ca") + "\n")
        self._publish("people", "".join(f"{mine} {name}\n" for name in PRINCIPALS))
        self._configure()
        self._tell_ssh()
        files.write_private(self.described, files.to_json(self._description()))

    def _unprivileged(self) -> account.Account | None:
        try:
            found = account.unprivileged()
        except account.NoAccount as error:
            raise NoBastion(f"No SSH target: {error}") from error
        entry = pwd.getpwuid(os.geteuid() if found is None else found.uid)
        if Path(entry.pw_shell or "/bin/sh").name in ("nologin", "false"):
            raise NoBastion(
                f"The demo has one target: {entry.pw_name} has no shell for sshd to start "
                f"({entry.pw_shell}). Start it as somebody who has one, for SSH too."
            )
        return found

    def _choose_port(self) -> None:
        """The port of last time, so that what people saved goes on working; else the next one.

        It is looked for as far from the first one as the web's port is from its own: two demos that
        start at one moment would both find the same one free.
        """
        kept = files.read_json(self.described).get("resource", {}).get("port")
        wanted = [kept] if isinstance(kept, int) else []
        web = os.environ.get("PORT", "")
        first = FIRST_PORT + (max(0, int(web) - FIRST_WEB_PORT) if web.isdecimal() else 0)
        for port in (*wanted, *range(first, first + 200)):
            if server.is_free(port):
                self._port = port
                return
        raise NoBastion(f"The demo has one target: no port is free for sshd from {first} on.")

    def _configure(self) -> None:
        # Its tokens are those of the certificate that is shown: what is said for its key.
        people = str(self._shared / "people").replace("%", "%%")
        sed = shutil.which("sed") or "/bin/sed"
        lines = [
            f"ListenAddress {HOST}:{self._port}",
            f"HostKey {_quoted(self._shared / 'host_key')}",
            "PidFile none",
            "UsePAM no",
            "StrictModes no",
            "AuthenticationMethods publickey",
            "AuthorizedKeysFile none",
            f"TrustedUserCAKeys {_quoted(self._shared / 'ca.pub')}",
            f'AuthorizedPrincipalsCommand {sed} -n "s|^%f ||p" {_quoted(Path(people))}',
            f"AuthorizedPrincipalsCommandUser {self.login}",
            f"RevokedKeys {_quoted(self.revoked)}",
            "AllowTcpForwarding no",
            "AllowAgentForwarding no",
            "X11Forwarding no",
            "PermitUserRC no",
            "LogLevel VERBOSE",
        ]
        # From 9.8 on, sshd keeps an address out for a while that was refused.
        said = ""
        for more in ([_NO_PENALTIES], []):
            self._publish("sshd_config", "\n".join([*lines, *more, ""]))
            said = self._refusal()
            if not said:
                return
        raise NoBastion(f"The demo has one target: sshd refuses its settings: {said}")

    def _refusal(self) -> str:
        try:
            ran = subprocess.run(
                [self._program, "-t", "-f", self._config],
                capture_output=True,
                text=True,
                errors="replace",
                stdin=subprocess.DEVNULL,
                timeout=CHECK_SECONDS,
                check=False,
                **(self._account.process_options() if self._account else {}),
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return str(error)
        return "" if ran.returncode == 0 else (ran.stderr.strip() or f"status {ran.returncode}")

    def _tell_ssh(self) -> None:
        """Write what the visitor's ssh needs to know."""
        host_key = self._public_of(self._shared / "host_key")
        (self.folder / "known_hosts").write_text(f"jitportal-demo-{NAME} {host_key}\n")
        key, known = (
            _quoted(Path(str(self.folder / name).replace("%", "%%")))
            for name in ("alice", "known_hosts")
        )
        lines = [
            f"Host {NAME}",
            f"  HostName {HOST}",
            f"  Port {self._port}",
            f"  User {self.login}",
            f"  IdentityFile {key}",
            "  IdentitiesOnly yes",
            "  IdentityAgent none",
            f"  HostKeyAlias jitportal-demo-{NAME}",
            f"  UserKnownHostsFile {known}",
            "  StrictHostKeyChecking yes",
            *([] if _gives_terminals() else ["  RequestTTY no"]),
        ]
        files.write_private(self.ssh_config, "\n".join([*lines, ""]))

    def _description(self) -> dict[str, object]:
        """What the portal is told of it (see seed_demo)."""
        return {
            "resource": {"host": HOST, "port": self._port, "krl_file": str(self.revoked)},
            "account": self.login,
            "secret": f"env:{CA_VARIABLE}",
            "key": self._public("alice"),
            "shell": PRINCIPALS[0],
            "logs": PRINCIPALS[1],
            "logs_command": f"tail -n 40 {shlex.quote(str(self._shared / 'sshd.log'))}",
            "ends_sessions": shutil.which("timeout") is not None,
            "hint": f"This is the demo: alice's key is {self.folder / 'alice'}. Save the "
            f"certificate as {self.certificate}, then: "
            f"ssh -F {shlex.quote(str(self.ssh_config))} {NAME}",
        }

    # -- what others need of it -------------------------------------------------------------------

    @property
    def login(self) -> str:
        """The account that sshd runs as, and therefore lets in."""
        return pwd.getpwuid(self._account.uid if self._account else os.geteuid()).pw_name

    @property
    def described(self) -> Path:
        """The file that seed_demo reads."""
        return self.folder / "target.json"

    @property
    def ssh_config(self) -> Path:
        """What `ssh -F` takes."""
        return self.folder / "ssh_config"

    @property
    def certificate(self) -> Path:
        """Where ssh looks for alice's certificate."""
        return self.folder / "alice-cert.pub"

    @property
    def revoked(self) -> Path:
        """The list that the workers write and sshd reads."""
        return self._shared / "revoked.krl"

    def settings(self) -> str:
        """The resource's settings, as JSON."""
        return files.to_json(files.read_json(self.described)["resource"])

    def program(self) -> Program:
        """The sshd, for the supervisor."""
        command = (self._program, "-D", "-f", self._config, "-E", self._shared / "sshd.log")
        return Program(
            NAME, tuple(map(str, command)), stop_order=0, clean=True, account=self._account
        )

    def environment(self) -> dict[str, str]:
        """What the portal's processes get: the authority's private key."""
        return {CA_VARIABLE: (self.folder / "ca").read_text()}

    def exports(self) -> dict[str, str]:
        """What somebody needs to use it."""
        return {
            "BASTION_SSH_CONFIG": str(self.ssh_config),
            "BASTION_ALICE_CERTIFICATE": str(self.certificate),
        }

    def command(self) -> str:
        """The ssh command of whoever has a certificate."""
        return f"ssh -F {shlex.quote(_near(self.ssh_config))} {NAME}"

    def lines(self) -> list[str]:
        """What the visitor is told."""
        return [
            "The target bastion (SSH), as alice, once it is granted to her: save the certificate",
            f"of the request's page as {_near(self.certificate)}, then",
            f"  {self.command()}",
            *([] if _gives_terminals() else ["(without a terminal here, so without a prompt)"]),
        ]

    # -- inside -----------------------------------------------------------------------------------

    @property
    def _config(self) -> Path:
        return self._shared / "sshd_config"

    def _make_key(self, path: Path) -> None:
        if not path.exists():
            text = Ed25519PrivateKey.generate().private_bytes(
                Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()
            )
            files.write_private(path, text.decode())

    def _public(self, name: str) -> str:
        return self._public_of(self.folder / name)

    def _public_of(self, path: Path) -> str:
        key = load_ssh_private_key(path.read_bytes(), password=None)
        return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()

    def _publish(self, name: str, text: str) -> None:
        """Write a file that sshd's account may read."""
        files.write_private(self._shared / name, text)
        (self._shared / name).chmod(0o644)


def prepare(folder: Path) -> tuple[Bastion | None, str]:
    """The target, ready to start; or None, and why there is none here."""
    found = Bastion(folder)
    try:
        found.prepare()
    except NoBastion as missing:
        return None, str(missing)
    return found, ""


def end_sessions(sshd: int | None) -> None:
    """Nobody is signed in any more: sshd's sessions would go on without it."""
    for pid in descendants(sshd) if sshd is not None else ():
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def _find() -> Path:
    """The sshd of this machine, wherever it is installed. Raises NoBastion."""
    folders = os.pathsep.join((os.environ.get("PATH", os.defpath), *_SYSTEM_FOLDERS))
    found = shutil.which("sshd", path=folders)
    if found is None:
        raise NoBastion(MISSING)
    return Path(found).absolute()


def _gives_terminals() -> bool:
    """Whether an sshd that isn't root's can give a terminal to anybody.

    It must hand each to the group tty, and need not where the system did so (Debian does, some
    containers don't).
    """
    try:
        ours, theirs = os.openpty()
    except OSError:
        return False
    try:
        return os.fstat(theirs).st_gid == grp.getgrnam("tty").gr_gid
    except KeyError:
        return True
    finally:
        os.close(ours)
        os.close(theirs)


def _fingerprint(public: str) -> str:
    digest = hashlib.sha256(base64.b64decode(public.split()[1])).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def _quoted(path: Path) -> str:
    return f'"{path}"'


def _near(path: Path) -> str:
    """The path as it is written from here."""
    with contextlib.suppress(ValueError):
        return str(path.relative_to(Path.cwd()))
    return str(path)
