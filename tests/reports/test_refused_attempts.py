"""Refused attempts to decide against independent SQL, and in a request's trail."""

import json

import pytest

from approvals.domain.refusals import NotAllowed
from approvals.models import AccessRequest, User
from approvals.reports import trails
from tests.reports.test_counts import another, figures, filters, rows, sql
from tests.world import World


def try_in_vain(world: World, who: User, request: AccessRequest, why: str) -> None:
    with pytest.raises(NotAllowed):
        world.decide(who, request, comment=why)


@pytest.fixture
def tried(world: World) -> AccessRequest:
    """Alice tries twice on her own, bob votes twice, mallory was never asked; gina waits."""
    request = world.ask()
    world.ask(by=another(world, "gina"))
    try_in_vain(world, world.alice, request, "Urgent.")
    try_in_vain(world, world.alice, request, "Very urgent.")
    try_in_vain(world, world.mallory, request, "Why not?")
    world.decide(world.bob, request)
    try_in_vain(world, world.bob, request, "And once more.")
    world.decide(world.carol, request, "deny")
    return request


def test_each_attempt_is_a_row(tried: AccessRequest) -> None:
    found = rows("refused-attempts")
    keys = ("request_id", "who", "number", "code", "reason")
    assert sorted(tuple(row[key] for key in keys) for row in found) == sorted(
        sql(
            "SELECT t.request_id::text, u.name, t.number, t.code, t.comment"
            " FROM approvals_refusedattempt t JOIN approvals_user u ON u.id = t.actor_id"
        )
    )
    assert len(found) == 4
    assert {row["decided_by"] for row in found} == {"Bob (approve), Carol (deny)"}
    assert {row["state"] for row in found} == {"denied"}
    assert figures("refused-attempts") == {
        "On their own access": "2", "A second vote": "1", "Not asked, or not any more": "1",
    }  # fmt: skip


def test_it_is_found_by_person_and_resource(tried: AccessRequest, world: World) -> None:
    assert len(rows("refused-attempts", filters(person_id=world.mallory.pk))) == 1
    assert len(rows("refused-attempts", filters(person_id=world.alice.pk))) == 4
    assert len(rows("refused-attempts", filters(resource_id=world.resource.pk))) == 4
    assert rows("refused-attempts", filters(resource_id=world.resource.pk + 1_000)) == []


def test_the_trail_has_them(tried: AccessRequest) -> None:
    trail = trails.load(tried.request_id)
    text = trails.as_text(trail, zone=filters().zone)
    assert "Alice: Refused to approve" in text
    assert "Very urgent." in text
    told = json.loads(trails.as_json(trail))
    assert [row["code"] for row in told["refused_attempts"]] == [
        "self_decision", "self_decision", "not_an_approver", "already_voted",
    ]  # fmt: skip
