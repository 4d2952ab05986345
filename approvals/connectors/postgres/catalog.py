"""PostgreSQL's catalogs of roles, memberships and sessions: every statement that we send.

Nothing here decides what should be granted. Names of unknown origin travel as parameters or as
`sql.Identifier`; they never become part of a statement's text.

From PostgreSQL 16 on, a membership exists once per grantor and has options of its own: one without
INHERIT and SET (which a CREATEROLE user gets on what it creates) gives no access, and each must be
revoked as its grantor. Source: PostgreSQL manual, GRANT, "Compatibility"; release notes 16.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from psycopg import sql
from psycopg.errors import InsufficientPrivilege
from psycopg.rows import class_row

from approvals.connectors.postgres.session import Session
from approvals.connectors.protocol import NotYet, PermanentError, TransientError

CLOSE_WITHIN_SECONDS = 10.0
_LOOK_EVERY_SECONDS = 0.025
# A backend shows up in pg_stat_activity at the end of its start-up, after it has applied a role
# that its client asked for. One more look finds those that were starting when the role was taken.
_SETTLE_SECONDS = 0.025

_PER_GRANTOR = 160000
_ADVISORY_CLASS = 0x6A697470  # "jitp"


@dataclass(frozen=True, slots=True)
class Role:
    """A row of pg_roles."""

    oid: int
    name: str
    can_login: bool
    inherits: bool


@dataclass(frozen=True, slots=True)
class Membership:
    """One direct membership. `usable`: it lets the member act with the role's rights."""

    grantor: str
    usable: bool


@dataclass(frozen=True, slots=True)
class OwnFacts:
    """What the server says about itself and about us."""

    login: str
    version: str
    read_only: bool
    may_signal: bool


def lock_pair(connection: Session, *, role: str, login: str) -> None:
    """Until the transaction ends, no other jitportal session works on this role and login.

    Without it two GRANTs at once end in "tuple concurrently updated".
    """
    connection.execute(
        "SELECT pg_catalog.pg_advisory_xact_lock(%s::int4, pg_catalog.hashtext(%s))",
        [_ADVISORY_CLASS, f"{role}\n{login}"],
    )


def find_role(connection: Session, *, name: str) -> Role | None:
    """The role or login of exactly this name."""
    with connection.cursor(row_factory=class_row(Role)) as cursor:
        return cursor.execute(
            """
            SELECT oid::int8, rolname::text AS name, rolcanlogin AS can_login,
                   rolinherit AS inherits
              FROM pg_catalog.pg_roles WHERE rolname = %s::text
            """,
            [name],
        ).fetchone()


def is_own(connection: Session, login: Role) -> bool:
    """Whether `login` is who we are connected as."""
    row = connection.execute(
        "SELECT %s::text IN (session_user::text, current_user::text)", [login.name]
    ).fetchone()
    return row is not None and bool(row[0])


def privileges(connection: Session, *, role: Role) -> list[str]:
    """Why `role` is more than a plain group of rights; roles that it is a member of count too."""
    rows = connection.execute(
        """
        WITH RECURSIVE reach(oid) AS (
            SELECT %(role)s::oid
            UNION
            SELECT m.roleid FROM pg_catalog.pg_auth_members m JOIN reach ON m.member = reach.oid
        )
        SELECT r.rolname::text, r.oid = %(role)s::oid, a.attribute
          FROM reach
          JOIN pg_catalog.pg_roles r ON r.oid = reach.oid
         CROSS JOIN LATERAL (VALUES
                ('SUPERUSER', r.rolsuper), ('CREATEROLE', r.rolcreaterole),
                ('CREATEDB', r.rolcreatedb), ('REPLICATION', r.rolreplication),
                ('BYPASSRLS', r.rolbypassrls),
                ('LOGIN', r.rolcanlogin AND r.oid = %(role)s::oid),
                ('predefined', r.rolname LIKE 'pg\\_%%')
               ) AS a(attribute, has)
         WHERE a.has
         ORDER BY 2 DESC, 1, 3
        """,
        {"role": role.oid},
    ).fetchall()
    return [
        attribute if itself else f'member of "{name}": {attribute}'
        for name, itself, attribute in rows
    ]


def owns_objects(connection: Session, *, role: Role) -> bool:
    """Whether the role owns anything, in any database of the server."""
    row = connection.execute(
        """
        SELECT EXISTS (SELECT FROM pg_catalog.pg_shdepend
                        WHERE refclassid = 'pg_catalog.pg_authid'::regclass
                          AND refobjid = %s::oid AND deptype = 'o')
        """,
        [role.oid],
    ).fetchone()
    return row is not None and bool(row[0])


def memberships(connection: Session, *, role: Role, login: Role) -> list[Membership]:
    """The login's direct memberships of the role: one, or from 16 on one for each grantor."""
    query = sql.SQL(
        """
        SELECT coalesce(g.rolname::text, m.grantor::text) AS grantor, {usable} AS usable
          FROM pg_catalog.pg_auth_members m LEFT JOIN pg_catalog.pg_roles g ON g.oid = m.grantor
         WHERE m.roleid = %s::oid AND m.member = %s::oid
         ORDER BY 1
        """
    ).format(usable=_usable(connection))
    with connection.cursor(row_factory=class_row(Membership)) as cursor:
        return cursor.execute(query, [role.oid, login.oid]).fetchall()


def grant_statement(connection: Session, *, role: Role, login: Role) -> sql.Composed:
    """GRANT; from 16 on with its options said, since a membership without them may be there."""
    options: sql.Composable = sql.SQL("")
    if _per_grantor(connection):
        options = sql.SQL(
            " WITH INHERIT TRUE, SET TRUE" if login.inherits else " WITH INHERIT FALSE, SET TRUE"
        )
    return sql.SQL("GRANT {role} TO {login}{options}").format(
        role=sql.Identifier(role.name), login=sql.Identifier(login.name), options=options
    )


