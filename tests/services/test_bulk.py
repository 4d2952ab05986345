"""Deciding on several requests at once: every decision is a transaction of its own."""

import uuid
from datetime import datetime
from typing import Any

import pytest

from approvals.domain.refusals import Invalid
from approvals.models import Decision, Group, Membership
from approvals.selectors import clock, sentences
from approvals.services import bulk
from audit.domain import entries
from audit.models import Entry
from tests.world import World, build


@pytest.mark.django_db(transaction=True)
def test_what_breaks_later_takes_back_nothing(noop: Any) -> None:
    world = build(now=clock.now())
    Membership.objects.create(person=world.mallory, group=Group.objects.get(name="eng"))
    first, second = world.ask(), world.ask(by=world.mallory)
    asked: list[datetime] = []

    def broken() -> datetime:
        if asked:
            raise RuntimeError("the lights went out")
        asked.append(clock.now())
        return asked[0]

    seen = [bulk.Seen(row.request_id, row.revision) for row in (first, second)]
    with pytest.raises(RuntimeError):
        bulk.decide(actor=world.bob, seen=seen, verdict="approve", comment="", clock=broken)
    assert list(Decision.objects.values_list("request_id", flat=True)) == [first.request_id]


def test_none_and_too_many_are_refused(world: World) -> None:
    row = world.ask()
    many = [bulk.Seen(uuid.UUID(int=number), 1) for number in range(bulk.MOST)]
    for seen in ([], [bulk.Seen(row.request_id, 1), *many]):
        with pytest.raises(Invalid):
            bulk.decide(actor=world.bob, seen=seen, verdict="approve", comment="", clock=clock.now)
    assert not Decision.objects.exists()


def test_each_decision_says_and_seals_of_how_many_it_was_one(world: World) -> None:
    Membership.objects.create(person=world.mallory, group=Group.objects.get(name="eng"))
    rows = [world.ask(), world.ask(by=world.mallory)]
    seen = [bulk.Seen(row.request_id, row.revision) for row in rows]
    bulk.decide(actor=world.bob, seen=seen, verdict="approve", comment="", clock=clock.now)
    world.decide(world.carol, rows[0])
    assert list(Decision.objects.order_by("id").values_list("together", flat=True)) == [2, 2, 1]
    for entry in Entry.objects.filter(model="decision"):
        assert "together" in entries.read(bytes(entry.data)).fields
    text = sentences.decided(Decision.objects.earliest("id")).detail
    assert text == "saw revision 1 · one of 2 at one stroke"


def test_a_decision_from_before_that_was_recorded_is_whole(world: World) -> None:
    """As a row from before the column: its entry names none, and it says the same as the row."""
    row = world.ask()
    earlier = Decision(
        request_id=row.request_id, revision=2, seen_revision=1, level=1, level_name="Manager",
        actor=world.bob, actor_name="Bob", verdict="approve", occurred_at=clock.now(),
    )  # fmt: skip
    earlier.save()
    entry = Entry.objects.get(model="decision")
    assert "together" not in entries.read(bytes(entry.data)).fields
    assert "together" not in Decision.objects.get().said().values
    assert sentences.decided(earlier).detail == "saw revision 1"
