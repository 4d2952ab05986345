"""What the Kubernetes connector is told, checked, and the names that follow from it. No network."""

from __future__ import annotations

import hashlib
import json
import re
import ssl
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from approvals.connectors.protocol import Field, GrantSpec, PermanentError, Settings

LONGEST_NAME_CHARACTERS = 253

RESOURCE_FIELDS = (
    Field(
        name="server",
        label="API server",
        help="https://host:port, unless the secret is a kubeconfig that names it.",
    ),
    Field(
        name="ca",
        label="Certificate authority",
        help="PEM of the cluster's authority, unless the kubeconfig holds it.",
        kind="lines",
    ),
    Field(
        name="username",
        label="Username",
        help="What the cluster knows people by.",
        choices=("login", "email"),
    ),
    Field(
        name="username_prefix",
        label="Username prefix",
        help="What the cluster puts before its identity provider's usernames (oidc:, for example).",
    ),
)
ENTITLEMENT_FIELDS = (
    Field(name="role", label="Role", help="The name of the role.", required=True),
    Field(
        name="kind",
        label="Kind",
        help="Whether that is a ClusterRole (usual) or a Role of the namespace.",
        choices=("ClusterRole", "Role"),
    ),
    Field(
        name="namespace",
        label="Namespace",
        help="Where it is granted; without one it is granted in the whole cluster.",
    ),
    Field(
        name="allow_privileged",
        label="Privileged",
        help="Permit a role with which people could give themselves more, or for longer.",
        kind="flag",
    ),
)

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_NAME = re.compile(r"[^/%\x00-\x1f\x7f\ud800-\udfff]{1,253}")
_URL = re.compile(r"https://[!-\[\]-~]+", re.IGNORECASE)
_READABLE_CHARACTERS = 40

Kind = Literal["ClusterRole", "Role"]


@dataclass(frozen=True, slots=True, order=True)
class Holding:
    """A role, where it applies (`namespace=None`: everywhere), and the user that has it there."""

    username: str
    kind: Kind
    role: str
    namespace: str | None

    @property
    def name(self) -> str:
        """The one name of our binding for it: readable in front, certain at the end."""
        parts = json.dumps([self.username, self.kind, self.role, self.namespace])
        digits = hashlib.sha256(parts.encode()).hexdigest()[:16]
        readable = re.sub(r"[^a-z0-9]+", "-", self.username.lower())[:_READABLE_CHARACTERS]
        return f"jitportal-{readable.strip('-') or 'user'}-{digits}"

    @property
    def where(self) -> str:
        """For messages."""
        return f'namespace "{self.namespace}"' if self.namespace else "the whole cluster"


@dataclass(frozen=True, slots=True)
class Place:
    """Kind, name and namespace of an entitlement's role."""

    kind: Kind
    role: str
    namespace: str | None
    allow_privileged: bool

    @classmethod
    def read(cls, entitlement: Settings) -> Place:
        """Settings that `errors` has nothing against."""
        return cls(
            kind=entitlement.get("kind") or "ClusterRole",
            role=entitlement["role"],
            namespace=entitlement.get("namespace") or None,
            allow_privileged=bool(entitlement.get("allow_privileged", False)),
        )


def read(spec: GrantSpec) -> tuple[Place, Holding]:
    """What `spec` asks for.

    Raises: PermanentError.
    """
    found = errors(resource=spec.resource_settings, entitlement=spec.entitlement_settings)
    if found:
        raise PermanentError(" ".join(found))
    place = Place.read(spec.entitlement_settings)
    username = username_of(
        login=spec.subject_login, email=spec.subject_email, resource=spec.resource_settings
    )
    return place, Holding(username, place.kind, place.role, place.namespace)


