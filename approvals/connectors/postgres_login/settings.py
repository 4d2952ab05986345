"""What `postgres_login` is told, checked: its settings, its names, and what people are shown."""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from approvals.connectors.postgres_login.logins import PREFIX
from approvals.connectors.protocol import Field, GrantSpec, PermanentError, Settings

LONGEST_NAME_BYTES = 63  # PostgreSQL cuts a longer identifier silently, to another role's name
LONGEST_TEXT_BYTES = 255
MOST_CONNECTIONS = 10_000

RESOURCE_FIELDS = (
    Field(name="database", label="Database", help="Other than the one that the secret names."),
    Field(name="host", label="Host for people", help="Where it differs from the secret's."),
    Field(
        name="port",
        label="Port for people",
        help="Where it differs from the secret's.",
        kind="number",
    ),
)
ENTITLEMENT_FIELDS = (
    Field(
        name="role",
        label="Role",
        help="The role that the minted login is a member of.",
        required=True,
    ),
    Field(
        name="allow_privileged",
        label="Privileged",
        help="Permit a role that is, or leads to, a superuser or a predefined role.",
        kind="flag",
    ),
    Field(
        name="connection_limit",
        label="Sessions at once",
        help="How many sessions the login may have open; empty for any number.",
        kind="number",
    ),
)

_READABLE_CHARACTERS = 40  # of the subject's login in the minted one


@dataclass(frozen=True, slots=True)
class Target:
    """Checked settings of one grant. `connection_limit` is PostgreSQL's: -1 for any number."""

    subject: str
    name: str
    role: str
    database: str | None
    allow_privileged: bool
    connection_limit: int

    @classmethod
    def read(cls, spec: GrantSpec) -> Target:
        """What `spec` asks for.

        Raises: PermanentError.
        """
        found = errors(resource=spec.resource_settings, entitlement=spec.entitlement_settings)
        found += _name_errors("The subject's login", spec.subject_login, LONGEST_TEXT_BYTES)
        if found:
            raise PermanentError(" ".join(found))
        return cls(
            subject=spec.subject_login,
            name=minted_name(login=spec.subject_login, request_id=spec.request_id),
            role=spec.entitlement_settings["role"],
            database=spec.resource_settings.get("database") or None,
            allow_privileged=bool(spec.entitlement_settings.get("allow_privileged", False)),
            connection_limit=spec.entitlement_settings.get("connection_limit") or -1,
        )


def minted_name(*, login: str, request_id: str) -> str:
    """The one name that this request's login has: safe to type without quotes, at most 63 bytes.

    Its last eight digits are those of the request's id (whose first eight are a time, and alike
    for requests of the same minute), or of a hash of it where it is no UUID.
    """
    readable = re.sub(r"[^a-z0-9]+", "_", login.lower())[:_READABLE_CHARACTERS].strip("_")
    try:
        tail = uuid.UUID(request_id).hex[-8:]
    except ValueError:
        tail = hashlib.sha256(request_id.encode(errors="replace")).hexdigest()[:8]
    return f"{PREFIX}{readable or 'login'}_{tail}"


def shown(settings: Settings, *, known: Mapping[str, Any]) -> dict[str, Any]:
    """Host, port and database as people use them, where `known` is how we do."""
    wanted = {
        "host": settings.get("host") or known.get("host"),
        "port": settings.get("port") or known.get("port"),
        "dbname": settings.get("database") or known.get("dbname"),
    }
    return {name: value for name, value in wanted.items() if value}


def errors(*, resource: Settings, entitlement: Settings | None) -> list[str]:
    """What is wrong with the settings, a sentence each."""
    found = _unknown(resource, RESOURCE_FIELDS)
    for name, longest_bytes in (("database", LONGEST_NAME_BYTES), ("host", LONGEST_TEXT_BYTES)):
        if resource.get(name):
            found += _name_errors(f'"{name}"', resource[name], longest_bytes)
    found += _number_errors(resource, "port", most=65_535)
    if entitlement is None:
        return found
    found += _unknown(entitlement, ENTITLEMENT_FIELDS)
    role = entitlement.get("role")
    allowed = entitlement.get("allow_privileged", False)
    found += _name_errors('"role"', role, LONGEST_NAME_BYTES)
    found += _number_errors(entitlement, "connection_limit", most=MOST_CONNECTIONS)
    if not isinstance(allowed, bool):
        found.append('Set "allow_privileged" to true or false.')
    elif isinstance(role, str) and role.startswith("pg_") and not allowed:
        found.append(
            f'"{role}" is one of PostgreSQL\'s own roles: grant a role of yours instead, or '
            'set "allow_privileged" to true.'
        )
    return found


def _unknown(settings: Settings, fields: tuple[Field, ...]) -> list[str]:
    known = [field.name for field in fields]
    return [
        f"Unknown setting {name!r}: use {' or '.join(known)}."
        for name in sorted(set(settings) - set(known))
    ]


def _name_errors(what: str, name: object, longest_bytes: int) -> list[str]:
    """A name must reach PostgreSQL whole, or another object of a similar name would be meant."""
    if not isinstance(name, str) or not name:
        return [f"{what} must be a name."]
    try:
        length_bytes = len(name.encode())
    except UnicodeEncodeError:
        length_bytes = longest_bytes + 1
    if "\0" in name or length_bytes > longest_bytes:
        return [f"{what} must be a name of at most {longest_bytes} bytes, without NUL."]
    return []


def _number_errors(settings: Settings, name: str, *, most: int) -> list[str]:
    value = settings.get(name)
    if value is None or (type(value) is int and 1 <= value <= most):
        return []
    return [f'Set "{name}" to a whole number from 1 to {most}, or leave it out.']
