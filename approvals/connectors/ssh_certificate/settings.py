"""The settings of `ssh_certificate`: what they are, what is wrong with them, what SSH is told."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from ipaddress import ip_network
from pathlib import PurePosixPath

from approvals.connectors.protocol import Field, GrantSpec, PermanentError, Settings, Step
from approvals.connectors.ssh_certificate.signing import SubjectKey

EXTENSIONS = (
    "permit-X11-forwarding",
    "permit-agent-forwarding",
    "permit-port-forwarding",
    "permit-pty",
    "permit-user-rc",
)
LONGEST_COMMAND_CHARACTERS = 4096

RESOURCE_FIELDS = (
    Field(name="host", label="Host", help="The host, as the subject reaches it; only shown."),
    Field(name="port", label="Port", help="The port, if it is not 22; only shown.", kind="number"),
    Field(
        name="krl_file",
        label="Revocation list",
        help="Absolute path of a file on the workers' host that sshd reads as RevokedKeys. Without "
        "it, a certificate can't be ended early.",
    ),
)
ENTITLEMENT_FIELDS = (
    Field(
        name="principals",
        label="Principals",
        help="Whom the certificate lets in as: account names, or what AuthorizedPrincipalsFile "
        "lists. {login} is the subject's login.",
        required=True,
        kind="list",
    ),
    Field(
        name="account",
        label="Account",
        help="The account to sign in to, shown to the subject; else the first principal.",
    ),
    Field(
        name="force_command",
        label="Command",
        help="The only command that the certificate may run.",
    ),
    Field(
        name="source_address",
        label="From addresses",
        help="Addresses or networks (CIDR) that the certificate may be used from.",
        kind="list",
    ),
    Field(
        name="extensions",
        label="Permissions",
        help=f"Of {', '.join(EXTENSIONS)}; permit-pty alone if nothing is said.",
        kind="list",
    ),
    Field(
        name="end_sessions",
        label="End open sessions",
        help="Have the host end a session when the grant ends (needs GNU timeout there).",
        kind="flag",
    ),
)

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@+-]{0,63}")
_PRINCIPAL = re.compile(r"(?:[A-Za-z0-9_.@+:-]|\{login\}){1,128}")
_HOST = re.compile(r"[A-Za-z0-9:][A-Za-z0-9.:_-]{0,252}")
_DEFAULT_EXTENSIONS = ("permit-pty",)
# sshd runs a forced command by the account's own shell, whichever that is: so /bin/sh does the
# work. Without a terminal the whole process group is ended; with one, its hang-up does that.
_UNTIL = (
    "left=$(({end} - $(date +%s))); "
    'if [ "$left" -le 0 ]; then echo "This access has ended." >&2; exit 1; fi; '
    "if [ -t 0 ]; then how=--foreground; else how=--preserve-status; fi; "
    'exec timeout "$how" -s HUP -k 2 "$left" /bin/sh -c {command}'
)
_WHAT_WAS_ASKED = (
    'if [ -n "$SSH_ORIGINAL_COMMAND" ]; then exec "$SHELL" -c "$SSH_ORIGINAL_COMMAND"; '
    'else exec "$SHELL" -l; fi'
)


@dataclass(frozen=True, slots=True)
class Right:
    """What a certificate permits."""

    principals: tuple[str, ...]
    extensions: tuple[str, ...]
    force_command: str | None
    source_address: tuple[str, ...]
    end_sessions: bool

    def critical_options(self, *, ends_at: datetime) -> Mapping[str, str]:
        """Return what sshd must enforce."""
        options: dict[str, str] = {}
        command = self.force_command
        if self.end_sessions:
            inner = shlex.quote(command or _WHAT_WAS_ASKED)
            script = _UNTIL.format(end=int(ends_at.timestamp()), command=inner)
            command = f"exec /bin/sh -c {shlex.quote(script)}"
        if command:
            options["force-command"] = command
        if self.source_address:
            options["source-address"] = ",".join(self.source_address)
        return options


def right(spec: GrantSpec) -> Right:
    """Return what checked settings permit to a checked login. Raises: PermanentError."""
    given = spec.entitlement_settings
    principals = [text.replace("{login}", spec.subject_login) for text in given["principals"]]
    if "root" in principals and "root" not in given["principals"]:
        raise PermanentError('Nobody becomes root by their login: name "root" in "principals".')
    return Right(
        principals=tuple(dict.fromkeys(principals)),
        extensions=tuple(given.get("extensions", _DEFAULT_EXTENSIONS)),
        force_command=given.get("force_command") or None,
        source_address=tuple(given.get("source_address") or ()),
        end_sessions=bool(given.get("end_sessions", False)),
    )


def fingerprint(entitlement_settings: Settings) -> str:
    """Return what tells one right from another, for the file of issued certificates."""
    told = {
        "principals": sorted(set(entitlement_settings["principals"])),
        "force_command": entitlement_settings.get("force_command") or "",
    }
    return sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:32]


def how_to_connect(spec: GrantSpec) -> list[Step]:
    """Where to save the certificate, and an ssh command; never raises."""
    kind = "ed25519"
    if spec.subject_keys:
        with suppress(PermanentError):
            kind = SubjectKey.read(spec.subject_keys[0]).kind
    given = spec.entitlement_settings
    principals = given.get("principals")
    first = principals[0] if isinstance(principals, list) and principals else "{login}"
    account = str(given.get("account") or first).replace("{login}", spec.subject_login)
    host = str(spec.resource_settings.get("host") or "the-host")
    port = spec.resource_settings.get("port")
    command = ["ssh", "-i", f"~/.ssh/id_{kind}"]
    if port:
        command += ["-p", str(port)]
    words = [word if word.startswith("~/") else shlex.quote(word) for word in command]
    return [
        Step("Save the certificate as", f"~/.ssh/id_{kind}-cert.pub"),
        Step("Connect", " ".join([*words, shlex.quote(f"{account}@{host}")])),
        Step(
            "If your key has another name",
            "Save the certificate beside it, as the key's name with -cert.pub behind it; or name "
            "it with ssh -o CertificateFile=…",
        ),
        Step("See until when it is good", f"ssh-keygen -L -f ~/.ssh/id_{kind}-cert.pub"),
    ]


def resource_errors(settings: Settings) -> list[str]:
    """Return what is wrong with a resource's settings, a sentence each."""
    errors = _unknown(settings, RESOURCE_FIELDS)
    host, port, krl_file = (settings.get(name) for name in ("host", "port", "krl_file"))
    if host not in (None, "") and not _matches(_HOST, host):
        errors.append('Set "host" to the name or address of a host.')
    if port is not None and (
        not isinstance(port, int) or isinstance(port, bool) or not 0 < port < 65536
    ):
        errors.append('Set "port" to a number from 1 to 65535.')
    if krl_file not in (None, "") and not _is_path(krl_file):
        errors.append('Set "krl_file" to the absolute path of a file, without "..".')
    return errors


