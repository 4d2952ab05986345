"""What time and votes make of a chain: state, due moments, reminders, who may decide.

Lives here: pure functions of a chain, its accepted votes, the directory and a moment that the
caller gives. All of it follows the chain's cases second by second; at one moment escalation or
lapse comes first, then decisions in their order.
Doesn't live here: storing votes, sending reminders, the clock.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from approvals.domain import chain as chains
from approvals.domain.chain import Chain, Level, Source
from approvals.domain.facts import Directory, Parties, PersonKey
from approvals.domain.handing_over import MOST, Handover, lines, place_of, seated

State = Literal["pending", "approved", "denied", "lapsed"]
Verdict = Literal["approve", "deny"]
Refusal = Literal[
    "settled", "lapsed", "self_decision", "inactive", "already_voted", "not_an_approver"
]
NoTaker = Literal[
    "too_many", "taker_concerned", "taker_inactive", "taker_voted", "taker_asked", "taker_gave"
]


class ImpossibleHistory(ValueError):
    """Votes that can't all have been accepted: one person twice, or one after the end."""


@dataclass(frozen=True, slots=True)
class Vote:
    """One accepted decision of one person."""

    actor: PersonKey
    verdict: Verdict
    at: datetime


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a request stands at a moment, after everything of that moment.

    When it is settled, `level`, `opened_at`, `due_at` and `next_reminder_at` are None and the
    counts are 0. `voters` are all who count on the whole request; `reminders` are all moments
    so far, over all levels, oldest first.
    """

    state: State
    level: int | None
    """The open level, from 1."""
    opened_at: datetime | None
    """When the open level opened."""
    due_at: datetime | None
    """When the open level next escalates, or lapses."""
    escalations: int
    """Steps that were applied at the open level."""
    voters: frozenset[PersonKey]
    votes_at_level: int
    missing: int
    settled_at: datetime | None
    reminders: tuple[datetime, ...]
    next_reminder_at: datetime | None
    """The first reminder after this moment, if one comes before `due_at`."""
    handovers: tuple[Handover, ...] = ()
    """All of the request, of any level, in order of time."""


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that happens at a level if nobody acts; `step` counts escalations from 1."""

    kind: Literal["remind", "escalate", "lapse"]
    at: datetime
    step: int | None = None


@dataclass(frozen=True, slots=True)
class _Stage:
    """The time between two due moments of a level: [start, due)."""

    start: datetime
    due: datetime

    def reminders(self, remind: timedelta | None) -> Iterator[datetime]:
        if remind is None:
            return
        at = self.start + remind
        while at < self.due:
            yield at
            at += remind


def _stages(level: Level, opened_at: datetime) -> list[_Stage]:
    """Return the level's own time and that of each escalation step; the last due one lapses."""
    stages = [_Stage(opened_at, opened_at + level.within)]
    for step in level.escalate:
        stages.append(_Stage(stages[-1].due, stages[-1].due + step.within))
    return stages


def _reminded(level: Level, opened_at: datetime, *, until: datetime) -> Iterator[datetime]:
    """Yield the level's reminders up to and including `until`."""
    for stage in _stages(level, opened_at):
        for at in stage.reminders(level.remind):
            if at > until:
                return
            yield at


def replay(
    chain: Chain,
    votes: Sequence[Vote],
    *,
    opened_at: datetime,
    now: datetime,
    handovers: Sequence[Handover] = (),
) -> Progress:
    """Return where a request stands at `now`, from its accepted votes in their order.

    `handovers` move no due moment and no level; they say who may decide.

    Time never runs backwards on a request: a vote counts at its own moment or that of the vote
    before it, whichever is later, and `now` is never before the last vote. To ask about the
    past, pass the votes of the past.

    Raises: ImpossibleHistory for votes that can't all have been accepted.
    """
    index, level_opened_at, at_level = 0, opened_at, 0
    clock = opened_at
    voters: set[PersonKey] = set()
    reminders: list[datetime] = []
    for number, vote in enumerate(votes, start=1):
        clock = max(clock, vote.at)
        if index == len(chain.levels):
            raise ImpossibleHistory(f"vote {number} comes after the request was settled")
        if vote.actor in voters:
            raise ImpossibleHistory(f"vote {number} is that person's second")
        level = chain.levels[index]
        if clock >= _stages(level, level_opened_at)[-1].due:
            raise ImpossibleHistory(f"vote {number} comes when the request had lapsed")
        voters.add(vote.actor)
        if vote.verdict == "deny":
            reminders.extend(_reminded(level, level_opened_at, until=clock))
            if number < len(votes):
                raise ImpossibleHistory(f"vote {number + 1} comes after the request was settled")
            return _settled("denied", clock, voters, reminders)
        at_level += 1
        if at_level == level.quorum:
            reminders.extend(_reminded(level, level_opened_at, until=clock))
            index, level_opened_at, at_level = index + 1, clock, 0
    if index == len(chain.levels):
        return _settled("approved", clock, voters, reminders)

    level = chain.levels[index]
    stages = _stages(level, level_opened_at)
    moment = max(now, clock)
    reminders.extend(_reminded(level, level_opened_at, until=moment))
    if moment >= stages[-1].due:
        return _settled("lapsed", stages[-1].due, voters, reminders)
    escalations = sum(moment >= stage.due for stage in stages)
    stage = stages[escalations]
    return Progress(
        state="pending",
        level=index + 1,
        opened_at=level_opened_at,
        due_at=stage.due,
        escalations=escalations,
        voters=frozenset(voters),
        votes_at_level=at_level,
        missing=level.quorum - at_level,
        settled_at=None,
        reminders=tuple(reminders),
        next_reminder_at=next((x for x in stage.reminders(level.remind) if x > moment), None),
        handovers=tuple(handovers),
    )


