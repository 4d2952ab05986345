"""The chain's document form: what it takes, what it refuses and where it points."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from approvals.domain import chain as chains
from approvals.domain.chain import Chain, ChainError, Level, Source, Step
from tests.domain import strategies

FULL: dict[str, Any] = {
    "levels": [
        {
            "name": "Manager",
            "from": [{"kind": "manager"}],
            "fallback": [{"kind": "manager", "of": 2}],
            "quorum": 1,
            "within": 1800,
            "remind": 600,
            "escalate": [{"to": [{"kind": "owner"}], "within": 900, "keep": True}],
        },
        {
            "name": "Data",
            "from": [{"kind": "group", "name": "data"}, {"kind": "person", "name": "erin"}],
            "fallback": [],
            "quorum": 2,
            "within": 60,
            "remind": 0,
            "escalate": [],
        },
    ],
    "last_resort": [{"kind": "group", "name": "admins"}],
}


def test_every_part_is_read() -> None:
    assert chains.parse(FULL) == Chain(
        levels=(
            Level(
                name="Manager",
                sources=(Source("manager"),),
                fallback=(Source("manager", of=2),),
                quorum=1,
                within=timedelta(seconds=1800),
                remind=timedelta(seconds=600),
                escalate=(Step((Source("owner"),), timedelta(seconds=900), keep=True),),
            ),
            Level(
                name="Data",
                sources=(Source("group", name="data"), Source("person", name="erin")),
                fallback=(),
                quorum=2,
                within=timedelta(seconds=60),
                remind=None,
                escalate=(),
            ),
        ),
        last_resort=(Source("group", name="admins"),),
    )


def test_dump_gives_the_document_back() -> None:
    assert chains.dump(chains.parse(FULL)) == FULL


@given(document=strategies.chains)
def test_dump_and_parse_are_inverse(document: dict[str, Any]) -> None:
    chain = chains.parse(document)
    assert chains.parse(chains.dump(chain)) == chain


def test_what_may_be_left_out_is_nothing() -> None:
    level = {"name": "A", "from": [{"kind": "owner"}], "quorum": 1, "within": 1}
    (read,) = chains.parse({"levels": [level]}).levels
    assert (read.fallback, read.remind, read.escalate) == ((), None, ())


def level(**fields: object) -> Callable[[dict[str, Any]], None]:
    """Set fields of the second level; the value `...` removes one."""

    def edit(document: dict[str, Any]) -> None:
        for key, value in fields.items():
            document["levels"][1][key.rstrip("_")] = value
            if value is ...:
                del document["levels"][1][key.rstrip("_")]

    return edit


def source(value: object) -> Callable[[dict[str, Any]], None]:
    """Make the second level's only source `value`."""
    return level(from_=[value])


def step(**fields: object) -> Callable[[dict[str, Any]], None]:
    """Change the first level's escalation step."""
    return lambda document: document["levels"][0]["escalate"][0].update(fields)


def top(**fields: object) -> Callable[[dict[str, Any]], None]:
    """Change the chain's own fields."""
    return lambda document: document.update(fields)


