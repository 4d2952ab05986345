"""What a minted PostgreSQL login is in the server's catalogs: its mark, its rights, what it owns.

Every statement on minted logins is here; those on roles and sessions in general are in
`postgres.catalog`. Nothing here decides who gets a login.

A minted login carries its mark as a comment on the role: whose it is, for which role, by which
request. A login without the mark is not ours and is never touched. Only who may alter a role may
comment on it, so its owner can't change the mark (nor its end: a login may change its own password
and its own parameters, and nothing else of itself).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from psycopg import sql

from approvals.connectors.postgres.catalog import Role
from approvals.connectors.postgres.session import Session

MARK = "jitportal "
PREFIX = "jit_"

# A default privilege or a user mapping "belongs" to a login, and is nothing that anybody misses.
_NO_OBJECTS = "('pg_catalog.pg_default_acl'::regclass, 'pg_catalog.pg_user_mapping'::regclass)"

_MINTED = f"""
SELECT l.oid::int8, l.rolname::text, l.rolcanlogin, l.rolinherit,
       pg_catalog.shobj_description(l.oid, 'pg_authid')
  FROM pg_catalog.pg_roles l
 WHERE l.rolname LIKE '{PREFIX.replace("_", chr(92) + "_")}%%'
   AND pg_catalog.shobj_description(l.oid, 'pg_authid') LIKE '{MARK}%%'
"""  # noqa: S608  # two constants of this module


@dataclass(frozen=True, slots=True)
class Mark:
    """Whose login it is."""

    subject: str
    role: str
    request: str

    def text(self) -> str:
        """The comment that carries it."""
        return MARK + json.dumps(asdict(self), ensure_ascii=False, sort_keys=True)

    @classmethod
    def read(cls, comment: str | None) -> Mark | None:
        """The mark that `comment` carries, if it is one."""
        if comment is None or not comment.startswith(MARK):
            return None
        try:
            found = json.loads(comment.removeprefix(MARK))
            mark = cls(**found)
        except (ValueError, TypeError):
            return None
        return mark if all(isinstance(value, str) for value in found.values()) else None


@dataclass(frozen=True, slots=True)
class Minted:
    """A login at the server that carries our mark."""

    login: Role
    mark: Mark


@dataclass(frozen=True, slots=True)
class Powers:
    """What jitportal's own login may do here, besides `postgres.catalog.own_facts`."""

    may_create: bool


def powers(connection: Session) -> Powers:
    """Whether we may mint logins at all."""
    row = connection.execute(
        "SELECT rolcreaterole OR rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user"
    ).fetchone()
    return Powers(may_create=bool(row and row[0]))


def comment_of(connection: Session, *, role: Role) -> str | None:
    """The comment on a role."""
    row = connection.execute(
        "SELECT pg_catalog.shobj_description(%s::oid, 'pg_authid')", [role.oid]
    ).fetchone()
    return row[0] if row else None


def minted(connection: Session, *, subject: str, role: str) -> list[Minted]:
    """Every login that was minted for this subject and this role, by whichever request."""
    return [
        one
        for one in _all_minted(connection)
        if one.mark.subject == subject and one.mark.role == role
    ]


def _all_minted(connection: Session) -> list[Minted]:
    found: list[Minted] = []
    for oid, name, can_login, inherits, comment in connection.execute(f"{_MINTED} ORDER BY 2"):
        mark = Mark.read(comment)
        if mark is not None:
            found.append(Minted(Role(oid, name, can_login, inherits), mark))
    return found


def holding(connection: Session, *, roles: list[str]) -> set[tuple[str, str]]:
    """(subject, role) of each minted login that may log in and is a member of its role.

    One whose end is past counts: its open sessions live on until they are closed.
    """
    members = {
        (int(member), name)
        for member, name in connection.execute(
            """
            SELECT m.member::int8, r.rolname::text
              FROM pg_catalog.pg_auth_members m JOIN pg_catalog.pg_roles r ON r.oid = m.roleid
             WHERE r.rolname = ANY(%s::text[])
            """,
            [roles],
        )
    }
    return {
        (one.mark.subject, one.mark.role)
        for one in _all_minted(connection)
        if one.login.can_login and (one.login.oid, one.mark.role) in members
    }