def revoke_statement(
    connection: Session, *, role: Role, login: Role, row: Membership
) -> sql.Composed:
    """REVOKE of this one membership."""
    grantor: sql.Composable = sql.SQL("")
    if _per_grantor(connection):
        grantor = sql.SQL(" GRANTED BY {}").format(sql.Identifier(row.grantor))
    return sql.SQL("REVOKE {role} FROM {login}{grantor}").format(
        role=sql.Identifier(role.name), login=sql.Identifier(login.name), grantor=grantor
    )


def roles_between(connection: Session, *, role: Role, login: Role) -> list[str]:
    """The login's own roles through which it is a usable member of `role`; sorted."""
    query = sql.SQL(
        """
        WITH RECURSIVE up(first, oid) AS (
            SELECT m.roleid, m.roleid FROM pg_catalog.pg_auth_members m
             WHERE m.member = %s::oid AND {usable}
            UNION
            SELECT up.first, m.roleid
              FROM pg_catalog.pg_auth_members m JOIN up ON m.member = up.oid WHERE {usable}
        )
        SELECT DISTINCT r.rolname::text
          FROM up JOIN pg_catalog.pg_roles r ON r.oid = up.first
         WHERE up.oid = %s::oid ORDER BY 1
        """
    ).format(usable=_usable(connection))
    return [name for (name,) in connection.execute(query, [login.oid, role.oid])]


def direct_members(connection: Session, *, roles: list[str]) -> list[tuple[str, str]]:
    """(member, role) for each direct, usable member that is not a group and not ourselves."""
    query = sql.SQL(
        """
        SELECT DISTINCT l.rolname::text, r.rolname::text
          FROM pg_catalog.pg_auth_members m
          JOIN pg_catalog.pg_roles r ON r.oid = m.roleid
          JOIN pg_catalog.pg_roles l ON l.oid = m.member
         WHERE r.rolname = ANY(%s::text[]) AND {usable}
           AND l.rolname NOT IN (session_user, current_user)
           AND (l.rolcanlogin OR NOT EXISTS
                (SELECT FROM pg_catalog.pg_auth_members x WHERE x.roleid = l.oid))
        """
    ).format(usable=_usable(connection))
    return [(login, role) for login, role in connection.execute(query, [roles])]


def close_sessions(connection: Session, *, login: Role) -> int:
    """Every session of the login, in any database, that began before this call is gone.

    Returns how many were told to end. Sessions that begin later are left alone.

    Raises: PermanentError when we may not; NotYet when some are left after 10 s.
    """
    row = connection.execute("SELECT pg_catalog.clock_timestamp()").fetchone()
    began_before = row[0] if row else None
    started = time.monotonic()
    told: set[int] = set()
    meant: set[int] = set()
    while True:
        # Without pg_read_all_stats the start of a session is hidden; then those are meant that
        # show up until things have settled.
        spent = time.monotonic() - started
        found = connection.execute(
            """
            SELECT pid, backend_start IS NULL FROM pg_catalog.pg_stat_activity
             WHERE usesysid = %s::oid AND pid <> pg_catalog.pg_backend_pid()
               AND leader_pid IS NULL
               AND (backend_start IS NULL OR backend_start <= %s)
            """,
            [login.oid, began_before],
        ).fetchall()
        if spent <= 2 * _SETTLE_SECONDS:
            meant.update(pid for pid, _ in found)
        pids = [pid for pid, hidden in found if not hidden or pid in meant]
        if not pids and spent >= _SETTLE_SECONDS:
            return len(told)
        if spent > CLOSE_WITHIN_SECONDS:
            raise NotYet(
                f'The role was taken, but {len(pids)} sessions of "{login.name}" did not end '
                f"within {CLOSE_WITHIN_SECONDS:.0f} s. It is tried again."
            )
        if pids:
            _tell_to_end(connection, login=login, pids=pids)
            told.update(pids)
        time.sleep(_LOOK_EVERY_SECONDS)


def _tell_to_end(connection: Session, *, login: Role, pids: list[int]) -> None:
    try:
        # The login is asked for again: a process id may have passed to somebody else's session.
        connection.execute(
            """
            SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity
             WHERE usesysid = %s::oid AND pid = ANY(%s)
            """,
            [login.oid, pids],
        )
    except InsufficientPrivilege as error:
        raise PermanentError(
            f'The role was taken, but sessions of "{login.name}" are open and jitportal\'s login '
            f"may not close them ({error.diag.message_primary}): GRANT pg_signal_backend to it."
        ) from None


def own_facts(connection: Session) -> OwnFacts:
    """Who we are at the server, and whether we can do our work there."""
    with connection.cursor(row_factory=class_row(OwnFacts)) as cursor:
        found = cursor.execute(
            """
            SELECT session_user::text AS login,
                   split_part(pg_catalog.current_setting('server_version'), ' ', 1) AS version,
                   pg_catalog.pg_is_in_recovery() AS read_only,
                   pg_catalog.pg_has_role('pg_signal_backend', 'USAGE') AS may_signal
            """
        ).fetchone()
    if found is None:
        raise TransientError("PostgreSQL did not say who we are. It is tried again.")
    return found


def _per_grantor(connection: Session) -> bool:
    return connection.info.server_version >= _PER_GRANTOR


def _usable(connection: Session) -> sql.SQL:
    return sql.SQL("(m.inherit_option OR m.set_option)" if _per_grantor(connection) else "true")
