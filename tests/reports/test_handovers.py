"""Delegations and escalations against independent SQL: who gave what to whom, and what came of it."""

import json

import pytest

from approvals.models import AccessRequest, User
from approvals.reports import registry, trails
from approvals.selectors import clock
from approvals.services import escalation, passing
from tests.reports.test_counts import another, figures, filters, rows, sql
from tests.world import World


def pass_on(world: World, request: AccessRequest, who: User, to: User, why: str) -> None:
    passing.hand_over(
        actor=who, request_id=request.request_id, to=to, comment=why,
        seen_revision=world.newest(request).revision, now=clock.now(),
    )  # fmt: skip


@pytest.fixture
def history(world: World) -> dict[str, AccessRequest]:
    """One decided by the second taker, one given back, one that waits, one that escalated."""
    passed, returned, waits, moved, plain = (
        world.ask(by=another(world, name)) for name in ("frank", "gina", "hank", "ivy", "jo")
    )
    pass_on(world, passed, world.bob, world.dora, "In a meeting.")
    pass_on(world, passed, world.dora, world.mallory, "Not mine.")
    world.decide(world.mallory, passed)
    world.decide(world.carol, passed)
    pass_on(world, returned, world.bob, world.dora, "Away.")
    pass_on(world, returned, world.dora, world.bob, "You know it better.")
    world.decide(world.bob, returned, "deny")
    pass_on(world, waits, world.bob, world.dora, "Away.")
    assert moved.due_at is not None
    escalation.advance(moved.request_id, now=moved.due_at)
    world.decide(world.erin, moved, now=moved.due_at)
    world.decide(world.bob, plain)
    return {"passed": passed, "returned": returned, "waits": waits, "moved": moved, "plain": plain}


def test_each_handover_and_each_escalation_is_a_row(history: dict[str, AccessRequest]) -> None:
    found = rows("handovers")
    handed = [row for row in found if row["what"] == "handed over"]
    expected = sql(
        "SELECT h.request_id::text, h.number, (SELECT u.name FROM approvals_user u"
        " WHERE u.id = h.giver_id), (SELECT u.name FROM approvals_user u WHERE u.id = h.taker_id),"
        " h.comment FROM approvals_requesthandover h"
    )
    keys = ("request_id", "handover_number", "from", "to", "why")
    assert sorted(tuple(row[key] for key in keys) for row in handed) == sorted(expected)
    moved = [row for row in found if row["what"] == "escalated"]
    assert [(row["request_id"],) for row in moved] == sql(
        "SELECT request_id::text FROM approvals_accessrequest WHERE event = 'escalated'"
    )
    assert [(row["from"], row["to"], row["level_name"]) for row in moved] == [
        ("Bob", "Erin", "Manager")
    ]
    assert figures("handovers") == {"Handed over": "5", "Escalated": "1"}


def test_a_row_says_who_decided_in_that_place(history: dict[str, AccessRequest]) -> None:
    found = rows("handovers")
    came = {
        (row["request_id"], row["to"]): (row["place_of"], row["decided_by"], row["verdict"])
        for row in found
    }
    key = {name: str(request.request_id) for name, request in history.items()}
    assert came == {
        (key["passed"], "Dora"): ("Bob", "Mallory", "approve"),
        (key["passed"], "Mallory"): ("Bob", "Mallory", "approve"),
        (key["returned"], "Dora"): ("Bob", "Bob", "deny"),
        (key["returned"], "Bob"): ("Bob", "Bob", "deny"),
        (key["waits"], "Dora"): ("Bob", "", ""),
        (key["moved"], "Erin"): ("", "Erin", "approve"),
    }


def test_it_is_found_by_person_and_resource(
    history: dict[str, AccessRequest], world: World
) -> None:
    assert len(rows("handovers", filters(person_id=world.mallory.pk))) == 1
    assert len(rows("handovers", filters(person_id=world.bob.pk))) == 5
    assert len(rows("handovers", filters(resource_id=world.resource.pk))) == 6
    assert rows("handovers", filters(resource_id=world.resource.pk + 1_000)) == []
    report, wide = registry.report("handovers"), filters()
    first = report.page(wide, after=None, limit=4)
    rest = report.page(wide, after=first[-1].cursor, limit=4)
    assert (len(first), len(rest)) == (4, 2)


def test_decisions_say_in_whose_place_they_were_made(history: dict[str, AccessRequest]) -> None:
    found = {
        (row["request_id"], row["approver"]): row["handed_over_by"]
        for row in rows("approval-decisions")
    }
    key = {name: str(request.request_id) for name, request in history.items()}
    assert found == {
        (key["passed"], "Mallory"): "Bob",
        (key["passed"], "Carol"): "",
        (key["returned"], "Bob"): "",
        (key["moved"], "Erin"): "",
        (key["plain"], "Bob"): "",
    }


def test_the_trail_has_them(history: dict[str, AccessRequest]) -> None:
    trail = trails.load(history["passed"].request_id)
    text = trails.as_text(trail, zone=filters().zone)
    assert "Bob: Handed over Manager to Dora" in text
    assert "Dora: Handed over Manager to Mallory, the place of Bob" in text
    assert "Mallory for Bob: Approved" in text
    assert "Carol: Approved" in text
    told = json.loads(trails.as_json(trail))
    assert [row["comment"] for row in told["handovers"]] == ["In a meeting.", "Not mine."]
