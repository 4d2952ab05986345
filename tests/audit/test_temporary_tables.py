"""A temporary table or type stands in for none that a guard of the database means."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

import psycopg
import pytest
from django.db import connection

from approvals.models import Decision
from audit.domain import entries
from audit.models.guards import UNPINNED, pin_search_path
from jitportal.embedded import roles
from tests.audit.sealer import new_signer, seal
from tests.audit.tampering import look
from tests.conftest import as_role
from tests.world import World

pytestmark = pytest.mark.django_db(transaction=True)

OURS = """
SELECT proname, prosecdef, coalesce((
    SELECT setting FROM unnest(proconfig) setting WHERE setting LIKE 'search_path=%'
  ), '') FROM pg_proc WHERE pronamespace = 'public'::regnamespace
"""
ERASES = b'{"fields":{"reason":""},"type":"erase","v":1}'


@pytest.fixture
def anybody_makes_them() -> Iterator[None]:
    """Every role may make temporary tables, as in a database that nobody took it from."""
    name = connection.settings_dict["NAME"]
    with as_role("superuser") as raw:
        raw.execute(f'GRANT TEMPORARY ON DATABASE "{name}" TO PUBLIC')
    yield
    with as_role("superuser") as raw:
        raw.execute(f'REVOKE TEMPORARY ON DATABASE "{name}" FROM PUBLIC')


def test_every_function_looks_at_temporary_objects_last() -> None:
    with as_role(roles.OWNER) as raw:
        found = raw.execute(OURS).fetchall()
    assert len(found) > 25
    for name, with_owners_rights, path in found:
        if name in UNPINNED:
            assert (path, with_owners_rights) == ("", False), name
        else:
            assert path == "search_path=pg_catalog, public, pg_temp", name


def test_a_database_from_before_is_brought_to_the_same() -> None:
    module = import_module("audit.migrations.0012_search_path")
    shown = "SELECT proname, pg_get_functiondef(oid) FROM pg_proc WHERE proname = ANY (%s)"
    names = ["approvals_point", "audit_erase", "audit_stamp_entry", "audit_is_erasure"]
    with as_role(roles.OWNER) as raw:
        now = dict(raw.execute(shown, [names]).fetchall())
        for name in names:
            before = (
                now[name]
                .replace("TO 'pg_catalog', 'public', 'pg_temp'", "TO 'pg_catalog', 'public'")
                .replace(" pg_catalog.text", " text")
                .replace("::pg_catalog.bytea", "::bytea")
            )
            assert before != now[name]
            raw.execute(before.encode())
        assert dict(raw.execute(shown, [names]).fetchall()) != now
        raw.execute(module.QUALIFY)
        raw.execute(str(pin_search_path("audit_").sql).encode())
        raw.execute(str(pin_search_path("approvals_").sql).encode())
        assert dict(raw.execute(shown, [names]).fetchall()) == now
        raw.rollback()


@pytest.mark.parametrize("domain", ["text AS name", "bytea AS bytea CHECK (false)"])
def test_the_types_that_a_new_entry_is_looked_at_with_are_the_systems(
    domain: str, anybody_makes_them: None
) -> None:
    """As a name, of which 63 characters count, what comes behind them would not be looked at."""
    made = entries.Entry(
        model="policy", id="7", rev=1, prev="", op="changed_by_somebody_else",
        actor=entries.SYSTEM, at="2026-07-22T16:23:02.000000Z",
    ).encode()  # fmt: skip
    assert len(made.partition(b'"op":"')[2]) == 63
    with as_role(roles.APP) as raw:
        raw.execute(f"CREATE DOMAIN pg_temp.{domain}")
        insert = "INSERT INTO audit_entry (model, object_id, data) VALUES (%s, %s, %s)"
        with pytest.raises(psycopg.errors.CheckViolation, match="are no entry"):
            raw.execute(insert, ["policy", "7", made + b" and more"])
        raw.rollback()


def test_the_owners_temporary_log_erases_nothing(world: World) -> None:
    world.ended()
    seal(new_signer())
    with as_role(roles.OWNER) as raw:
        raw.execute(
            "CREATE TEMP TABLE audit_entry"
            " (xid xid8, model text, object_id text, data bytea, id bigint)"
        )
        raw.execute("CREATE TEMP TABLE audit_leaf (entry_id bigint)")
        raw.execute(
            "INSERT INTO pg_temp.audit_entry SELECT pg_current_xact_id(), 'request',"
            " request_id::text, %s, 1 FROM public.approvals_accessrequest",
            [ERASES],
        )
        with pytest.raises(psycopg.errors.RestrictViolation):
            raw.execute("UPDATE public.approvals_accessrequest SET reason = '[erased]'")
        raw.rollback()
    assert look().ok


def test_the_apps_temporary_pointer_runs_nothing_as_the_owner(
    world: World, anybody_makes_them: None
) -> None:
    world.ended()
    before = Decision.objects.count()
    assert before
    with as_role(roles.APP) as raw:
        raw.execute(
            "CREATE TEMP TABLE approvals_currentrequest (LIKE public.approvals_currentrequest)"
        )
        raw.execute("GRANT ALL ON pg_temp.approvals_currentrequest TO PUBLIC")
        raw.execute(
            "CREATE FUNCTION pg_temp.evil() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " ALTER TABLE public.approvals_decision DISABLE TRIGGER USER;"
            " DELETE FROM public.approvals_decision; RETURN NEW; END $$"
        )
        raw.execute(
            "CREATE TRIGGER evil BEFORE INSERT ON pg_temp.approvals_currentrequest"
            " FOR EACH ROW EXECUTE FUNCTION pg_temp.evil()"
        )
        columns = ", ".join(
            f'"{name}"'
            for (name,) in raw.execute(
                "SELECT column_name FROM information_schema.columns"
                " WHERE table_schema = 'public' AND table_name = 'approvals_accessrequest'"
                " AND column_name NOT IN ('id', 'recorded_at', 'request_id')"
            )
        )
        raw.execute(
            f"INSERT INTO public.approvals_accessrequest (request_id, {columns})"
            f" SELECT gen_random_uuid(), {columns} FROM public.approvals_accessrequest"
            " WHERE revision = 1 LIMIT 1"
        )
        assert raw.execute("SELECT FROM pg_temp.approvals_currentrequest").fetchall() == []
    assert Decision.objects.count() == before
