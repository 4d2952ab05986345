"""Votes and time: impossible histories, previews, dependencies, and what must never happen."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from approvals.domain import chain as chains
from approvals.domain import escalation
from approvals.domain.chain import Source
from approvals.domain.escalation import ImpossibleHistory, Moment, Progress, Vote
from approvals.domain.facts import Directory, Parties, Person, PersonKey
from tests.domain import strategies

START = datetime(2025, 3, 1, 9, tzinfo=UTC)
ALICE, BOB, CAROL, ERIN, GUS = 1, 2, 3, 4, 5
CHAIN = chains.parse(
    {
        "levels": [
            {
                "name": "Manager",
                "from": [{"kind": "manager"}],
                "quorum": 1,
                "within": 600,
                "remind": 250,
                "escalate": [
                    {"to": [{"kind": "manager", "of": 2}], "within": 300, "keep": True},
                    {"to": [{"kind": "group", "name": "admins"}], "within": 100, "keep": False},
                ],
            },
            {
                "name": "Owner",
                "from": [{"kind": "person", "name": "carol"}],
                "quorum": 1,
                "within": 60,
            },
        ],
        "last_resort": [{"kind": "owner"}],
    }
)
PARTIES = Parties(requester=ALICE, subject=ALICE, owner=CAROL)


def person(key: PersonKey, manager: PersonKey | None, *groups: str) -> Person:
    """An active person."""
    return Person(key=key, manager=manager, groups=frozenset(groups), active=True)


DIRECTORY = Directory(
    {
        ALICE: person(ALICE, BOB, "eng"),
        BOB: person(BOB, ERIN),
        CAROL: person(CAROL, ERIN),
        ERIN: person(ERIN, None),
        GUS: person(GUS, ERIN, "admins"),
    },
    {"carol": CAROL},
)


def at(seconds: float) -> datetime:
    """So many seconds after submission."""
    return START + timedelta(seconds=seconds)


def progress(seconds: float, *votes: Vote) -> Progress:
    """Where the request stands then."""
    return escalation.replay(CHAIN, votes, opened_at=START, now=at(seconds))


APPROVED = Vote(BOB, "approve", at(10))


@pytest.mark.parametrize(
    ("votes", "message"),
    [
        ([APPROVED, Vote(BOB, "approve", at(20))], "vote 2 is that person's second"),
        ([Vote(BOB, "deny", at(1)), Vote(CAROL, "approve", at(2))], "after the request was"),
        (
            [APPROVED, Vote(CAROL, "approve", at(20)), Vote(GUS, "deny", at(21))],
            "vote 3 comes after the request was settled",
        ),
        ([Vote(BOB, "approve", at(1000))], "vote 1 comes when the request had lapsed"),
        ([APPROVED, Vote(CAROL, "deny", at(70))], "vote 2 comes when the request had lapsed"),
    ],
)
def test_an_impossible_history_is_never_evaluated(votes: list[Vote], message: str) -> None:
    with pytest.raises(ImpossibleHistory, match=message):
        progress(5000, *votes)


def test_time_never_runs_backwards() -> None:
    """A clock that is behind neither hides a vote that was counted nor reopens a level."""
    behind = escalation.replay(CHAIN, [APPROVED], opened_at=START, now=at(-50))
    assert behind == progress(10, APPROVED)
    late = Vote(CAROL, "deny", at(5))
    assert progress(12, APPROVED, late).settled_at == at(10)


@pytest.mark.parametrize(
    ("seconds", "due", "reminder"),
    [(0, 600, 250), (250, 600, 500), (500, 600, None), (599.999999, 600, None), (600, 900, 850)],
)
def test_the_next_moments_to_wake_up_for(seconds: float, due: int, reminder: int | None) -> None:
    now = progress(seconds)
    assert now.due_at == at(due)
    assert now.next_reminder_at == (None if reminder is None else at(reminder))


def test_a_settled_request_says_when_and_wakes_nobody() -> None:
    lapsed = progress(5000)
    assert (lapsed.state, lapsed.settled_at) == ("lapsed", at(1000))
    denied = progress(5000, Vote(BOB, "deny", at(7)))
    assert (denied.state, denied.settled_at) == ("denied", at(7))
    approved = progress(5000, APPROVED, Vote(CAROL, "approve", at(30)))
    assert (approved.state, approved.settled_at) == ("approved", at(30))
    for settled in (lapsed, denied, approved):
        assert (settled.level, settled.due_at, settled.next_reminder_at) == (None, None, None)


def test_votes_at_the_level_and_on_the_request_are_told_apart() -> None:
    now = progress(20, APPROVED)
    assert (now.level, now.votes_at_level, now.missing) == (2, 0, 1)
    assert now.voters == {BOB}
    assert now.opened_at == at(10)


def test_the_preview_lists_what_silence_brings() -> None:
    assert escalation.moments(CHAIN.levels[0], START) == [
        Moment("remind", at(250)),
        Moment("remind", at(500)),
        Moment("escalate", at(600), 1),
        Moment("remind", at(850)),
        Moment("escalate", at(900), 2),
        Moment("lapse", at(1000)),
    ]


def test_who_is_asked_next_is_only_who_is_new() -> None:
    def after(seconds: int) -> frozenset[PersonKey]:
        return escalation.who_next(CHAIN, progress(seconds), PARTIES, DIRECTORY)

    assert after(0) == {ERIN}
    assert after(600) == {GUS}
    assert after(900) == frozenset()
    assert after(1000) == frozenset()


@pytest.mark.parametrize(
    ("managers", "of", "found"),
    [
        ({ALICE: BOB, BOB: ERIN}, 1, {BOB}),
        ({ALICE: BOB, BOB: ERIN}, 2, {ERIN}),
        ({ALICE: BOB, BOB: ERIN}, 3, set()),
        ({ALICE: None}, 1, set()),
        ({ALICE: ALICE}, 1, {ALICE}),
        ({ALICE: BOB, BOB: ALICE}, 3, {BOB}),
        ({ALICE: BOB, BOB: BOB}, 2, {BOB}),
        ({ALICE: BOB}, 1, {BOB}),
        ({ALICE: BOB}, 2, set()),
        ({}, 1, set()),
    ],
)
def test_managers_are_walked_up_round_circles_too_and_an_ended_line_leads_to_nobody(
    managers: dict[PersonKey, PersonKey | None], of: int, found: set[PersonKey]
) -> None:
    directory = Directory({key: person(key, boss) for key, boss in managers.items()}, {})
    assert chains.resolve(Source("manager", of=of), PARTIES, directory) == found


def test_dependencies_name_all_that_can_change_who_decides() -> None:
    assert chains.dependencies(CHAIN, PARTIES, DIRECTORY) == {
        "p:1",
        "p:2",
        "p:4",
        "p:3",
        "g:admins",
        "l:carol",
        "o:resource",
    }


def build(people: dict[str, Any]) -> Directory:
    """A directory of a random case's people."""
    return Directory(
        {
            key: Person(key, facts["manager"], frozenset(facts["groups"]), facts["active"])
            for key, facts in people.items()
        },
        {key: key for key in people},
    )


