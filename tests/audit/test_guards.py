"""Records can't be changed: not through the ORM, not in SQL, not as app, not as owner."""

from collections.abc import Callable

import psycopg
import pytest
from django.apps import apps
from django.db import DatabaseError, IntegrityError, connection, models, transaction

from approvals.models import AccessRequest, Decision, GrantEvent, Notice, Policy
from audit.models import MutationBlocked
from audit.models.guards import record_models
from jitportal.embedded import roles
from tests.conftest import as_role
from tests.world import World

RECORDS = sorted(model._meta.db_table for model in record_models())
REFUSED = (
    psycopg.errors.InsufficientPrivilege,
    psycopg.errors.RestrictViolation,
    psycopg.errors.GeneratedAlways,
)
STATEMENTS = {
    "update": "UPDATE {table} SET {column} = {column}",
    "update of no row": "UPDATE {table} SET {column} = {column} WHERE false",
    "delete": "DELETE FROM {table}",
    "truncate": "TRUNCATE {table} CASCADE",
    "merge": (
        "MERGE INTO {table} t USING (SELECT {column} FROM {table}) s ON t.{column} = s.{column}"
        " WHEN MATCHED THEN DELETE"
    ),
    "upsert": (
        "INSERT INTO {table} SELECT * FROM {table}"
        " ON CONFLICT ({column}) DO UPDATE SET {column} = excluded.{column}"
    ),
}


def test_there_are_records_to_guard() -> None:
    assert "approvals_accessrequest" in RECORDS
    assert "approvals_historicalpolicy" in RECORDS
    assert len(RECORDS) >= 23


@pytest.mark.django_db
@pytest.mark.parametrize("role", [roles.APP, roles.OWNER, "superuser"])
@pytest.mark.parametrize("name", STATEMENTS)
@pytest.mark.parametrize("table", RECORDS)
def test_sql_can_not_change_a_record(role: str, name: str, table: str) -> None:
    model = next(m for m in apps.get_models() if m._meta.db_table == table)
    statement = STATEMENTS[name].format(table=table, column=model._meta.pk.column)
    with as_role(role) as raw, pytest.raises(REFUSED):
        raw.execute(statement)


@pytest.mark.django_db
@pytest.mark.parametrize("table", RECORDS)
def test_replica_mode_does_not_walk_past_the_guards(table: str) -> None:
    with as_role("superuser") as raw:
        raw.execute("SET session_replication_role = replica")
        with pytest.raises(psycopg.errors.RestrictViolation):
            raw.execute(f"DELETE FROM {table}")


@pytest.mark.django_db
def test_every_table_has_the_rights_that_its_kind_needs() -> None:
    """Nothing that a later migration adds can be forgotten."""
    models_ = [m for m in apps.get_models(include_auto_created=True) if m._meta.managed]
    with connection.cursor() as cursor:
        for model in models_:
            table = model._meta.db_table
            cursor.execute(
                "SELECT has_table_privilege(%s, %s, 'SELECT'),"
                " has_any_column_privilege(%s, %s, 'INSERT'),"
                " has_any_column_privilege(%s, %s, 'UPDATE'),"
                " has_table_privilege(%s, %s, 'DELETE'),"
                " has_table_privilege(%s, %s, 'TRUNCATE'),"
                " has_any_column_privilege(%s, %s, 'INSERT')",
                [roles.APP, table] * 5 + [roles.AUDITOR, table],
            )
            inserts = getattr(model, "app_may_write", True)
            changes = inserts and table not in RECORDS
            assert cursor.fetchone() == (True, inserts, changes, changes, False, False), table


GIVEN_BY_THE_DATABASE = [
    (model._meta.db_table, field.column)
    for model in record_models()
    for field in model._meta.concrete_fields
    if isinstance(field, models.AutoField)
    or (field.column == "recorded_at" and not hasattr(model, "history_id"))
]


