"""Membership of a PostgreSQL role, for a login that exists, at any PostgreSQL from 13 on.

The secret is the connection string of jitportal's own login at the target. It need not be a
superuser: it needs each role WITH ADMIN OPTION, and `pg_signal_backend` to close sessions;
`pg_read_all_stats` lets it tell a session that just began from one that held the role.

PostgreSQL checks inherited rights anew with each statement, but a session that did SET ROLE stays
that role until it ends. So at the end of a grant every session of the login at the whole server is
closed, unless `terminate` says never. docs/connectors/postgres_role.md has
every setting.

What it can't see: rights that the subject gave away or took while holding the role. A role that
owns tables lets its members grant those to themselves for good, so the receipt says when the role
owns anything (`role_owns_objects`). A role or login that was renamed counts as gone.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping
from datetime import datetime
from time import perf_counter
from typing import Any, ClassVar

import psycopg
import structlog
from psycopg import sql
from psycopg.conninfo import make_conninfo

from approvals.connectors.postgres import catalog
from approvals.connectors.postgres.session import (
    Session,
    all_or_nothing,
    milliseconds_since,
    parameters,
    session,
)
from approvals.connectors.postgres_role import settings
from approvals.connectors.postgres_role.settings import Target
from approvals.connectors.protocol import (
    Connector,
    ConnectorError,
    Field,
    GrantSpec,
    Health,
    Held,
    PermanentError,
    Receipt,
    Settings,
    Step,
    untouched,
)

log = structlog.get_logger(__name__)


class PostgresRole(Connector):
    """Grants a role to an existing login, revokes it, and closes the login's sessions."""

    key: ClassVar[str] = "postgres_role"
    title: ClassVar[str] = "PostgreSQL role"
    glyph: ClassVar[str] = "PG"
    needs_secret: ClassVar[bool] = True
    ends_at_target: ClassVar[bool] = False
    resource_fields: ClassVar[tuple[Field, ...]] = settings.RESOURCE_FIELDS
    entitlement_fields: ClassVar[tuple[Field, ...]] = settings.ENTITLEMENT_FIELDS

    def lease(self, spec: GrantSpec) -> Mapping[str, Any]:
        """Membership holds for the whole server, whichever database the resource names."""
        access = {"role": spec.entitlement_settings["role"], "login": spec.subject_login}
        server = spec.resource_settings.get("server")
        return access | {"server": server.strip().lower()} if server else access

    def lease_by_secret(self, spec: GrantSpec) -> bool:
        """Only where no setting names the server, so that the secret does."""
        return not spec.resource_settings.get("server")

    def grant(self, spec: GrantSpec) -> Receipt:
        """The login is a member of the role.

        `pre_existing` in the receipt: it was one when we came, by somebody else or by an earlier
        attempt of this grant whose answer was lost (`granted_by` names the grantor).
        """
        with untouched():
            target = Target.read(spec)
        with session(dsn=spec.secret, database=target.database) as connection:
            with all_or_nothing(connection, secret=spec.secret):
                catalog.lock_pair(connection, role=target.role, login=target.login)
                role, login = _existing(connection, target)
                before = catalog.memberships(connection, role=role, login=login)
                held = any(row.usable for row in before)
                if not held:
                    connection.execute(catalog.grant_statement(connection, role=role, login=login))
            detail = {
                **_facts(connection, target),
                "granted": True,
                "pre_existing": held,
                "granted_by": sorted({row.grantor for row in before if row.usable}),
                "inherits": login.inherits,
            }
            if catalog.owns_objects(connection, role=role):
                detail["role_owns_objects"] = True
        return Receipt(detail=detail)

    def revoke(self, spec: GrantSpec) -> Receipt:
        """The login is no direct member of the role, and sessions from before are closed.

        A membership that somebody else gave goes too: the approved lease is over, and
        lasting access is asked for anew. Where another role still makes the login a member, the
        receipt names it in `still_member_through`; that role is not ours to take.

        Sessions are closed even if the membership is gone already: an earlier attempt may have been
        killed between the two.

        Raises: PermanentError also when a membership that somebody else granted could not be taken;
        TransientError also when sessions did not end in time, with the membership removed.
        """
        target = Target.read(spec)
        begun = time.monotonic()
        with session(dsn=spec.secret, database=target.database) as connection:
            with connection.transaction():
                catalog.lock_pair(connection, role=target.role, login=target.login)
                role = catalog.find_role(connection, name=target.role)
                login = catalog.find_role(connection, name=target.login)
                if login is not None and catalog.is_own(connection, login):
                    raise _own_login(target)
                removed = False
                refused: list[str] = []
                if role is not None and login is not None:
                    rows = catalog.memberships(connection, role=role, login=login)
                    usable = [row for row in rows if row.usable]
                    refused = _take(connection, role=role, login=login, rows=usable)
                    removed = len(usable) > len(refused)
            refused_after_ms = milliseconds_since(begun)
            if refused:
                raise PermanentError(
                    f'"{target.login}" still holds "{target.role}": {"; ".join(refused)}. Revoke '
                    "it as that grantor, or make jitportal's login a member of the grantor."
                )
            detail: dict[str, Any] = {
                **_facts(connection, target),
                "granted": False,
                "removed": removed,
                "refused_after_ms": refused_after_ms,
            }
            if login is None:
                detail["reason"] = f'There is no login "{target.login}" any more.'
            elif role is None:
                detail["reason"] = f'There is no role "{target.role}" any more.'
            if role is not None and login is not None:
                through = catalog.roles_between(connection, role=role, login=login)
                if through:
                    detail["still_member_through"] = through
            closed = 0
            if login is not None and target.terminate:
                closed = catalog.close_sessions(connection, login=login)
            elif login is not None:
                detail["sessions_live_on"] = True
        if "still_member_through" in detail:
            log.warning("postgres_role.still_member", request_id=spec.request_id, **detail)
        return Receipt(detail=detail, sessions_closed=closed)

    def observe(
        self,
        *,
        resource_settings: Settings,
        secret: str | None,
        entitlements: Mapping[str, Settings],
        now: datetime,
    ) -> list[Held]:
        """The direct members of each entitlement's role: logins, and disabled ones too.

        Not jitportal's own login (it holds roles to grant them), nor roles that serve as groups.
        """
        keys_by_role: dict[str, list[str]] = {}
        for key, wanted in entitlements.items():
            errors = self.validate(resource_settings=resource_settings, entitlement_settings=wanted)
            if errors:
                raise PermanentError(f"Entitlement {key}: {' '.join(errors)}")
            keys_by_role.setdefault(wanted["role"], []).append(key)
        database = resource_settings.get("database") or None
        with session(dsn=secret, database=database) as connection:
            pairs = catalog.direct_members(connection, roles=sorted(keys_by_role))
        return sorted(Held(login, key) for login, role in pairs for key in keys_by_role[role])

    def check(self, *, resource_settings: Settings, secret: str | None, now: datetime) -> Health:
        """Whether the server answers, can be written to, and lets us close sessions."""
        started = perf_counter()
        errors = self.validate(resource_settings=resource_settings, entitlement_settings=None)
        if errors:
            return Health(ok=False, message=" ".join(errors))
        try:
            database = resource_settings.get("database") or None
            with session(dsn=secret, database=database) as connection:
                facts = catalog.own_facts(connection)
        except ConnectorError as error:
            return Health(ok=False, message=error.message)
        latency_ms = (perf_counter() - started) * 1000
        if facts.read_only:
            message = "The server is read-only (a standby): name the primary in the secret."
        elif resource_settings.get("terminate") != "never" and not facts.may_signal:
            message = (
                "Sessions can't be closed when a grant ends: GRANT pg_signal_backend TO "
                f'"{facts.login}", or set "terminate" to "never".'
            )
        else:
            message = f"PostgreSQL {facts.version} answers as {facts.login}."
            return Health(ok=True, message=message, latency_ms=latency_ms)
        return Health(ok=False, message=message, latency_ms=latency_ms)

    def how_to_connect(self, spec: GrantSpec) -> list[Step]:
        """A psql command as the subject, without a password, and what to do with NOINHERIT."""
        try:
            known = parameters(dsn=spec.secret, database=spec.resource_settings.get("database"))
        except ConnectorError:
            known = {"dbname": spec.resource_settings.get("database")}
        shown = {name: known[name] for name in ("host", "port", "dbname") if known.get(name)}
        conninfo = make_conninfo("", **shown, user=spec.subject_login)
        role = sql.Identifier(str(spec.entitlement_settings.get("role", ""))).as_string(None)
        return [
            Step("Connect", f"psql {shlex.quote(conninfo)}"),
            Step("Password", f"The one that {spec.subject_login} has there already."),
            Step("If your login does not inherit rights", f"SET ROLE {role};"),
        ]

    def validate(
        self, *, resource_settings: Settings, entitlement_settings: Settings | None
    ) -> list[str]:
        """See `settings`."""
        return settings.errors(resource=resource_settings, entitlement=entitlement_settings)


