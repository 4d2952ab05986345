"""A level that stays silent reminds, escalates and lapses, by the clock alone."""

from datetime import datetime, timedelta

import pytest

from approvals import handlers
from approvals.domain.refusals import NotAllowed, Settled, StaleRevision
from approvals.models import AccessRequest, Asked, OutboxItem
from approvals.services import escalation
from tests.world import World, notices


def at(request: AccessRequest, seconds: float) -> datetime:
    return request.submitted_at + timedelta(seconds=seconds)


def asked(request: AccessRequest) -> set[str]:
    rows = Asked.objects.filter(request_id=request.request_id)
    return set(rows.values_list("person__username", flat=True))


def test_reminders_go_out_at_their_moments_and_end_with_the_level(world: World) -> None:
    request = world.ask()
    for moment, sent in [(19, 0), (20, 1), (21, 1), (40, 2), (59, 2)]:
        handlers.work("due", now=at(request, moment))
        assert len(notices("reminder")) == sent, moment
    world.decide(world.bob, request, now=at(request, 59))
    handlers.work("due", now=at(request, 60))
    assert {who for _, who in notices("reminder")} == {world.bob.pk}


def test_a_worker_that_was_away_reminds_once_not_for_every_moment_missed(
    world: World,
) -> None:
    request = world.ask()
    item = OutboxItem.objects.get(topic="request.remind")
    assert escalation.remind(
        request_id=request.request_id, level=1, escalations=0,
        at=datetime.fromisoformat(item.payload["at"]), now=at(request, 55),
    )  # fmt: skip
    assert len(notices("reminder")) == 1
    newest = OutboxItem.objects.filter(topic="request.remind").latest("id")
    assert newest.pk == item.pk, "no reminder is left before the level escalates"


def test_silence_escalates_then_lapses(world: World) -> None:
    request = world.ask()
    assert escalation.advance(request.request_id, now=at(request, 59.9)) == []
    (step,) = escalation.advance(request.request_id, now=at(request, 60))
    assert (step.event, step.escalations, step.due_at) == ("escalated", 1, at(request, 120))
    assert asked(request) == {"bob", "erin"}
    assert ("escalated", world.erin.pk) in notices()
    assert ("moved_on", world.alice.pk) in notices()
    assert step.detail["to"] == ["Bob", "Erin"]
    assert escalation.advance(request.request_id, now=at(request, 119)) == []
    (lapsed,) = escalation.advance(request.request_id, now=at(request, 120))
    assert (lapsed.state, lapsed.actor, asked(request)) == ("lapsed", None, set())
    assert ("decided", world.alice.pk) in notices()
    assert ("settled", world.erin.pk) in notices()
    with pytest.raises(Settled, match="lapsed"):
        world.decide(world.erin, request, now=at(request, 121))


def test_what_was_missed_while_the_workers_were_down_is_caught_up_step_by_step(
    world: World,
) -> None:
    request = world.ask()
    written = escalation.advance(request.request_id, now=at(request, 3600))
    assert [row.event for row in written] == ["escalated", "lapsed"]
    assert written[0].due_at == at(request, 120)
    assert escalation.advance(request.request_id, now=at(request, 3600)) == []


def test_the_escalation_comes_before_a_decision_of_the_same_moment(world: World) -> None:
    request = world.ask()
    with pytest.raises(StaleRevision):
        world.decide(world.bob, request, seen=1, now=at(request, 60))
    assert world.newest(request).event == "escalated"
    assert world.decide(world.erin, request, now=at(request, 61)).level == 2


def test_a_decision_after_the_lapse_is_too_late_though_no_worker_ran(world: World) -> None:
    request = world.ask()
    with pytest.raises(Settled, match="lapsed"):
        world.decide(world.bob, request, now=at(request, 500))
    assert world.newest(request).state == "lapsed"


def test_reminders_start_anew_after_an_escalation(world: World) -> None:
    request = world.ask()
    escalation.advance(request.request_id, now=at(request, 60))
    handlers.work("due", now=at(request, 79))
    before = len(notices("reminder"))
    handlers.work("due", now=at(request, 80))
    assert len(notices("reminder")) == before + 2, "bob and erin"


def test_an_outdated_reminder_says_nothing(world: World) -> None:
    request = world.ask()
    world.decide(world.bob, request, now=at(request, 5))
    assert not escalation.remind(
        request_id=request.request_id, level=1, escalations=0,
        at=at(request, 20), now=at(request, 20),
    )  # fmt: skip


def test_the_manager_may_still_decide_after_an_escalation_that_keeps_them(world: World) -> None:
    request = world.ask()
    escalation.advance(request.request_id, now=at(request, 60))
    assert world.decide(world.bob, request, now=at(request, 70)).level == 2
    with pytest.raises(NotAllowed):
        world.decide(world.erin, request, now=at(request, 71))
