"""Everything of one person ends at once: what is active, and what would become so."""

import pytest

from approvals import handlers
from approvals.domain.refusals import Invalid, NotAllowed
from approvals.models import AccessRequest, OutboxItem
from approvals.selectors import clock
from approvals.services import grants
from tests.connectors.noop import Noop
from tests.world import World, notices


@pytest.fixture
def held(world: World) -> list[AccessRequest]:
    """Two active ones, an extension that waits, and one that is pending; and dan's."""
    first = world.ask(what=world.read)
    second = world.approved()
    world.ask(what=world.read, by=world.dan)
    handlers.work("provisioning")
    rows = [first, second, world.ask(what=world.read, extends=first.request_id)]
    return [*rows, world.ask(what=world.own, ticket="INC-1")]


@pytest.mark.parametrize("who", ["dora", "admin"])
def test_all_of_it_ends_and_nobody_elses(
    world: World, noop: Noop, held: list[AccessRequest], who: str
) -> None:
    actor = getattr(world, who)
    found = grants.end_all(person=world.alice, actor=actor, reason=" Incident 7 ", now=clock.now())
    assert {row.request_id for row in found.ended} == {row.request_id for row in held[:2]}
    assert {row.request_id for row in found.cancelled} == {row.request_id for row in held[2:]}
    handlers.work("provisioning")
    assert [world.newest(row).state for row in held] == ["revoked"] * 2 + ["cancelled"] * 2
    assert noop.held() == {("dan", "read")}
    rows = AccessRequest.objects.filter(event__in=["ended", "cancelled"])
    assert {(row.actor, row.comment) for row in rows} == {(actor, "Incident 7")}
    assert {row.end_reason for row in found.ended} == {"revoked"}
    assert not OutboxItem.objects.filter(topic__startswith="grant.").exists()
    assert ("ended", world.alice.pk) in notices()


@pytest.mark.parametrize("who", ["alice", "bob", "carol", "mallory"])
def test_others_may_not(world: World, held: list[AccessRequest], who: str) -> None:
    with pytest.raises(NotAllowed):
        grants.end_all(person=world.alice, actor=getattr(world, who), reason="x", now=clock.now())
    assert world.newest(held[0]).state == "active"


@pytest.mark.parametrize("reason", ["", "  ", "a\0b", "x" * 2_001])
def test_without_a_reason_nothing_ends(
    world: World, held: list[AccessRequest], reason: str
) -> None:
    with pytest.raises(Invalid):
        grants.end_all(person=world.alice, actor=world.admin, reason=reason, now=clock.now())
    assert world.newest(held[0]).state == "active"


def test_who_has_nothing_loses_nothing(world: World) -> None:
    found = grants.end_all(person=world.bob, actor=world.admin, reason="x", now=clock.now())
    assert found == ((), ())
