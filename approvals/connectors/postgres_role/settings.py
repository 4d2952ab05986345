"""What `postgres_role` is told, checked. No network."""

from __future__ import annotations

from dataclasses import dataclass

from approvals.connectors.protocol import Field, GrantSpec, PermanentError, Settings

LONGEST_NAME_BYTES = 63  # PostgreSQL cuts a longer identifier silently, to another role's name

_TERMINATE = ("always", "never")

RESOURCE_FIELDS = (
    Field(name="database", label="Database", help="Other than the one that the secret names."),
    Field(
        name="terminate",
        label="Open sessions",
        help="Whether open sessions of the login are closed at the end.",
        choices=_TERMINATE,
    ),
    Field(
        name="server",
        label="Server",
        help="What the server is called, the same at each resource that leads to it by a "
        "secret of its own.",
    ),
)
ENTITLEMENT_FIELDS = (
    Field(name="role", label="Role", help="The role that is granted.", required=True),
    Field(
        name="allow_privileged",
        label="Privileged",
        help="Permit a role that is, or leads to, a superuser or a predefined role.",
        kind="flag",
    ),
)


@dataclass(frozen=True, slots=True)
class Target:
    """Checked settings of one grant."""

    login: str
    role: str
    database: str | None
    terminate: bool
    allow_privileged: bool

    @classmethod
    def read(cls, spec: GrantSpec) -> Target:
        """What `spec` asks for.

        Raises: PermanentError.
        """
        found = errors(resource=spec.resource_settings, entitlement=spec.entitlement_settings)
        found += _name_errors("The subject's login", spec.subject_login)
        if found:
            raise PermanentError(" ".join(found))
        return cls(
            login=spec.subject_login,
            role=spec.entitlement_settings["role"],
            database=spec.resource_settings.get("database") or None,
            terminate=spec.resource_settings.get("terminate", "always") == "always",
            allow_privileged=bool(spec.entitlement_settings.get("allow_privileged", False)),
        )


def errors(*, resource: Settings, entitlement: Settings | None) -> list[str]:
    """What is wrong with the settings, a sentence each."""
    found = _unknown(resource, RESOURCE_FIELDS)
    if resource.get("database"):
        found += _name_errors('"database"', resource["database"])
    if resource.get("terminate", "always") not in _TERMINATE:
        found.append('Set "terminate" to "always" or "never".')
    server = resource.get("server") or "any"
    if not isinstance(server, str) or not server.strip() or not server.isprintable():
        found.append('Set "server" to a name on one line, or leave it.')
    if entitlement is None:
        return found
    found += _unknown(entitlement, ENTITLEMENT_FIELDS)
    role = entitlement.get("role")
    allowed = entitlement.get("allow_privileged", False)
    found += _name_errors('"role"', role)
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


def _name_errors(what: str, name: object) -> list[str]:
    """A name must reach PostgreSQL whole, or another object of a similar name would be meant."""
    if not isinstance(name, str) or not name:
        return [f"{what} must be a name."]
    try:
        length_bytes = len(name.encode())
    except UnicodeEncodeError:
        length_bytes = LONGEST_NAME_BYTES + 1
    if "\0" in name or length_bytes > LONGEST_NAME_BYTES:
        return [f"{what} must be a name of at most {LONGEST_NAME_BYTES} bytes, without NUL."]
    return []
