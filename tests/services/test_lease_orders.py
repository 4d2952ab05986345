"""Hypothesis looks for an order of grants, ends and failures that loses access or leaves it."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from approvals import handlers
from approvals.domain.refusals import NotFound, Refusal
from approvals.models import AccessRequest, CurrentRequest, Entitlement, Resource
from approvals.selectors import clock
from approvals.selectors import requests as reads
from approvals.services import checking, grants, requests
from tests.connectors.noop import Noop
from tests.world import World

SAME = {"name": "shared"}
HELD = ("alice", "shared")

which = st.integers(0, 1)
step = st.one_of(
    st.tuples(st.just("ask"), which, st.integers(1, 3)),
    st.tuples(st.just("extend"), which, st.integers(1, 3)),
    st.tuples(st.just("end"), which),
    st.tuples(st.just("cancel"), which),
    st.tuples(st.just("pass"), st.integers(1, 100)),
    st.tuples(st.just("sweep")),
    st.tuples(st.just("work")),
    st.tuples(st.just("fail"), st.sampled_from(["transient", "lost", "permanent", "no"])),
)


class Story:
    """One sequence of events in a time of its own."""

    def __init__(self, world: World, noop: Noop, things: list[Entitlement]) -> None:
        self.world, self.noop, self.things = world, noop, things
        self.now = clock.now()
        self.asked: list[AccessRequest] = []

    def perform(self, action: tuple[Any, ...]) -> None:
        match action:
            case ("ask", thing, minutes):
                self._ask(thing, minutes, None)
            case ("extend", thing, minutes):
                self._ask(thing, minutes, self._of(thing, "active"))
            case ("end", thing):
                found = self._of(thing, "active")
                grants.end(actor=self.world.alice, request_id=found, now=self.now)
            case ("cancel", thing):
                found = self._of(thing, "approved")
                requests.cancel(actor=self.world.alice, request_id=found, now=self.now)
            case ("pass", seconds):
                self.now += timedelta(seconds=seconds)
            case ("sweep",):
                grants.end_due(now=self.now)
            case ("work",):
                handlers.work("provisioning", now=self.now)
            case ("fail", "lost"):
                self.noop.control(lose_answer=True)
            case ("fail", how):
                self.noop.control(fail=None if how == "no" else how)

    def _ask(self, thing: int, minutes: int, extends: Any) -> None:
        self.asked.append(
            self.world.ask(what=self.things[thing], minutes=minutes, extends=extends, now=self.now)
        )

    def _of(self, thing: int, state: str) -> Any:
        row = CurrentRequest.objects.filter(entitlement=self.things[thing], state=state).first()
        if row is None:
            raise NotFound
        return row.request_id

    def check(self, *, settled: bool) -> None:
        rows = list(reads.current_many(row.request_id for row in self.asked).values())
        active = [row for row in rows if row.state == "active"]
        if active:
            assert HELD in self.noop.held(), "active, and not at the target"
        if settled:
            assert not [row for row in rows if row.state == "revoking"]
            assert (HELD in self.noop.held()) == bool(active), "nobody's, and at the target"
        for row in rows:
            if row.state == "active" and row.extends:
                before = reads.current(row.extends)
                continued = (row.detail.get("receipt") or {}).get("continued")
                assert not continued or row.activated_at == before.ends_at, "a gap"

    def settle(self) -> None:
        """Let everything that waits be done, hours later if need be."""
        self.noop.control()
        for _ in range(8):
            self.now += timedelta(hours=1)
            grants.end_due(now=self.now)
            handlers.work("provisioning", now=self.now)


@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(story=st.lists(step, min_size=3, max_size=24))
def test_no_order_loses_access_or_leaves_it_behind(
    world: World, noop: Noop, story: list[tuple[Any, ...]]
) -> None:
    examples = transaction.atomic()
    setattr(examples, "_from_testcase", True)  # noqa: B010  each example is a test of its own
    with examples, pytest.MonkeyPatch.context() as patch:
        other = Resource.objects.create(name="again", connector="noop", owner=world.bob)
        noop._journal.unlink(missing_ok=True)
        noop.control()
        things = [
            Entitlement.objects.create(
                resource=resource, name=f"t{n}", risk="low", policy=world.read.policy, settings=SAME
            )
            for n, resource in enumerate([world.resource, other])
        ]
        played = Story(world, noop, things)
        patch.setattr(clock, "now", lambda: played.now)
        try:
            for action in story:
                try:
                    played.perform(action)
                except Refusal:
                    continue
                played.check(settled=False)
            played.settle()
            played.check(settled=True)
            assert list(checking.differences(now=played.now)) == []
        finally:
            transaction.set_rollback(True)
