"""A chain as people read it: level by level, who decides, who did, and what silence leads to.

Words only; who may decide is `domain.escalation`'s to say.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import NamedTuple

from approvals.domain import escalation
from approvals.domain.chain import Level
from approvals.domain.durations import words
from approvals.domain.facts import PersonKey
from approvals.selectors.chains import ChainView

NAMES_MOST = 4


class VoteLine(NamedTuple):
    """One vote that counts: whose, what it was, when."""

    name: str
    verb: str
    at: datetime


@dataclass(frozen=True)
class LevelLine:
    """One level: `status` is done, now, next or over (the request was settled before it)."""

    number: int
    name: str
    status: str
    votes: tuple[VoteLine, ...]
    people: str
    within: timedelta
    due_at: datetime | None
    due_words: str
    silence: str
    is_preview: bool


def describe(view: ChainView, *, viewer: int | None, is_preview: bool = False) -> list[LevelLine]:
    """Return every level of the chain in order, as `viewer` (called “you”) reads it."""
    lines: list[LevelLine] = []
    votes = list(view.votes)
    for number, level in enumerate(view.chain.levels, start=1):
        mine, votes = votes[: level.quorum], votes[level.quorum :]
        status = _status(view, number, level, mine)
        is_open = status == "now"
        at_level = (
            view.progress
            if is_open
            else replace(
                view.progress,
                state="pending",
                level=number,
                escalations=0,
                votes_at_level=0,
                missing=level.quorum,
            )
        )
        waiting = status in ("now", "next")
        lines.append(
            LevelLine(
                number=number,
                name=level.name,
                status=status,
                votes=tuple(
                    VoteLine(
                        _name(view, int(str(vote.actor)), viewer),
                        "approved" if vote.verdict == "approve" else "denied",
                        vote.at,
                    )
                    for vote in mine
                ),
                people=_people(view, at_level, viewer) if waiting else "",
                within=level.within,
                due_at=view.progress.due_at if is_open else None,
                due_words=due_words(level, view.progress.escalations),
                silence=_silence(view, level, at_level, viewer, is_open=is_open and not is_preview)
                if waiting
                else "",
                is_preview=is_preview,
            )
        )
    return lines


def due_words(level: Level, escalations: int) -> str:
    """Return what happens at the level's next due moment: it escalates, or it lapses."""
    return "escalates" if escalations < len(level.escalate) else "lapses"


def _status(view: ChainView, number: int, level: Level, votes: list[escalation.Vote]) -> str:
    if sum(vote.verdict == "approve" for vote in votes) == level.quorum:
        return "done"
    if view.progress.state == "pending":
        return "now" if view.progress.level == number else "next"
    return "over"


def _people(view: ChainView, at_level: escalation.Progress, viewer: int | None) -> str:
    able = escalation.electorate(view.chain, at_level, view.parties, view.directory)
    names = name_list(view, able, viewer)
    if not able:
        return "nobody can decide here now; operators are told"
    if len(able) == at_level.missing == 1:
        return names
    return f"any {at_level.missing} of {len(able)} · {names}"


def _silence(
    view: ChainView,
    level: Level,
    at_level: escalation.Progress,
    viewer: int | None,
    *,
    is_open: bool,
) -> str:
    """Return what happens while nobody answers, step after step."""
    parts: list[str] = []
    elapsed = level.within
    for number, step in enumerate(level.escalate, start=1):
        if number <= at_level.escalations:
            continue
        before = replace(at_level, escalations=number - 1)
        after = replace(at_level, escalations=number)
        able = escalation.electorate(view.chain, after, view.parties, view.directory)
        new = able - escalation.electorate(view.chain, before, view.parties, view.directory)
        who = name_list(view, new, viewer) if new else "nobody new"
        verb = "may decide too" if step.keep else "decides instead"
        if is_open:
            parts.append(f"then {who} {verb}")
        else:
            parts.append(f"after {words(elapsed)} {who} {verb}")
        elapsed += step.within
    if is_open:
        left = sum((s.within for s in level.escalate[at_level.escalations :]), timedelta())
        parts.append(f"lapses {words(left)} later" if left else "then it lapses")
    else:
        parts.append(f"after {words(elapsed)} the request lapses")
    return f"No answer: {', '.join(parts)}."


def name_list(view: ChainView, people: Iterable[PersonKey], viewer: int | None) -> str:
    """Return at most a few of the people's names, you first, and how many more there are."""
    keys = [key for key in people if isinstance(key, int)]
    keys.sort(key=lambda key: (key != viewer, view.names.get(key, "?")))
    names = [_name(view, key, viewer) for key in keys]
    if len(names) > NAMES_MOST:
        names = [*names[: NAMES_MOST - 1], f"{len(names) - NAMES_MOST + 1} more"]
    return ", ".join(names)


def _name(view: ChainView, person: int, viewer: int | None) -> str:
    return "you" if person == viewer else view.names.get(person, "?")
