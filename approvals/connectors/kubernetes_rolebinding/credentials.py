"""How we sign in to a cluster: a token, or a kubeconfig that holds everything inside itself.

A kubeconfig is a program in disguise: it may name commands to run and files to read. We take none
of that: only a token or a client certificate written into it, a server, and its authority.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from approvals.connectors.kubernetes_rolebinding.settings import ca_errors, server_errors
from approvals.connectors.protocol import PermanentError, Settings

_TOKEN = re.compile(r"[A-Za-z0-9._~+/=:-]{8,}")
_REFUSED = {
    "exec": "runs a command",
    "auth-provider": "runs a plug-in",
    "tokenFile": "reads a file",
    "client-certificate": "reads a file",
    "client-key": "reads a file",
    "certificate-authority": "reads a file",
    "username": "uses a password",
    "password": "uses a password",
    "as": "impersonates somebody",
    "as-uid": "impersonates somebody",
    "as-groups": "impersonates somebody",
    "as-user-extra": "impersonates somebody",
    "insecure-skip-tls-verify": "leaves the server unverified",
    "proxy-url": "names a proxy",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Where the cluster is and how we sign in; either a token or a certificate with its key."""

    server: str
    ca: str | None
    token: str | None = field(default=None, repr=False)
    certificate: str | None = field(default=None, repr=False)
    key: str | None = field(default=None, repr=False)
    tls_server_name: str | None = None

    def sensitive(self) -> list[str]:
        """What must never be said."""
        return [part for part in (self.token, self.key) if part]


def read(*, resource: Settings, secret: str | None) -> Credentials:
    """The settings win over what a kubeconfig says about server and authority.

    Raises: PermanentError, without a word of the secret.
    """
    server, ca = resource.get("server") or None, resource.get("ca") or None
    text = (secret or "").strip()
    if _TOKEN.fullmatch(text):
        if server is None:
            raise PermanentError('The secret is a token: set "server" to the API server\'s URL.')
        return Credentials(server=server, ca=ca, token=text)
    cluster, user = _kubeconfig(text)
    server = server or cluster.get("server")
    ca = ca or _decoded(cluster, "certificate-authority-data")
    problems = (server_errors(server) if server else ["it names no server."]) + ca_errors(ca)
    if problems:
        raise PermanentError(f"The kubeconfig can't be used: {' '.join(problems)}")
    token = user.get("token")
    certificate = _decoded(user, "client-certificate-data")
    key = _decoded(user, "client-key-data")
    signs_in = isinstance(token, str) and _TOKEN.fullmatch(token)
    if not signs_in and not (certificate and key):
        raise PermanentError(
            "The kubeconfig's user must have a token, or client-certificate-data and "
            "client-key-data."
        )
    name = cluster.get("tls-server-name")
    return Credentials(
        server=str(server),
        ca=ca,
        token=token if signs_in else None,
        certificate=None if signs_in else certificate,
        key=None if signs_in else key,
        tls_server_name=name if isinstance(name, str) and name else None,
    )


def _kubeconfig(text: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return cluster and user of the current context.

    Raises: PermanentError.
    """
    problem = PermanentError(
        "The resource's secret must be a service account's token, or a kubeconfig with "
        "current-context, its cluster and its user."
    )
    try:
        config = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError):
        raise problem from None
    if not isinstance(config, dict) or not isinstance(config.get("current-context"), str):
        raise problem
    context = _named(config, "contexts", "context", config["current-context"])
    cluster = _named(config, "clusters", "cluster", (context or {}).get("cluster"))
    user = _named(config, "users", "user", (context or {}).get("user"))
    if cluster is None or user is None:
        raise problem
    for part in (cluster, user):
        for name, why in _REFUSED.items():
            if part.get(name):
                raise PermanentError(
                    f'The kubeconfig says "{name}", which {why}: that is not allowed here. Write '
                    "token, certificates and authority into it (kubectl config view --flatten)."
                )
    return cluster, user


def _named(config: dict[str, Any], many: str, one: str, name: object) -> dict[str, Any] | None:
    rows = config.get(many)
    for row in rows if isinstance(rows, list) else ():
        if isinstance(row, dict) and name and row.get("name") == name:
            found = row.get(one)
            return found if isinstance(found, dict) else None
    return None


def _decoded(part: dict[str, Any], name: str) -> str | None:
    """Return the text that is there in base64.

    Raises: PermanentError.
    """
    value = part.get(name)
    if not value:
        return None
    try:
        return base64.b64decode(value, validate=True).decode("ascii")
    except (binascii.Error, ValueError, TypeError):
        raise PermanentError(f'The kubeconfig\'s "{name}" is not base64 of PEM.') from None