def username_of(*, login: str, email: str, resource: Settings) -> str:
    """Who the subject is for the cluster.

    Raises: PermanentError for a name that can't be a person's: `system:` users are the cluster's
    own parts and service accounts.
    """
    by_email = resource.get("username") == "email"
    bare = email if by_email else login
    username = f"{resource.get('username_prefix') or ''}{bare}"
    if not bare or not _NAME.fullmatch(username.replace("/", "").replace("%", "")):
        what = "e-mail address" if by_email else "login"
        raise PermanentError(
            f"The subject's {what} must be a text of at most {LONGEST_NAME_CHARACTERS} characters."
        )
    if username.lower().startswith("system:"):
        raise PermanentError('A user of the cluster itself ("system:…") can\'t be a subject.')
    return username


def bare(username: str, *, resource: Settings) -> str:
    """`username` without the prefix that the cluster gives people."""
    return username.removeprefix(resource.get("username_prefix") or "")


def errors(*, resource: Settings, entitlement: Settings | None) -> list[str]:
    """What is wrong with the settings, a sentence each."""
    found = _unknown(resource, RESOURCE_FIELDS)
    if resource.get("server"):
        found += server_errors(resource["server"])
    found += ca_errors(resource.get("ca"))
    if (resource.get("username") or "login") not in ("login", "email"):
        found.append('Set "username" to "login" or "email".')
    prefix = resource.get("username_prefix") or ""
    if not isinstance(prefix, str) or (prefix and not _NAME.fullmatch(prefix.replace("/", ""))):
        found.append('"username_prefix" must be a text.')
    if entitlement is not None:
        found += _entitlement_errors(entitlement)
    return found


def _entitlement_errors(entitlement: Settings) -> list[str]:
    found = _unknown(entitlement, ENTITLEMENT_FIELDS)
    role, kind = entitlement.get("role"), entitlement.get("kind") or "ClusterRole"
    namespace = entitlement.get("namespace")
    allowed = entitlement.get("allow_privileged", False)
    if not isinstance(role, str) or not _NAME.fullmatch(role) or role in (".", ".."):
        found.append('Set "role" to the name of a role.')
    elif (role == "cluster-admin" or role.startswith("system:")) and allowed is not True:
        found.append(
            f'"{role}" is one of the cluster\'s own roles: grant a role of yours instead, or set '
            '"allow_privileged" to true.'
        )
    if kind not in ("ClusterRole", "Role"):
        found.append('Set "kind" to "ClusterRole" or "Role".')
    if namespace and not is_namespace(namespace):
        found.append('"namespace" must be a namespace\'s name: a-z, 0-9 and -, at most 63.')
    if kind == "Role" and not namespace:
        found.append('A Role is granted in its namespace: set "namespace".')
    if not isinstance(allowed, bool):
        found.append('Set "allow_privileged" to true or false.')
    return found


def is_namespace(name: object) -> bool:
    """Whether `name` can be a namespace's."""
    return isinstance(name, str) and bool(_LABEL.fullmatch(name))


def server_errors(server: object) -> list[str]:
    """What is wrong with an API server's URL."""
    problem = ['"server" must be the URL of the API server: https://host:port.']
    if not isinstance(server, str) or not _URL.fullmatch(server):
        return problem
    try:
        url = urlsplit(server)
        host, _ = url.hostname, url.port
    except ValueError:
        return problem
    return problem if not host or "@" in url.netloc or url.query or url.fragment else []


def spelled(server: str) -> list[str | int]:
    """Host, port and path of an API server's URL: the same however it is written."""
    url = urlsplit(server)
    return [url.hostname or "", url.port or 443, url.path.rstrip("/")] if server else []


def ca_errors(ca: object) -> list[str]:
    """What is wrong with the PEM of an authority; nothing is fine."""
    problem = ['"ca" must be the PEM text of a certificate (-----BEGIN CERTIFICATE-----).']
    if not ca:
        return []
    if not isinstance(ca, str) or not ca.isascii():
        return problem
    try:
        ssl.create_default_context(cadata=ca)
    except (ssl.SSLError, ValueError):
        return problem
    return []


def _unknown(settings: Settings, fields: tuple[Field, ...]) -> list[str]:
    known = [field.name for field in fields]
    return [
        f"Unknown setting {name!r}: use {' or '.join(known)}."
        for name in sorted(set(settings) - set(known))
    ]
