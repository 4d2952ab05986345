"""The demo's past: all stories told together in the order of their acts, as they would have run."""

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from approvals.management.demo_world import catalogue, people, plans, reviewing, words
from approvals.management.demo_world.dating import dated
from approvals.management.demo_world.stories import Stage, Story
from approvals.models import Entitlement, OutboxItem, User
from approvals.services import directory

#: Acts between two clearings of the outbox.
CLEAR_EVERY = 400


@dataclass(frozen=True)
class Told:
    """What was written: requests, acts, and requests that the portal refused."""

    requests: int
    acts: int
    refused: int


def tell(
    *,
    cast: dict[str, User],
    entitlements: dict[str, Entitlement],
    began_at: datetime,
    until: datetime,
) -> Told:
    """Write the history between the two moments. Nothing of it is open or in the outbox then."""
    left_at = (began_at + (until - began_at) * 0.72).replace(
        hour=15, minute=0, second=0, microsecond=0
    )
    stage = Stage(
        people=cast,
        entitlements=entitlements,
        leaver_left_at=left_at,
        reviewed_at=plans.reviewed_at(began_at=began_at, until=until),
    )
    stories = [
        Story(plan, stage)
        for plan in plans.make(began_at=began_at, until=until, leaver_left_at=left_at)
    ]
    asking = [story for story in stories if story.plan.outcome == "used" and _is_asked(story.plan)]
    for story, said in zip(reversed(asking), words.QUESTIONS, strict=False):
        story.asks = said
    for story in asking[:1]:
        story.hands = words.HANDED
    lines = [
        *(story.acts() for story in stories),
        *_changes(stage, began_at=began_at, until=until),
        reviewing.past(stage),
    ]
    acts = _play(lines, until=until, rest=lambda: _clear(stories))
    for story in stories:
        if story.record is not None and story.record.is_open:
            story.hurry(now=until)
    _clear(stories)
    reviewing.forget_notices()
    sent = sum(story.record is not None for story in stories)
    refused = sum(story.record is None and story.plan.at < until for story in stories)
    return Told(requests=sent, acts=acts, refused=refused)


def _is_asked(plan: plans.Plan) -> bool:
    """Return whether somebody decides on it who could ask something before."""
    return plan.wants == "read-write" and plan.subject == plan.sender


def _play(lines: list[Iterator[datetime]], *, until: datetime, rest: Callable[[], None]) -> int:
    """Resume each line at its moments, all in the order of time; return how many acts that were."""
    waiting = [(at, number) for number, line in enumerate(lines) if (at := next(line, None))]
    heapq.heapify(waiting)
    acts = 0
    while waiting and waiting[0][0] < until:
        _, number = waiting[0]
        following = next(lines[number], None)
        if following is None:
            heapq.heappop(waiting)
        else:
            heapq.heapreplace(waiting, (following, number))
        acts += 1
        if acts % CLEAR_EVERY == 0:
            rest()
    return acts


def _clear(stories: list[Story]) -> None:
    """Remove what the past put into the outbox: its mails are not sent, its targets not called."""
    sent = [str(story.record.request_id) for story in stories if story.record is not None]
    OutboxItem.objects.filter(payload__request_id__in=sent).delete()


def _changes(stage: Stage, *, began_at: datetime, until: datetime) -> list[Iterator[datetime]]:
    """Return what was changed meanwhile in policies and in the directory."""
    span = until - began_at
    admin = stage.people["admin"]

    def policy(
        entitlement: str, document: catalogue.Document, at: datetime, reason: str
    ) -> Iterator[datetime]:
        yield at
        catalogue.change_policy(
            stage.entitlements[entitlement], document, at=at, by=admin, reason=reason
        )

    def leaving() -> Iterator[datetime]:
        yield stage.leaver_left_at
        leaver = User.objects.get(pk=stage.people[people.LEAVER].pk)
        leaver.is_active = False
        reason = "Left the company."
        dated(leaver, at=stage.leaver_left_at, reason=reason, by=admin).save()
        stage.people[people.LEAVER] = leaver
        directory.settle_leaver(leaver, now=stage.leaver_left_at + timedelta(milliseconds=80))

    return [
        policy("read", catalogue.read_policy(), began_at + span * 0.3,
               "Four hours were too short for a working day."),
        policy("read-write", catalogue.WRITE_LATER, began_at + span * 0.55,
               "Answer within half a working day, as agreed with Erin."),
        leaving(),
    ]  # fmt: skip
