"""Deciding on several requests at once: every decision is a transaction of its own."""

import uuid
from datetime import datetime
from typing import Any

import pytest

from approvals.domain.refusals import Invalid
from approvals.models import Decision, Group, Membership
from approvals.selectors import clock
from approvals.services import bulk
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