def signalled(before: dict[str, Any], after: dict[str, Any]) -> set[str]:
    """The keys that a caller signals for the differences of two directories."""
    keys: set[str] = set()
    for name, old in before.items():
        new = after[name]
        if old["manager"] != new["manager"] or old["active"] != new["active"]:
            keys.add(f"p:{name}")
        groups = set(old["groups"]) ^ set(new["groups"])
        if old["active"] != new["active"]:
            groups |= set(old["groups"]) | set(new["groups"])
        keys |= {f"g:{group}" for group in groups}
    return keys


@settings(max_examples=100, deadline=None, database=None)
@given(
    case=strategies.cases(),
    changed=st.dictionaries(
        strategies.names,
        st.fixed_dictionaries(
            {"manager": strategies.managers, "groups": strategies.groups, "active": st.booleans()}
        ),
        min_size=1,
        max_size=2,
    ),
)
def test_what_depends_on_nothing_that_changed_stays_the_same(
    case: dict[str, Any], changed: dict[str, Any]
) -> None:
    chain = chains.parse(case["chain"])
    parties = Parties(case["requester"], case["subject"], case["owner"])
    before, after = build(case["people"]), build(case["people"] | changed)
    keys = chains.dependencies(chain, parties, before)
    if keys & signalled(case["people"], case["people"] | changed):
        return
    for index, level in enumerate(chain.levels):
        start = escalation.replay(chain, [], opened_at=START, now=START)
        for escalations in range(len(level.escalate) + 1):
            now = replace(start, level=index + 1, escalations=escalations, missing=level.quorum)
            assert escalation.electorate(chain, now, parties, before) == escalation.electorate(
                chain, now, parties, after
            )


@settings(max_examples=100, deadline=None, database=None)
@given(case=strategies.cases())
def test_what_must_never_happen(case: dict[str, Any]) -> None:
    """Nobody decides for themselves or twice; what is settled stays; approval has its votes."""
    chain = chains.parse(case["chain"])
    parties = Parties(case["requester"], case["subject"], case["owner"])
    people: dict[str, Any] = {key: dict(facts) for key, facts in case["people"].items()}
    votes: list[Vote] = []
    ended: Progress | None = None
    for second in range(strategies.UNTIL + 1):
        for change in case["changes"]:
            if change["at"] == second:
                people[change["person"]].update(change["set"])
        directory = build(people)
        for decision in [x for x in case["decisions"] if x["at"] == second]:
            now = escalation.replay(chain, votes, opened_at=START, now=at(second))
            able = escalation.electorate(chain, now, parties, directory)
            assert able.isdisjoint({parties.requester, parties.subject} | now.voters)
            assert all(directory.is_active(key) for key in able)
            actor = decision["actor"]
            reason = escalation.refusal(chain, now, parties, directory, actor)
            assert (reason is None) == (actor in able)
            if reason is None:
                votes.append(Vote(actor, decision["verdict"], at(second)))
        now = escalation.replay(chain, votes, opened_at=START, now=at(second))
        assert now.voters == {vote.actor for vote in votes}
        assert len(now.voters) == len(votes)
        assert list(now.reminders) == sorted(set(now.reminders))
        if ended is not None:
            assert now == ended
        elif now.state != "pending":
            ended = now
        if any(vote.verdict == "deny" for vote in votes):
            assert now.state == "denied"
        if now.state == "approved":
            assert len(votes) == sum(level.quorum for level in chain.levels)