def entitlement_errors(settings: Settings) -> list[str]:
    """Return what is wrong with an entitlement's settings, a sentence each."""
    errors = _unknown(settings, ENTITLEMENT_FIELDS)
    principals = settings.get("principals")
    if not principals or not _all(principals, lambda text: _matches(_PRINCIPAL, text)):
        errors.append(
            'Set "principals" to a list of names: letters, digits, ._@+:- and {login}, no spaces.'
        )
    account = settings.get("account")
    if account not in (None, "", "{login}") and not _matches(NAME, account):
        errors.append('Set "account" to the name of an account.')
    command = settings.get("force_command")
    if command not in (None, "") and not (
        isinstance(command, str)
        and command.isprintable()
        and len(command) <= LONGEST_COMMAND_CHARACTERS
    ):
        errors.append('Set "force_command" to one line, without control characters.')
    if not _all(settings.get("source_address") or [], _is_network):
        errors.append('Set "source_address" to a list of addresses or networks: 10.0.0.0/8.')
    extensions = settings.get("extensions", [])
    if not _all(extensions, lambda text: text in EXTENSIONS):
        errors.append(f'Set "extensions" to a list of {", ".join(EXTENSIONS)}.')
    end_sessions = settings.get("end_sessions", False)
    if not isinstance(end_sessions, bool):
        errors.append('Set "end_sessions" to true or false.')
    elif end_sessions and isinstance(extensions, list) and "permit-port-forwarding" in extensions:
        errors.append(
            '"end_sessions" can\'t end forwarded ports, which run without a command: leave '
            "permit-port-forwarding out."
        )
    return errors


def _unknown(settings: Settings, fields: tuple[Field, ...]) -> list[str]:
    known = [field.name for field in fields]
    return [
        f"Unknown setting {name!r}: use {', '.join(known)}."
        for name in sorted(set(settings) - set(known))
    ]


def _matches(pattern: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _all(values: object, good: object) -> bool:
    return isinstance(values, list) and callable(good) and all(good(value) for value in values)


def _is_network(value: object) -> bool:
    if not isinstance(value, str) or "%" in value:
        return False
    try:
        ip_network(value)
    except ValueError:
        return False
    return True


def _is_path(value: object) -> bool:
    if not isinstance(value, str) or not value.isprintable() or value.endswith("/"):
        return False
    path = PurePosixPath(value)
    return path.is_absolute() and ".." not in path.parts and bool(path.name)