def mint(
    connection: Session,
    *,
    name: str,
    exists: bool,
    password: str,
    ends_at: datetime,
    connection_limit: int,
    mark: Mark,
) -> None:
    """The login exists with this password, end and mark, and nothing else that was on it before.

    The password travels as its SCRAM verifier, so that no log of statements ever holds it.
    """
    verifier = connection.pgconn.encrypt_password(
        password.encode(), name.encode(), b"scram-sha-256"
    ).decode()
    connection.execute(
        sql.SQL(
            "{verb} ROLE {name} WITH LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE INHERIT"
            " NOREPLICATION NOBYPASSRLS CONNECTION LIMIT {limit}"
            " PASSWORD {verifier} VALID UNTIL {ends_at}"
            if not exists
            # Only a superuser may say NOSUPERUSER and its like of a role that exists.
            else "{verb} ROLE {name} WITH LOGIN INHERIT CONNECTION LIMIT {limit}"
            " PASSWORD {verifier} VALID UNTIL {ends_at}"
        ).format(
            verb=sql.SQL("ALTER" if exists else "CREATE"),
            name=sql.Identifier(name),
            limit=sql.Literal(connection_limit),
            verifier=sql.Literal(verifier),
            ends_at=sql.Literal(ends_at.astimezone(UTC).isoformat()),
        )
    )
    connection.execute(
        sql.SQL("COMMENT ON ROLE {} IS {}").format(sql.Identifier(name), sql.Literal(mark.text()))
    )


def lock_out(connection: Session, *, login: Role) -> None:
    """The login opens no new session."""
    connection.execute(
        sql.SQL("ALTER ROLE {} WITH NOLOGIN CONNECTION LIMIT 0").format(sql.Identifier(login.name))
    )


def databases_with_objects(connection: Session, *, login: Role) -> list[str]:
    """Where the login owns something; `""` stands for what belongs to the whole server; sorted."""
    rows = connection.execute(
        f"""
        SELECT DISTINCT coalesce(d.datname::text, '')
          FROM pg_catalog.pg_shdepend s LEFT JOIN pg_catalog.pg_database d ON d.oid = s.dbid
         WHERE s.refclassid = 'pg_catalog.pg_authid'::regclass AND s.refobjid = %s::oid
           AND s.deptype = 'o' AND s.classid NOT IN {_NO_OBJECTS}
         ORDER BY 1
        """,  # noqa: S608  # a constant of this module
        [login.oid],
    ).fetchall()
    return [name for (name,) in rows]


def databases_with_privileges(connection: Session, *, login: Role) -> list[str | None]:
    """Where something other than an object hangs on the login; None: on the server as a whole."""
    rows = connection.execute(
        f"""
        SELECT DISTINCT d.datname::text
          FROM pg_catalog.pg_shdepend s LEFT JOIN pg_catalog.pg_database d ON d.oid = s.dbid
         WHERE s.refclassid = 'pg_catalog.pg_authid'::regclass AND s.refobjid = %s::oid
           AND (s.deptype <> 'o' OR s.classid IN {_NO_OBJECTS})
         ORDER BY 1 NULLS FIRST
        """,  # noqa: S608  # a constant of this module
        [login.oid],
    ).fetchall()
    return [name for (name,) in rows]


def join(connection: Session, *, login: Role) -> None:
    """We may act for the login, until it is dropped: DROP OWNED asks for that."""
    row = connection.execute(
        "SELECT pg_catalog.pg_has_role(%s::oid, 'USAGE')", [login.oid]
    ).fetchone()
    if row is None or not row[0]:
        options = " WITH INHERIT TRUE" if connection.info.server_version >= 160000 else ""
        connection.execute(
            sql.SQL("GRANT {} TO CURRENT_USER" + options).format(sql.Identifier(login.name))
        )


def drop_privileges(connection: Session, *, login: Role) -> None:
    """What we gave to the login in this database, and at the server as a whole, is gone.

    So is what the login itself arranged (default privileges). What others gave it stays: DROP OWNED
    takes only what its caller may take. Source: PostgreSQL manual, DROP OWNED and REVOKE.

    To be called when it owns nothing here: DROP OWNED would drop that as well. RESTRICT, so that
    nothing else falls with it.
    """
    connection.execute(sql.SQL("DROP OWNED BY {} RESTRICT").format(sql.Identifier(login.name)))


def drop(connection: Session, *, login: Role) -> None:
    """The login is gone, whoever dropped it."""
    connection.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(login.name)))
