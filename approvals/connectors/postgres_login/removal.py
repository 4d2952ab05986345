"""How a minted PostgreSQL login is taken away, in steps that may be repeated and interrupted.

First it is shut: no new session, no role. Then its sessions end (`postgres.catalog`). Last it is
dropped with the privileges that hang on it, unless it owns objects: those are people's work, which
nobody drops or hands to somebody else without being asked.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress

import psycopg

from approvals.connectors.postgres import catalog
from approvals.connectors.postgres.session import Session, session
from approvals.connectors.postgres_login import logins
from approvals.connectors.protocol import NotYet, PermanentError

REMOVE_WITHIN_SECONDS = 6.0


def shut(connection: Session, *, login: catalog.Role, role: catalog.Role | None) -> list[str]:
    """The login opens no new session, and open ones no longer inherit the role.

    To be called in a transaction, which stays usable. Returns a sentence if it was refused.
    """
    try:
        with connection.transaction():
            logins.lock_out(connection, login=login)
    except psycopg.errors.InsufficientPrivilege as error:
        return [
            f'"{login.name}" can\'t be locked out ({error.diag.message_primary}): GRANT it to '
            "jitportal's login WITH ADMIN OPTION. Its sessions were closed; only its end, which "
            "the server keeps, holds new ones off."
        ]
    if role is None:
        return []
    for row in catalog.memberships(connection, role=role, login=login):
        # Another grantor's we may not take; that one goes with the login.
        with suppress(psycopg.errors.InsufficientPrivilege), connection.transaction():
            connection.execute(
                catalog.revoke_statement(connection, role=role, login=login, row=row)
            )
    return []


def remove(connection: Session, *, one: logins.Minted, dsn: str | None) -> list[str]:
    """The login is gone, and with it what was given to it in any database of the server.

    Returns a sentence when it owns objects, or hangs on something that we may not change.

    Raises: NotYet when there was not enough time.
    """
    login = one.login
    try:
        _remove(connection, one=one, dsn=dsn)
    except psycopg.errors.UndefinedObject:
        return []  # somebody else dropped it meanwhile
    except psycopg.errors.InsufficientPrivilege as error:
        return [
            f'"{login.name}" is locked out and its sessions are closed, but it can\'t be dropped '
            f"({error.diag.message_primary}): GRANT it to jitportal's login WITH ADMIN OPTION, or "
            "drop it yourself."
        ]
    except psycopg.errors.DependentObjectsStillExist:
        left = logins.databases_with_privileges(connection, login=login)
        return [
            f'"{login.name}" is locked out and its sessions are closed, but others gave it '
            f"privileges in {_places(left)} that only they or a superuser can take: there, as a "
            f'superuser, DROP OWNED BY "{login.name}". Then try again, and the login is dropped.'
        ]
    except PermanentError as error:
        gone = catalog.find_role(connection, name=login.name) is None
        return [] if gone else [error.message]
    return []


def _remove(connection: Session, *, one: logins.Minted, dsn: str | None) -> None:
    login = one.login
    _must_own_nothing(connection, login=login)
    started = time.monotonic()
    for database in logins.databases_with_privileges(connection, login=login):
        if time.monotonic() - started > REMOVE_WITHIN_SECONDS:
            raise NotYet(
                f'"{login.name}" is locked out; it has privileges in many databases, and not '
                "all are removed yet. It is tried again."
            )
        _drop_privileges(connection, login=login, database=database, dsn=dsn)
    with connection.transaction():
        catalog.lock_pair(connection, role=one.mark.role, login=one.mark.subject)
        logins.drop(connection, login=login)


def _must_own_nothing(connection: Session, *, login: catalog.Role) -> None:
    found = logins.databases_with_objects(connection, login=login)
    if not found:
        return
    raise PermanentError(
        f'"{login.name}" is locked out and its sessions are closed, but it owns objects in '
        f'{_places(found)}. There, as a superuser, REASSIGN OWNED BY "{login.name}" TO whoever is '
        f'to keep them, then DROP OWNED BY "{login.name}" for what is left. Then try again, and '
        "the login is dropped."
    )


def _places(databases: Sequence[str | None]) -> str:
    return ", ".join(f'"{name}"' if name else "the server as a whole" for name in databases)


def _drop_privileges(
    connection: Session, *, login: catalog.Role, database: str | None, dsn: str | None
) -> None:
    """What hangs on the login in one database; None: on the server as a whole."""
    logins.join(connection, login=login)
    if database is None or database == connection.info.dbname:
        _drop_privileges_here(connection, login=login)
        return
    with session(dsn=dsn, database=database) as there:
        _drop_privileges_here(there, login=login)


def _drop_privileges_here(connection: Session, *, login: catalog.Role) -> None:
    with connection.transaction():
        # Asked again here: DROP OWNED would drop objects too.
        _must_own_nothing(connection, login=login)
        logins.drop_privileges(connection, login=login)