def _settled(
    state: State, at: datetime, voters: set[PersonKey], reminders: list[datetime]
) -> Progress:
    return Progress(
        state=state,
        level=None,
        opened_at=None,
        due_at=None,
        escalations=0,
        voters=frozenset(voters),
        votes_at_level=0,
        missing=0,
        settled_at=at,
        reminders=tuple(reminders),
        next_reminder_at=None,
    )


def electorate(
    chain: Chain, progress: Progress, parties: Parties, directory: Directory
) -> frozenset[PersonKey]:
    """Return who may decide now: nobody once it is settled.

    Never the requester, the subject, the inactive, or anyone whose vote counts already.
    Fallback sources and then the last resort fill up, one at a time, only while fewer people
    than missing votes remain. Where somebody handed their place over, the taker is there instead.
    """
    return _places(chain, progress, parties, directory)[1]


def giving(
    chain: Chain, progress: Progress, parties: Parties, directory: Directory, giver: PersonKey
) -> PersonKey:
    """Return whose place somebody who may decide now would hand over: theirs, or one they got."""
    places, _ = _places(chain, progress, parties, directory)
    assert progress.level is not None, "nobody has a place on what is settled"
    given = lines(progress.handovers, level=progress.level, places=places)
    return place_of(giver, given, places)


def _places(
    chain: Chain, progress: Progress, parties: Parties, directory: Directory
) -> tuple[set[PersonKey], frozenset[PersonKey]]:
    """Return whom the chain asks by itself, able or not, and who may decide in their places."""
    if progress.state != "pending" or progress.level is None:
        return set(), frozenset()
    level = chain.levels[progress.level - 1]
    number = progress.level
    out = {parties.requester, parties.subject} | progress.voters
    places: set[PersonKey] = set()

    def able() -> frozenset[PersonKey]:
        return seated(
            places,
            progress.handovers,
            level=number,
            voters=progress.voters,
            may_sit=lambda key: key not in out and directory.is_active(key),
        )

    for source in _asked(level, progress.escalations):
        places |= chains.resolve(source, parties, directory)
    found = able()
    for source in (*level.fallback, *chain.last_resort):
        if len(found) >= progress.missing:
            break
        places |= chains.resolve(source, parties, directory)
        found = able()
    return places, found


def _asked(level: Level, escalations: int) -> tuple[Source, ...]:
    """Return the sources in force after so many steps; a step that doesn't keep starts anew."""
    sources = level.sources
    for step in level.escalate[:escalations]:
        sources = step.to + sources if step.keep else step.to
    return sources


def refusal(
    chain: Chain,
    progress: Progress,
    parties: Parties,
    directory: Directory,
    actor: PersonKey,
) -> Refusal | None:
    """Return the first reason why `actor` may not decide now, or None if they may."""
    if progress.state in ("approved", "denied"):
        return "settled"
    if progress.state == "lapsed":
        return "lapsed"
    if actor in (parties.requester, parties.subject):
        return "self_decision"
    if not directory.is_active(actor):
        return "inactive"
    if actor in progress.voters:
        return "already_voted"
    if actor not in electorate(chain, progress, parties, directory):
        return "not_an_approver"
    return None


def no_taker(
    chain: Chain,
    progress: Progress,
    parties: Parties,
    directory: Directory,
    *,
    giver: PersonKey,
    taker: PersonKey,
    at: datetime,
) -> NoTaker | None:
    """Return the first reason why `giver`, who may decide, can't hand over to `taker`; else None.

    None means that with it `taker` may decide at once, and `giver` may not any more.
    """
    if progress.level is None or len(progress.handovers) >= MOST:
        return "too_many"
    if taker in (parties.requester, parties.subject):
        return "taker_concerned"
    if not directory.is_active(taker):
        return "taker_inactive"
    if taker in progress.voters:
        return "taker_voted"
    if taker in electorate(chain, progress, parties, directory):
        return "taker_asked"
    made = Handover(giver=giver, taker=taker, level=progress.level, at=at)
    after = replace(progress, handovers=(*progress.handovers, made))
    asked = electorate(chain, after, parties, directory)
    # Whoever gave their own place away can get it back, but take no other's.
    return None if taker in asked and giver not in asked else "taker_gave"


def who_next(
    chain: Chain, progress: Progress, parties: Parties, directory: Directory
) -> frozenset[PersonKey]:
    """Return who is newly asked at `progress.due_at` if everybody stays silent until then.

    Empty when the next due moment is the lapse, or brings nobody new.
    """
    if progress.state != "pending" or progress.level is None:
        return frozenset()
    if progress.escalations >= len(chain.levels[progress.level - 1].escalate):
        return frozenset()
    later = replace(progress, escalations=progress.escalations + 1)
    asked_then = electorate(chain, later, parties, directory)
    return asked_then - electorate(chain, progress, parties, directory)


def moments(level: Level, opened_at: datetime) -> list[Moment]:
    """Return, in order, all that happens at a level that opens then if nobody acts."""
    found: list[Moment] = []
    stages = _stages(level, opened_at)
    for step, stage in enumerate(stages, start=1):
        found.extend(Moment("remind", at) for at in stage.reminders(level.remind))
        if step < len(stages):
            found.append(Moment("escalate", stage.due, step))
    found.append(Moment("lapse", stages[-1].due))
    return found