def _own_login(target: Target) -> PermanentError:
    return PermanentError(
        f"\"{target.login}\" is jitportal's own login at this server: it can't be a subject."
    )


def _existing(connection: Session, target: Target) -> tuple[catalog.Role, catalog.Role]:
    """The role and the login, if this pair may be granted.

    Raises: PermanentError.
    """
    role = catalog.find_role(connection, name=target.role)
    login = catalog.find_role(connection, name=target.login)
    if role is None:
        raise PermanentError(
            f'There is no role "{target.role}" at this server: create it, or correct the '
            "entitlement's settings."
        )
    if login is None or not login.can_login:
        raise PermanentError(
            f'There is no login "{target.login}" at this server: CREATE ROLE it with LOGIN first; '
            "this connector grants roles to logins that exist."
        )
    if catalog.is_own(connection, login):
        raise _own_login(target)
    if not target.allow_privileged:
        reasons = catalog.privileges(connection, role=role)
        if reasons:
            raise PermanentError(
                f'"{target.role}" is too powerful to grant ({", ".join(reasons)}): grant a '
                'narrower role, or set "allow_privileged" to true.'
            )
    return role, login


def _take(
    connection: Session,
    *,
    role: catalog.Role,
    login: catalog.Role,
    rows: list[catalog.Membership],
) -> list[str]:
    """Revoke each membership as its grantor; returns a sentence for each that was refused."""
    refused: list[str] = []
    for row in rows:
        statement = catalog.revoke_statement(connection, role=role, login=login, row=row)
        try:
            with connection.transaction():
                connection.execute(statement)
        except (
            psycopg.errors.InsufficientPrivilege,
            psycopg.errors.DependentObjectsStillExist,
            psycopg.errors.DependentPrivilegeDescriptorsStillExist,
        ) as error:
            refused.append(f'granted by "{row.grantor}" ({error.diag.message_primary})')
    return refused


def _facts(connection: Session, target: Target) -> dict[str, Any]:
    return {
        "role": target.role,
        "login": target.login,
        "database": connection.info.dbname,
    }