@pytest.mark.django_db
@pytest.mark.parametrize(("table", "column"), GIVEN_BY_THE_DATABASE)
def test_the_application_gives_no_record_its_id_or_time(table: str, column: str) -> None:
    """Else a record could wait where a later one will stand, and be the newest until then."""
    with as_role(roles.APP) as raw, pytest.raises(psycopg.errors.InsufficientPrivilege):
        raw.execute(f"INSERT INTO {table} ({column}) VALUES (DEFAULT)")


@pytest.mark.django_db
def test_the_auditor_reads_people_but_no_password_hashes() -> None:
    with as_role(roles.AUDITOR) as raw:
        raw.execute("SELECT username, is_active FROM approvals_user")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            raw.execute("SELECT password FROM approvals_user")


ORM_ROUTES: dict[str, Callable[[AccessRequest], object]] = {
    "save": lambda row: row.save(),
    "save update_fields": lambda row: row.save(update_fields=["reason"]),
    "delete": lambda row: row.delete(),
    "update": lambda row: AccessRequest.objects.update(reason="x"),
    "filtered update": lambda row: AccessRequest.objects.filter(pk=row.pk).update(reason="x"),
    "queryset delete": lambda row: AccessRequest.objects.filter(pk=row.pk).delete(),
    "raw delete": lambda row: AccessRequest.objects.filter(pk=row.pk)._raw_delete("default"),
    "base manager": lambda row: AccessRequest._base_manager.filter(pk=row.pk).update(reason="x"),
    "bulk_update": lambda row: AccessRequest.objects.bulk_update([row], ["reason"]),
    "update_or_create": lambda row: AccessRequest.objects.update_or_create(
        {"reason": "x"}, pk=row.pk
    ),
    "bulk upsert": lambda row: AccessRequest.objects.bulk_create(
        [row], update_conflicts=True, update_fields=["reason"], unique_fields=["id"]
    ),
    "bulk ignore": lambda row: AccessRequest.objects.bulk_create([row], ignore_conflicts=True),
}


@pytest.mark.parametrize("route", ORM_ROUTES)
def test_the_orm_refuses_every_change(world: World, route: str) -> None:
    row = world.ask()
    row.reason = "something else"
    with pytest.raises(MutationBlocked, match=r"revise\(\)"):
        ORM_ROUTES[route](row)
    assert world.newest(row).reason == "Reprocess stuck refunds."


def test_a_row_that_pretends_to_be_new_does_not_replace_one(world: World) -> None:
    row = world.ask()
    copy = AccessRequest.objects.get(pk=row.pk)
    copy._state.adding = True
    copy.reason = "something else"
    with pytest.raises(IntegrityError), transaction.atomic():
        copy.save()
    with pytest.raises(DatabaseError), transaction.atomic():
        models.Model.save_base(row, force_update=True)


def test_the_history_of_configuration_can_not_be_changed(world: World) -> None:
    policy = Policy.objects.get(name="orders-read-write")
    row = policy.history.latest()
    row.name = "something-else"
    routes: list[Callable[[], object]] = [
        row.save,
        row.delete,
        policy.history.all().delete,
        lambda: policy.history.update(name="x"),
    ]
    for route in routes:
        with pytest.raises(DatabaseError, match="permission denied"), transaction.atomic():
            route()
    assert policy.history.latest().name == "orders-read-write"


@pytest.mark.parametrize("model", [AccessRequest, Decision, GrantEvent, Notice])
def test_the_database_sets_when_a_record_was_recorded(
    world: World, model: type[models.Model]
) -> None:
    world.ended()
    Notice.objects.create(
        kind="x", channel="email", recipient=world.bob, once_key="k", occurred_at="2001-01-01T00:00Z",
        recorded_at="2001-01-01T00:00Z",
    )  # fmt: skip
    rows = model._default_manager.all()
    assert rows
    assert all(row.recorded_at.year > 2001 for row in rows)  # type: ignore[attr-defined]
