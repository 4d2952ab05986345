"""Hypothesis looks for an order of events that breaks what must always hold."""

from collections import Counter
from datetime import datetime, timedelta

from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from approvals import handlers
from approvals.domain.refusals import Refusal
from approvals.domain.states import FINAL
from approvals.models import AccessRequest, Decision, GrantEvent, User
from approvals.selectors import requests as reads
from approvals.services import escalation, grants, requests
from tests.connectors.noop import Noop
from tests.world import World

PEOPLE = ["alice", "bob", "carol", "dan", "erin", "mallory"]
person = st.sampled_from(PEOPLE)
seconds = st.integers(0, 90)
step = st.one_of(
    st.tuples(st.just("decide"), person, st.sampled_from(["approve", "deny"]), st.integers(0, 1)),
    st.tuples(st.just("cancel"), person),
    st.tuples(st.just("end"), person),
    st.tuples(st.just("clock")),
    st.tuples(st.just("work")),
    st.tuples(st.just("end_due")),
    st.tuples(st.just("leave"), person),
    st.tuples(st.just("manager"), person, person),
)
story = st.lists(st.tuples(seconds, step), min_size=1, max_size=14)


@settings(
    max_examples=120,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(on_behalf=st.booleans(), story=story)
def test_no_order_of_events_breaks_the_rules(
    world: World, noop: Noop, on_behalf: bool, story: list[tuple[int, tuple[str, ...]]]
) -> None:
    with transaction.atomic():
        try:
            play(world, on_behalf=on_behalf, story=story)
        finally:
            transaction.set_rollback(True)


def play(world: World, *, on_behalf: bool, story: list[tuple[int, tuple[str, ...]]]) -> None:
    requester = world.dan if on_behalf else world.alice
    request = world.ask(by=requester, subject=world.alice, minutes=1)
    now = request.submitted_at
    for wait, action in story:
        now += timedelta(seconds=wait)
        try:
            perform(world, request, action, now)
        except Refusal:
            continue
        check(request, requester)
    check(request, requester)


def perform(world: World, request: AccessRequest, action: tuple[str, ...], now: datetime) -> None:
    key = request.request_id
    match action:
        case ("decide", who, verdict, behind):
            requests.decide(
                actor=User.objects.get(username=who),
                request_id=key,
                verdict=verdict,
                seen_revision=reads.current(key).revision - int(behind),
                comment="x",
                now=now,
            )
        case ("cancel", who):
            requests.cancel(actor=User.objects.get(username=who), request_id=key, now=now)
        case ("end", who):
            person = User.objects.get(username=who)
            grants.end(actor=person, request_id=key, now=now, comment="Enough.")
        case ("clock",):
            escalation.advance(key, now=now)
        case ("end_due",):
            grants.end_due(now=now)
        case ("leave", who):
            User.objects.filter(username=who).update(is_active=False)
        case ("manager", who, boss) if who != boss:
            User.objects.filter(username=who).update(manager=User.objects.get(username=boss))
    if action[0] == "work":
        attempt = grants.Attempt(number=1, started_at=now, finished_at=now)
        handlers.work("due", now=now)
        grants.activate(request_id=key, attempt=attempt, now=now)
        grants.confirm_many([(key, attempt)], now=now)


def check(request: AccessRequest, requester: User) -> None:
    rows = list(AccessRequest.objects.filter(request_id=request.request_id).order_by("revision"))
    assert [row.revision for row in rows] == list(range(1, len(rows) + 1))
    votes = list(Decision.objects.filter(request_id=request.request_id))
    voters = [vote.actor_id for vote in votes]
    assert max(Counter(voters).values(), default=0) <= 1, "a vote counted twice"
    assert requester.pk not in voters, "the requester decided"
    assert request.subject_id not in voters, "the subject decided"
    states = [row.state for row in rows]
    for index, state in enumerate(states):
        if state in FINAL:
            assert index == len(states) - 1, "something came after the end"
    if "approved" in states:
        approvals = [vote for vote in votes if vote.verdict == "approve"]
        assert {vote.level for vote in approvals} == {1, 2}
        assert not any(vote.verdict == "deny" for vote in votes)
    if "active" in states:
        assert states.index("approved") < states.index("active")
    if "denied" in states:
        assert "active" not in states
        assert not GrantEvent.objects.filter(request_id=request.request_id).exists()
