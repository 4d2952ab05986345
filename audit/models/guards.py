"""The database's own guards: triggers that refuse changes, and the rights of each role.

Triggers are `ENABLE ALWAYS`, so `session_replication_role = replica` does not walk past them. They
are per statement, so that an UPDATE, DELETE, TRUNCATE, MERGE or upsert is refused even where it
would have met no row.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from django.apps import apps
from django.db import connections, models
from django.db.migrations.operations import RunSQL
from django.db.migrations.operations.base import Operation
from psycopg import sql

from audit.models.append_only import AppendOnly

APP, SEALER, AUDITOR = "jitportal_app", "jitportal_sealer", "jitportal_auditor"

_sealer_reads: dict[str, frozenset[str]] = {}
_sealer_calls: set[str] = {"audit_erase(uuid,text[],text[],bytea[],jsonb)"}


def let_sealer(*, read: Iterable[type[models.Model]] = (), call: Iterable[str] = ()) -> None:
    """Let the sealer read tables beside its own, and call functions of the owner, for erasures.

    It reads no column that the model hides from the auditor. Called at start-up, once.
    """
    for model in read:
        hidden: frozenset[str] = getattr(model, "hidden_from_auditor", frozenset())
        columns = [field.column for field in model._meta.concrete_fields if field.column]
        _sealer_reads[model._meta.db_table] = frozenset(columns) - hidden if hidden else frozenset()
    _sealer_calls.update(call)


REFUSE_FUNCTION = """
CREATE OR REPLACE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'append-only: % on % is refused', TG_OP, TG_TABLE_NAME
    USING ERRCODE = 'restrict_violation',
          HINT = 'Records are never changed. Insert the next revision instead.';
END $$;
CREATE OR REPLACE FUNCTION audit_stamp() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.recorded_at := clock_timestamp();
  RETURN NEW;
