"""A PostgreSQL login that is made for one request, and ends by itself: PostgreSQL 13 and newer.

The subject needs no login at the server. Each grant mints one, `jit_<login>_<8 hex digits>`, with a
random password, `VALID UNTIL` the grant's end and membership of the entitlement's role. The
password is in the receipt's handover and nowhere else: the target has its SCRAM verifier. At the
end the login's sessions are closed and it is dropped.

The secret is the connection string of jitportal's own login at the target. It needs CREATEROLE,
from PostgreSQL 16 on each role WITH ADMIN OPTION, and `pg_signal_backend`.

Resource settings (all optional):

- `database`: where to connect, we and the subject; else the connection string's.
- `host`, `port`: how people reach the server, where that differs from how we do.

Entitlement settings:

- `role`: the role that the login is a member of, exactly as PostgreSQL spells it.
- `allow_privileged` (false): permits a role that is, or leads to, a superuser or the like.
- `connection_limit`: how many sessions at once; any number if it is left out.

What it can't do: end open sessions while jitportal is down. PostgreSQL refuses *new* sessions from
the end on by itself; open ones are closed when `revoke` runs.
"""

from __future__ import annotations

import secrets as random
import shlex
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from time import perf_counter
from typing import Any, ClassVar

import psycopg
from psycopg.conninfo import make_conninfo

from approvals.connectors.postgres import catalog
from approvals.connectors.postgres.session import (
    Session,
    all_or_nothing,
    milliseconds_since,
    parameters,
    session,
)
from approvals.connectors.postgres_login import logins, removal, settings
from approvals.connectors.postgres_login.settings import Target
from approvals.connectors.protocol import (
    Connector,
    ConnectorError,
    Field,
    GrantSpec,
    Handover,
    Health,
    Held,
    PermanentError,
    Receipt,
    Settings,
    Step,
    untouched,
)

PASSWORD_BYTES = 24  # of entropy