NUMBER = "must be a whole number of at least"
BAD: list[tuple[Callable[[dict[str, Any]], None], str]] = [
    (top(levels=[]), "levels: must not be empty"),
    (top(levels={}), "levels: must be a list"),
    (top(levels=[FULL["levels"][0]] * 21), "levels: must hold at most 20"),
    (top(levels=[None]), "levels[0]: must be an object"),
    (top(last_resort=None), "last_resort: must be a list"),
    (top(owner="bob"), "document: has the unknown key 'owner'"),
    (level(quorum=0), f"levels[1].quorum: {NUMBER} 1"),
    (level(quorum=-1), f"levels[1].quorum: {NUMBER} 1"),
    (level(quorum=True), f"levels[1].quorum: {NUMBER} 1"),
    (level(quorum="2"), f"levels[1].quorum: {NUMBER} 1"),
    (level(quorum=1.0), f"levels[1].quorum: {NUMBER} 1"),
    (level(quorum=None), f"levels[1].quorum: {NUMBER} 1"),
    (level(quorum=10**30), "levels[1].quorum: must be at most 1,000"),
    (level(quorum=...), "levels[1]: lacks the key 'quorum'"),
    (level(within=0), f"levels[1].within: {NUMBER} 1"),
    (level(within=-5), f"levels[1].within: {NUMBER} 1"),
    (level(within=float("nan")), f"levels[1].within: {NUMBER} 1"),
    (level(within=10**5000), "levels[1].within: must be at most 315,360,000"),
    (level(within=...), "levels[1]: lacks the key 'within'"),
    (level(remind=-1), f"levels[1].remind: {NUMBER} 0"),
    (level(remind=False), f"levels[1].remind: {NUMBER} 0"),
    (level(remind=None), f"levels[1].remind: {NUMBER} 0"),
    (level(remind=1, within=86_400), "levels[1].remind: gives more than 10,000 reminders"),
    (level(name=""), "levels[1].name: must not be blank"),
    (level(name=" \t"), "levels[1].name: must not be blank"),
    (level(name="a\0b"), "levels[1].name: must not hold control characters"),
    (level(name="a\ud800"), "levels[1].name: must not hold control characters"),
    (level(name="x" * 201), "levels[1].name: must have at most 200 characters"),
    (level(name=7), "levels[1].name: must be a text"),
    (level(name=...), "levels[1]: lacks the key 'name'"),
    (level(from_=[]), "levels[1].from: must not be empty"),
    (level(from_="manager"), "levels[1].from: must be a list"),
    (level(from_=...), "levels[1]: lacks the key 'from'"),
    (level(from_=[{"kind": "owner"}] * 51), "levels[1].from: must hold at most 50"),
    (level(escalate=None), "levels[1].escalate: must be a list"),
    (level(approvers=[]), "levels[1]: has the unknown key 'approvers'"),
    (source("owner"), "levels[1].from[0]: must be an object"),
    (source({}), "levels[1].from[0]: lacks the key 'kind'"),
    (source({"kind": "oracle"}), "levels[1].from[0].kind: must be one of manager, owner, group,"),
    (source({"kind": ["owner"]}), "levels[1].from[0].kind: must be one of"),
    (source({"kind": "group"}), "levels[1].from[0]: lacks the key 'name'"),
    (source({"kind": "group", "name": None}), "levels[1].from[0].name: must be a text"),
    (source({"kind": "person", "name": "\0"}), "levels[1].from[0].name: must not"),
    (source({"kind": "group", "name": "a", "of": 1}), "levels[1].from[0].of: has no meaning"),
    (source({"kind": "owner", "name": "bob"}), "levels[1].from[0].name: has no meaning"),
    (source({"kind": "manager", "of": 0}), f"levels[1].from[0].of: {NUMBER} 1"),
    (source({"kind": "manager", "of": True}), f"levels[1].from[0].of: {NUMBER} 1"),
    (source({"kind": "manager", "of": 51}), "levels[1].from[0].of: must be at most 50"),
    (source({"kind": "manager", "x": 1}), "levels[1].from[0]: has the unknown key 'x'"),
    (step(to=[]), "levels[0].escalate[0].to: must not be empty"),
    (step(within=0), f"levels[0].escalate[0].within: {NUMBER} 1"),
    (step(keep=1), "levels[0].escalate[0].keep: must be true or false"),
    (step(why=""), "levels[0].escalate[0]: has the unknown key 'why'"),
]


@pytest.mark.parametrize(("edit", "message"), BAD, ids=[message for _, message in BAD])
def test_nonsense_is_refused_with_its_path(
    edit: Callable[[dict[str, Any]], None], message: str
) -> None:
    document = deepcopy(FULL)
    edit(document)
    with pytest.raises(ChainError) as caught:
        chains.parse(document)
    assert str(caught.value).startswith(message)
    assert len(str(caught.value)) < 300


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(("levels", "from", "kind", "name", "quorum", "within")), inner
        )
    ),
    max_leaves=8,
)


@given(document=json_values)
def test_any_json_is_read_or_refused_but_never_breaks(document: object) -> None:
    try:
        chains.parse(document)
    except ChainError as error:
        assert str(error)