END $$;
"""
DROP_REFUSE_FUNCTION = (
    "DROP FUNCTION IF EXISTS audit_refuse(); DROP FUNCTION IF EXISTS audit_stamp();"
)


#: What runs for each new record or row. Setting a path would cost more than their work: the table
#: and the types that they name have their schema.
UNPINNED = (
    "audit_stamp", "audit_stamp_entry", "audit_check_salt", "audit_is_erasure", "approvals_names",
)  # fmt: skip


def pin_search_path(prefix: str) -> RunSQL:
    """Return the operation after which no temporary object stands in for one that functions name.

    PostgreSQL looks among a session's temporary tables and types first, unless `pg_temp` is listed.
    Of the functions whose names begin with `prefix`, all but those in `UNPINNED` list it last.
    """
    but = ", ".join(f"'{name}'" for name in UNPINNED)
    forward = f"""
    DO $$
    DECLARE it regprocedure;
    BEGIN
      FOR it IN SELECT oid FROM pg_proc WHERE pronamespace = 'public'::regnamespace
          AND starts_with(proname, '{prefix}') AND proname NOT IN ({but}) LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = pg_catalog, public, pg_temp', it);
      END LOOP;
    END $$;
    """  # noqa: S608 - constants only
    return RunSQL(forward, RunSQL.noop)


def append_only(table: str, *, stamped: bool = True) -> Operation:
    """Return the migration operation that makes `table` append-only for everyone, owner included.

    `stamped` tables have a `recorded_at` that the database sets on insert, whatever was sent.
    """
    forward = f"""
    CREATE TRIGGER {table}_refuse BEFORE UPDATE OR DELETE ON {table}
      FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();
    CREATE TRIGGER {table}_refuse_truncate BEFORE TRUNCATE ON {table}
      FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();
    ALTER TABLE {table} ENABLE ALWAYS TRIGGER {table}_refuse;
    ALTER TABLE {table} ENABLE ALWAYS TRIGGER {table}_refuse_truncate;
    """
    backward = f"""
    DROP TRIGGER {table}_refuse ON {table};
    DROP TRIGGER {table}_refuse_truncate ON {table};
    """
    if stamped:
        forward += f"""
        CREATE TRIGGER {table}_stamp BEFORE INSERT ON {table}
          FOR EACH ROW EXECUTE FUNCTION audit_stamp();
        ALTER TABLE {table} ENABLE ALWAYS TRIGGER {table}_stamp;
        """
        backward += f"DROP TRIGGER {table}_stamp ON {table};"
    return RunSQL(forward, backward)


def record_models() -> Iterator[type[models.Model]]:
    """Yield every model whose rows are never changed: records and the history of configuration."""
    for model in apps.get_models(include_auto_created=True):
        if (
            issubclass(model, AppendOnly)
            or hasattr(model, "history_id")
            or getattr(model, "append_only", False)
        ):
            yield model


def _the_databases(model: type[models.Model]) -> frozenset[str]:
    """Return the columns of a record that the database alone fills: its id, its time."""
    of_kind = {"recorded_at"} if issubclass(model, AppendOnly) else set()
    fields = model._meta.concrete_fields
    return frozenset(of_kind | {f.attname for f in fields if isinstance(f, models.AutoField)})


def grant(*, using: str) -> None:
    """Set what the database roles may do on every table; safe to repeat.

    `jitportal_app` reads all and inserts; it may change rows only where rows are meant to change.
    Of a record it gives neither id nor time, so no record of it can stand where a later one will.
    Tables of models with `app_may_write = False` (kept by triggers or the sealer) it only reads.
    `jitportal_auditor` reads, but no column that its model names in `hidden_from_auditor`.
    `jitportal_sealer` has what a model's `rights` give it, what `let_sealer` lets it, and nothing
    else. A model's `rights` (role → SQL) win over all of this. Does nothing where the roles do not
    exist (see docs/production.md).
    """
    connection = connections[using]
    records = {model._meta.db_table: _the_databases(model) for model in record_models()}
    kept_by_triggers = {
        model._meta.db_table
        for model in apps.get_models(include_auto_created=True)
        if not getattr(model, "app_may_write", True)
    }
    hidden: dict[str, frozenset[str]] = {
        model._meta.db_table: getattr(model, "hidden_from_auditor", frozenset())
        for model in apps.get_models()
        if hasattr(model, "hidden_from_auditor")
    }
    special: dict[str, dict[str, str]] = {
        model._meta.db_table: getattr(model, "rights", {}) for model in apps.get_models()
    }
    with connection.cursor() as cursor:
        cursor.execute("SELECT rolname FROM pg_roles WHERE rolname LIKE 'jitportal\\_%%'")
        roles = {row[0] for row in cursor.fetchall()}
        for table in connection.introspection.table_names(cursor):
            name = sql.Identifier(table)
            for role in sorted(roles & {APP, AUDITOR, SEALER}):
                statement = sql.SQL("REVOKE ALL ON {} FROM {}").format(name, sql.Identifier(role))
                cursor.execute(statement)
                own = special.get(table, {}).get(role, "")
                if role == SEALER and not own:
                    if table not in _sealer_reads:
                        continue
                    columns = sorted(_sealer_reads[table])
                    own = f"SELECT ({', '.join(columns)})" if columns else "SELECT"
                if own:
                    rights = own
                elif role == AUDITOR or table in kept_by_triggers or table == "django_migrations":
                    rights = "SELECT"
                elif table in records:
                    rights = f"SELECT, INSERT ({_columns(cursor, table, but=records[table])})"
                else:
                    rights = "SELECT, INSERT, UPDATE, DELETE"
                if role == AUDITOR and table in _SECRET_TABLES:
                    continue
                if role == AUDITOR and table in hidden:
                    rights = f"SELECT ({_columns(cursor, table, but=hidden[table])})"
                cursor.execute(
                    sql.SQL("GRANT {} ON {} TO {}").format(
                        sql.SQL(rights), name, sql.Identifier(role)
                    )
                )
        for role in sorted(roles & {APP}):
            cursor.execute(
                sql.SQL("GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {}").format(
                    sql.Identifier(role)
                )
            )
        if SEALER in roles:
            _grant_calls(cursor)


def _columns(cursor: Any, table: str, *, but: frozenset[str]) -> str:
    held = cursor.db.introspection.get_table_description(cursor, table)
    return ", ".join(f'"{column.name}"' for column in held if column.name not in but)


def _grant_calls(cursor: Any) -> None:
    for signature in sorted(_sealer_calls):
        cursor.execute("SELECT to_regprocedure(%s) IS NOT NULL", [signature])
        if cursor.fetchone()[0]:
            cursor.execute(f"GRANT EXECUTE ON FUNCTION {signature} TO {SEALER}")


_SECRET_TABLES = {"django_session", "jitportal_cache", "account_emailconfirmation"}