class PostgresLogin(Connector):
    """Mints a login with an end of its own, and drops it with everything that hangs on it."""

    key: ClassVar[str] = "postgres_login"
    title: ClassVar[str] = "PostgreSQL login"
    glyph: ClassVar[str] = "PL"
    needs_secret: ClassVar[bool] = True
    ends_at_target: ClassVar[bool] = True
    per_request: ClassVar[bool] = True
    resource_fields: ClassVar[tuple[Field, ...]] = settings.RESOURCE_FIELDS
    entitlement_fields: ClassVar[tuple[Field, ...]] = settings.ENTITLEMENT_FIELDS

    def grant(self, spec: GrantSpec) -> Receipt:
        """The request's login exists, is a member of the role, and refuses sessions from the end.

        Each call sets a new password, which is in the handover: the answer of an earlier call that
        was lost opens nothing. `pre_existing` says that the request's login was there already.

        Raises: PermanentError also when a login of that name is somebody else's, or no end is
        given.
        """
        with untouched():
            target = Target.read(spec)
            if spec.ends_at is None or spec.ends_at.tzinfo is None:
                raise PermanentError("A login is minted for a time: the grant must have an end.")
        password = random.token_urlsafe(PASSWORD_BYTES)
        mark = logins.Mark(subject=target.subject, role=target.role, request=spec.request_id)
        with session(dsn=spec.secret, database=target.database) as connection:
            with all_or_nothing(connection, secret=spec.secret):
                catalog.lock_pair(connection, role=target.role, login=target.subject)
                role = _grantable(connection, target)
                before = catalog.find_role(connection, name=target.name)
                if before is not None:
                    _must_be_ours(connection, login=before, mark=mark)
                try:
                    logins.mint(
                        connection,
                        name=target.name,
                        exists=before is not None,
                        password=password,
                        ends_at=spec.ends_at,
                        connection_limit=target.connection_limit,
                        mark=mark,
                    )
                    login = catalog.find_role(connection, name=target.name)
                    assert login is not None
                    rows = catalog.memberships(connection, role=role, login=login)
                    if not any(row.usable for row in rows):
                        connection.execute(
                            catalog.grant_statement(connection, role=role, login=login)
                        )
                except psycopg.errors.InsufficientPrivilege as error:
                    raise PermanentError(
                        f"PostgreSQL refused to mint a login ({error.diag.message_primary}): "
                        "jitportal's login needs CREATEROLE, and from PostgreSQL 16 on "
                        f'"{target.role}" WITH ADMIN OPTION.'
                    ) from None
            detail: dict[str, Any] = {
                **_facts(connection, target),
                "granted": True,
                "pre_existing": before is not None,
                "valid_until": spec.ends_at.isoformat(),
            }
            if target.connection_limit > 0:
                detail["connection_limit"] = target.connection_limit
            if catalog.owns_objects(connection, role=role):
                detail["role_owns_objects"] = True
            shown = settings.shown(spec.resource_settings, known=_connected(connection))
        handover = _handover(shown | {"user": target.name}, password=password)
        return Receipt(detail=detail, handover=(handover,))

    def revoke(self, spec: GrantSpec) -> Receipt:
        """The login that was minted for this request is gone, and so are its sessions.

        Logins of the same subject and role that other requests made are theirs.

        Raises: PermanentError also when a login owns objects, or others gave it privileges of its
        own: it is locked out and its sessions are closed by then, and the rest is for people to
        decide on.
        """
        target = Target.read(spec)
        begun = time.monotonic()
        closed = 0
        refused: list[str] = []
        with session(dsn=spec.secret, database=target.database) as connection:
            with connection.transaction():
                catalog.lock_pair(connection, role=target.role, login=target.subject)
                mine = logins.minted(connection, subject=target.subject, role=target.role)
                found = [one for one in mine if one.mark.request == spec.request_id]
                role = catalog.find_role(connection, name=target.role)
                for one in found:
                    refused += removal.shut(connection, login=one.login, role=role)
            refused_after_ms = milliseconds_since(begun)
            # Those that could not be shut lose their sessions too.
            for one in found:
                closed += catalog.close_sessions(connection, login=one.login)
            for one in found if not refused else ():
                refused += removal.remove(connection, one=one, dsn=spec.secret)
            if refused:
                raise PermanentError(" ".join(refused))
            detail = {
                **_facts(connection, target),
                "granted": False,
                "removed": bool(found),
                "removed_logins": [one.login.name for one in found],
                "refused_after_ms": refused_after_ms,
            }
        return Receipt(detail=detail, sessions_closed=closed)

    def observe(
        self,
        *,
        resource_settings: Settings,
        secret: str | None,
        entitlements: Mapping[str, Settings],
        now: datetime,
    ) -> list[Held]:
        """Whose minted logins are there for each entitlement's role, expired ones included.

        People's own logins that are members of the role are the business of `postgres_role`.
        """
        keys_by_role: dict[str, list[str]] = {}
        for key, wanted in entitlements.items():
            errors = self.validate(resource_settings=resource_settings, entitlement_settings=wanted)
            if errors:
                raise PermanentError(f"Entitlement {key}: {' '.join(errors)}")
            keys_by_role.setdefault(wanted["role"], []).append(key)
        database = resource_settings.get("database") or None
        with session(dsn=secret, database=database) as connection:
            pairs = logins.holding(connection, roles=sorted(keys_by_role))
        return sorted(
            Held(subject, key) for subject, role in pairs for key in keys_by_role.get(role, ())
        )

    def check(self, *, resource_settings: Settings, secret: str | None, now: datetime) -> Health:
        """Whether the server answers, can be written to, and lets us mint and close."""
        started = perf_counter()
        errors = self.validate(resource_settings=resource_settings, entitlement_settings=None)
        if errors:
            return Health(ok=False, message=" ".join(errors))
        try:
            database = resource_settings.get("database") or None
            with session(dsn=secret, database=database) as connection:
                facts = catalog.own_facts(connection)
                powers = logins.powers(connection)
        except ConnectorError as error:
            return Health(ok=False, message=error.message)
        latency_ms = (perf_counter() - started) * 1000
        if facts.read_only:
            message = "The server is read-only (a standby): name the primary in the secret."
        elif not powers.may_create:
            message = f'Logins can\'t be minted: ALTER ROLE "{facts.login}" CREATEROLE.'
        elif not facts.may_signal:
            message = (
                "Sessions can't be closed when a grant ends: GRANT pg_signal_backend TO "
                f'"{facts.login}".'
            )
        else:
            message = f"PostgreSQL {facts.version} answers as {facts.login}."
            return Health(ok=True, message=message, latency_ms=latency_ms)
        return Health(ok=False, message=message, latency_ms=latency_ms)

    def how_to_connect(self, spec: GrantSpec) -> list[Step]:
        """A psql command as the minted login, without its password."""
        known: dict[str, Any] = {}
        with suppress(ConnectorError):
            known = parameters(dsn=spec.secret, database=spec.resource_settings.get("database"))
        name = settings.minted_name(login=spec.subject_login, request_id=spec.request_id)
        conninfo = make_conninfo(
            "", **settings.shown(spec.resource_settings, known=known), user=name
        )
        return [
            Step("Connect", f"psql {shlex.quote(conninfo)}"),
            Step("Password", "Made for this request and shown once, on its page."),
            Step("At the end", "The login is dropped, with its sessions; work in progress is cut."),
        ]

    def validate(
        self, *, resource_settings: Settings, entitlement_settings: Settings | None
    ) -> list[str]:
        """See the module for the settings."""
        return settings.errors(resource=resource_settings, entitlement=entitlement_settings)


def _grantable(connection: Session, target: Target) -> catalog.Role:
    """The role, if a login may be made a member of it.

    Raises: PermanentError.
    """
    role = catalog.find_role(connection, name=target.role)
    if role is None:
        raise PermanentError(
            f'There is no role "{target.role}" at this server: create it, or correct the '
            "entitlement's settings."
        )
    if not target.allow_privileged:
        reasons = catalog.privileges(connection, role=role)
        if reasons:
            raise PermanentError(
                f'"{target.role}" is too powerful to grant ({", ".join(reasons)}): grant a '
                'narrower role, or set "allow_privileged" to true.'
            )
    return role


def _must_be_ours(connection: Session, *, login: catalog.Role, mark: logins.Mark) -> None:
    """Refuse a login that this same request did not mint.

    Raises: PermanentError.
    """
    found = logins.Mark.read(logins.comment_of(connection, role=login))
    if found != mark:
        raise PermanentError(
            f'There is a login "{login.name}" at this server that this request did not mint: '
            "drop or rename it, then try again."
        )


def _connected(connection: Session) -> dict[str, Any]:
    info = connection.info
    return {"host": info.host, "port": info.port, "dbname": info.dbname}


def _handover(shown: Mapping[str, Any], *, password: str) -> Handover:
    """All that a client asks for, a line each; the password has nothing to escape."""
    lines = [f"{name}={value}" for name, value in shown.items()]
    return Handover(label="Your login", text="\n".join([*lines, f"password={password}"]))


def _facts(connection: Session, target: Target) -> dict[str, Any]:
    return {
        "role": target.role,
        "login": target.name,
        "subject": target.subject,
        "database": connection.info.dbname,
    }
