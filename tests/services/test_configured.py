"""Configuration that was changed past its history is named, by the next verification."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from approvals.models import Group, Membership, Policy, PublicKey, User
from approvals.selectors import clock
from approvals.services import configured, preferences
from audit.services import erasing
from jitportal.embedded import roles
from tests.audit.sealer import new_signer, seal
from tests.audit.tampering import look, superuser, tamper
from tests.audit.test_erasing import NAME, agree, carry_out, write_everywhere
from tests.conftest import as_role
from tests.world import World

pytestmark = pytest.mark.django_db(transaction=True)
NOW = datetime(2026, 7, 1, tzinfo=UTC)


def found() -> list[str]:
    return list(configured.differences(now=NOW))


def as_app(statement: str, *parameters: Any) -> None:
    """Run a statement with what the web's database account may do."""
    with as_role(roles.APP) as raw:
        assert raw.execute(statement, parameters).rowcount == 1


def test_what_the_portal_does_leaves_no_difference(world: World) -> None:
    world.active()
    key = PublicKey.objects.create(person=world.alice, text="ssh-ed25519 AAAA", fingerprint="f")
    key.delete()
    world.bob.set_password("correct horse battery")
    world.bob.save()
    Membership.objects.filter(person=world.carol).delete()
    assert found() == []
    seal(new_signer())
    assert look().ok


def test_a_policy_that_was_changed_past_its_history_is_named(world: World) -> None:
    seal(new_signer())
    policy = Policy.objects.get(name="orders-read-write")
    as_app(
        "UPDATE approvals_policy SET document = '{\"rules\": []}', description = 'x' WHERE id = %s",
        policy.pk,
    )
    report = look()
    assert [(each.kind, each.what) for each in report.problems] == [
        ("index", f"Policy no. {policy.pk}: description, document not as in the newest row of its"
         " history")
    ]  # fmt: skip


def test_a_row_that_came_or_went_past_its_history_is_named(world: World) -> None:
    group = Group.objects.get(name="operators")
    as_app(
        "INSERT INTO approvals_membership (person_id, group_id) VALUES (%s, %s)",
        world.mallory.pk, group.pk,
    )  # fmt: skip
    made = Membership.objects.get(person=world.mallory, group=group)
    assert found() == [f"Membership no. {made.pk}: is there, and has no history"]
    made.delete()
    assert found() == []
    as_app(
        "INSERT INTO approvals_membership (id, person_id, group_id) VALUES (%s, %s, %s)",
        removed := Membership.history.latest("history_id").id, world.mallory.pk, group.pk,
    )  # fmt: skip
    words = "is there, and its history says that it was removed"
    assert found() == [f"Membership no. {removed}: {words}"]
    Membership.objects.filter(pk=removed).delete()
    gone = Membership.objects.get(person=world.dora).pk
    as_app("DELETE FROM approvals_membership WHERE id = %s", gone)
    words = "is gone, and its history doesn't say that it was removed"
    assert found() == [f"Membership no. {gone}: {words}"]


@pytest.mark.parametrize(
    ("table", "change", "says"),
    [
        ("user", "is_active = false WHERE username = 'bob'", "Person no. {}: is_active"),
        ("group", "role = 'operator' WHERE name = 'eng'", "Group no. {}: role"),
        ("membership", "granted_by = gen_random_uuid()", "Membership no. {}: granted_by"),
        ("resource", "settings = '{\"x\": 1}'", "Resource no. {}: settings"),
        ("entitlement", "policy_id = NULL WHERE name = 'owner'", "Entitlement no. {}: policy_id"),
        ("publickey", "text = 'ssh-ed25519 BBBB'", "SSH key no. {}: text"),
    ],
)
def test_each_kind_is_compared(world: World, table: str, change: str, says: str) -> None:
    PublicKey.objects.create(person=world.alice, text="ssh-ed25519 AAAA", fingerprint="f")
    with as_role(roles.APP) as raw:
        keys = raw.execute(f"UPDATE approvals_{table} SET {change} RETURNING id").fetchall()
    assert keys
    rest = " not as in the newest row of its history"
    assert found() == [says.format(key) + rest for (key,) in sorted(keys)]


def test_versions_from_before_a_column_say_what_rows_got_with_it(world: World) -> None:
    tamper("UPDATE approvals_historicalresource SET drift_policy = NULL")
    assert found() == []
    as_app("UPDATE approvals_resource SET drift_policy = 'report'")
    assert found() == [
        f"Resource no. {world.resource.pk}: drift_policy not as in the newest row of its history"
    ]


def test_what_an_erasure_took_from_the_history_alone_is_no_difference(world: World) -> None:
    """A field is erased in all revisions of its object, and the row of today names nobody."""
    write_everywhere(world)
    group = Group.objects.get(name="data")
    group.title = f"The team of {NAME}"
    group.save()
    group.title = "Data owners"
    group.save()
    signer = new_signer()
    seal(signer)
    erasing._not_before.clear()
    agree(world)
    seal(signer)
    assert carry_out() == 1
    seal(signer)
    assert group.history.latest("history_id").title == "[erased]"
    assert found() == []
    report = look()
    assert report.ok, [*report.as_text()]
    as_app("UPDATE approvals_group SET role = 'operator' WHERE id = %s", group.pk)
    assert found() == [f"Group no. {group.pk}: role not as in the newest row of its history"]


def test_a_timezone_is_chosen_beside_what_somebody_else_changed(world: World) -> None:
    """The history's row holds all of the person, not what the page had read before."""
    stale = User.objects.get(pk=world.alice.pk)
    world.alice.title = "Something else"
    world.alice.save()
    preferences.set_timezone(actor=stale, name="Europe/Berlin")
    assert found() == []
    assert User.objects.get(pk=world.alice.pk).title == "Something else"


def test_a_company_of_ten_thousand_takes_one_query_for_each_kind(world: World) -> None:
    with superuser() as raw:
        raw.execute(
            "INSERT INTO approvals_user (password, uid, username, email, name, title, timezone,"
            " is_active, created_at) SELECT '!', gen_random_uuid(), 'p' || n, 'p' || n || '@x.y',"
            " 'P', '', '', true, now() FROM generate_series(1, 10000) n"
        )
        for _ in range(3):
            raw.execute(
                "INSERT INTO approvals_historicaluser (id, uid, username, email, name, title,"
                " timezone, is_active, created_at, manager_id, history_date, history_type)"
                " SELECT id, uid, username, email, name, title, timezone, is_active, created_at,"
                " manager_id, now(), '~' FROM approvals_user WHERE password = '!'"
            )
    began = clock.now()
    with CaptureQueriesContext(connection) as queries:
        assert found() == []
    assert len(queries) == 8
    assert (clock.now() - began).total_seconds() < 5
