"""Random cases of the approval chain, small enough that every interesting thing happens."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from tests.domain import oracle

NAMES = ("alice", "bob", "carol", "dan", "erin", "fay")
GROUPS = ("data", "heads", "admins")
UNTIL = 40
"""Seconds that a case is watched for."""

names = st.sampled_from(NAMES)
anyone = st.sampled_from((*NAMES, "zoe"))
managers = st.none() | names
groups = st.lists(st.sampled_from(GROUPS), unique=True, min_size=1, max_size=3)

sources: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.just({"kind": "manager"}),
    st.builds(lambda of: {"kind": "manager", "of": of}, st.integers(1, 4)),
    st.just({"kind": "owner"}),
    st.builds(lambda name: {"kind": "group", "name": name}, st.sampled_from((*GROUPS, "nobody"))),
    st.builds(lambda name: {"kind": "person", "name": name}, anyone),
)
some_sources = st.lists(sources, min_size=1, max_size=2)
spare_sources = st.lists(sources, max_size=2)

steps = st.fixed_dictionaries(
    {"to": some_sources, "within": st.integers(1, 9), "keep": st.booleans()}
)
levels = st.fixed_dictionaries(
    {
        "name": st.just("Level"),
        "from": some_sources,
        "fallback": spare_sources,
        "quorum": st.sampled_from((1, 1, 1, 1, 2, 2, 3, 7)),
        "within": st.integers(1, 14) | st.integers(6, 14),
        "escalate": st.lists(steps, max_size=3),
    },
    optional={"remind": st.integers(0, 6)},
)
chains = st.fixed_dictionaries(
    {
        "levels": st.lists(levels, min_size=1, max_size=2)
        | st.lists(levels, min_size=3, max_size=3),
        "last_resort": spare_sources,
    }
)
people = st.fixed_dictionaries(
    {
        name: st.fixed_dictionaries(
            {
                "manager": managers,
                "groups": groups,
                "active": st.sampled_from((True, True, True, False)),
            }
        )
        for name in NAMES
    }
)
changes = st.fixed_dictionaries(
    {
        "at": st.integers(0, UNTIL),
        "person": names,
        "set": st.fixed_dictionaries(
            {}, optional={"manager": managers, "groups": groups, "active": st.booleans()}
        ),
    }
)
tries = st.tuples(
    st.integers(0, UNTIL),
    st.integers(0, 11),
    anyone,
    st.sampled_from(("approve", "approve", "approve", "approve", "approve", "deny")),
)


def _decisions(case: dict[str, Any], drawn: list[tuple[int, int, str, str]]) -> None:
    """Put decisions into the case; most actors are some who may decide just then."""
    case["decisions"] = []
    world = oracle.World(case)
    now = -1
    for at, pick, anybody, verdict in sorted(drawn, key=lambda x: x[0]):
        while now < at:
            now += 1
            world.second_passes(now)
        able = world.may_decide()
        actor = able[pick % len(able)] if able and pick < 8 else anybody
        world.decide(actor, verdict)
        case["decisions"].append({"at": at, "actor": actor, "verdict": verdict})


@st.composite
def cases(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a case without expectations; its decisions are in the order of their seconds."""
    requester = draw(names)
    case = {
        "name": "random",
        "people": draw(people),
        "owner": draw(st.none() | anyone),
        "requester": requester,
        "subject": draw(st.just(requester) | names),
        "chain": draw(chains),
        "changes": draw(st.lists(changes, max_size=4)),
    }
    _decisions(case, draw(st.lists(tries, min_size=5, max_size=14)))
    return case
