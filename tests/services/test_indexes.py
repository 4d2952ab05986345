"""`indexes`: sees every difference between the records and the indexes, and mends what it may."""

from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO

import pytest
from django.core.management import call_command

from approvals.models import Asked, CurrentRequest
from jitportal.embedded import roles
from tests.conftest import as_role, connect_as
from tests.world import World

pytestmark = pytest.mark.django_db(transaction=True)


def indexes(*options: str) -> tuple[int, str]:
    """Run the command; return its exit status and what it said."""
    out = StringIO()
    try:
        call_command("indexes", *options, stdout=out, stderr=out)
    except SystemExit as left:
        assert isinstance(left.code, int)
        return left.code, out.getvalue()
    return 0, out.getvalue()


def tamper(*statements: str) -> None:
    """Do what only a superuser can who lifts the guards."""
    table = "approvals_accessrequest"
    with as_role("superuser") as raw:
        guards = raw.execute(
            "SELECT tgname FROM pg_trigger WHERE tgenabled = 'A' AND NOT tgisinternal"
            " AND tgrelid = to_regclass(%s)",
            [table],
        ).fetchall()
        raw.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        for statement in statements:
            raw.execute(statement)
        raw.commit()  # checks of foreign keys would be pending otherwise
        raw.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")
        for (name,) in guards:
            raw.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name}")


@contextmanager
def as_owner() -> Iterator[None]:
    connect_as(roles.OWNER)
    try:
        yield
    finally:
        connect_as(roles.APP)


def test_all_is_well(world: World) -> None:
    world.approved()
    world.ask(what=world.own, ticket="OPS-1")
    assert indexes() == (0, "No differences.\n")


def test_a_wrong_pointer_is_named_column_by_column(world: World) -> None:
    request = world.ask()
    tamper("UPDATE approvals_currentrequest SET state = 'active', revision = 9")
    status, said = indexes()
    assert status == 1
    assert f"{request.reference} ({request.request_id}): the pointer's state is active" in said
    assert "the pointer's revision is 9, should be 1" in said


def test_a_missing_and_a_dangling_pointer_are_named(world: World) -> None:
    first = world.ask()
    second = world.ask(what=world.own, ticket="OPS-1")
    tamper(
        f"DELETE FROM approvals_currentrequest WHERE request_id = '{first.request_id}'",
        "UPDATE approvals_currentrequest SET request_id = 'ffffffff-ffff-4fff-bfff-ffffffffffff'",
    )
    status, said = indexes()
    assert status == 1
    assert f"({first.request_id}): has no pointer" in said
    assert f"({second.request_id}): has no pointer" in said
    assert "(ffffffff-ffff-4fff-bfff-ffffffffffff): the pointer names a request without" in said


def test_a_rehashed_revision_breaks_the_next(world: World) -> None:
    request = world.approved()
    tamper("UPDATE approvals_accessrequest SET hash = sha256('x') WHERE revision = 1")
    said = indexes()[1]
    assert f"({request.request_id}) revision 2: does not commit to the one before" in said


def test_a_gap_is_named(world: World) -> None:
    request = world.approved()
    tamper("DELETE FROM approvals_accessrequest WHERE revision = 2")
    status, said = indexes()
    assert status == 1
    assert f"({request.request_id}) revision 3: follows 1, so there is a gap" in said


def test_who_is_asked_is_compared_and_mended_by_the_app(world: World) -> None:
    request = world.ask()
    Asked.objects.filter(request_id=request.request_id).update(person=world.mallory)
    status, said = indexes()
    assert status == 1
    assert f"{request.request_id}: asked are [{world.mallory.pk}]" in said
    status, said = indexes("--rebuild")
    assert status == 0
    assert "jitportal_app may not write the pointer" in said
    assert "1 pending requests" in said
    assert Asked.objects.get(request_id=request.request_id).person == world.bob


def test_the_owner_mends_the_pointer(world: World) -> None:
    request = world.approved()
    tamper("UPDATE approvals_currentrequest SET state = 'active'")
    assert indexes("--rebuild")[0] == 1
    with as_owner():
        status, said = indexes("--rebuild")
    assert status == 0
    assert "The pointer was made anew: 1 requests." in said
    assert CurrentRequest.objects.get(request_id=request.request_id).state == "approved"
