"""Handing over: an approver gives their place on one request to another person.

Lives here: pure functions of the handovers at one level. Who has a place at all, and who is out of
the question, is `escalation`'s to say: a handover never makes a place, it says who sits in it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from approvals.domain.facts import PersonKey

MOST = 10
"""How many handovers one request may have."""


@dataclass(frozen=True, slots=True)
class Handover:
    """One person's place at one level, given to another."""

    giver: PersonKey
    taker: PersonKey
    level: int
    """The level that was open, from 1; it is worth nothing at any other."""
    at: datetime


def lines(
    handovers: Sequence[Handover], *, level: int, places: Collection[PersonKey]
) -> dict[PersonKey, tuple[PersonKey, ...]]:
    """Return, for each place that was given away at `level`, who has had it, its owner first.

    `handovers` are in order of time; `places` are those whom the chain asks by itself. Nobody
    stands twice in a line: who gets back what they gave has it as if they had never given it.
    The line that was changed last comes last.
    """
    found: dict[PersonKey, tuple[PersonKey, ...]] = {}
    for handover in handovers:
        if handover.level != level:
            continue
        owner = place_of(handover.giver, found, places)
        line = found.pop(owner, (owner,))
        line = line[: line.index(handover.giver) + 1]
        if handover.taker in line:
            line = line[: line.index(handover.taker) + 1]
        else:
            line = (*line, handover.taker)
        found[owner] = line
    return found


def place_of(
    person: PersonKey,
    found: Mapping[PersonKey, tuple[PersonKey, ...]],
    places: Collection[PersonKey],
) -> PersonKey:
    """Return whose place somebody gives, or votes in: their own, else the one they got last."""
    if person in places:
        return person
    holding = [owner for owner, line in found.items() if line[-1] == person]
    passed_on = [owner for owner, line in found.items() if person in line]
    return (holding or passed_on or [person])[-1]


def seated(
    places: Collection[PersonKey],
    handovers: Sequence[Handover],
    *,
    level: int,
    voters: Collection[PersonKey],
    may_sit: Callable[[PersonKey], bool],
) -> frozenset[PersonKey]:
    """Return who sits in `places`: at most one person for each, and nobody in two.

    A place is empty while its owner may not sit, and for good once somebody who has had it voted.
    Otherwise the last in its line has it, if everybody up to them may sit, has no place of their
    own and none that they got otherwise; else the one before, down to the owner.
    """
    given = lines(handovers, level=level, places=places)
    taken = {owner for owner in places if owner not in given and may_sit(owner)}
    used = {place_of(voter, given, places) for voter in voters} if given else set()
    waiting: list[tuple[PersonKey, ...]] = []
    for owner in reversed(list(given)):
        if owner not in places or not may_sit(owner) or owner in used:
            continue
        line = _sitting(given[owner], places, may_sit)
        if line == given[owner] and line[-1] not in taken:
            taken.add(line[-1])
        else:
            waiting.append(line)
    for line in waiting:
        taken.add(next(person for person in reversed(line) if person not in taken))
    return frozenset(taken)


def _sitting(
    line: tuple[PersonKey, ...],
    places: Collection[PersonKey],
    may_sit: Callable[[PersonKey], bool],
) -> tuple[PersonKey, ...]:
    """Return the line up to the first person in it who can't have the place."""
    for number, person in enumerate(line):
        if number and (person in places or not may_sit(person)):
            return line[:number]
    return line
