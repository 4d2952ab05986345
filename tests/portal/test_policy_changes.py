"""What changed in a policy, in words."""

from copy import deepcopy
from typing import Any

import pytest

from approvals.selectors import policy_changes

LEVEL: dict[str, Any] = {
    "name": "Manager", "from": [{"kind": "manager"}], "quorum": 1, "within": 14_400,
    "escalate": [{"to": [{"kind": "owner"}], "within": 3_600, "keep": True}],
}  # fmt: skip
ONE: dict[str, Any] = {"rules": [{"name": "eng", "longest": 28_800, "levels": [LEVEL]}]}
TWO: dict[str, Any] = {
    "rules": [*ONE["rules"], {"name": "all", "longest": 60, "levels": [deepcopy(LEVEL)]}]
}


def _words(before: Any, after: Any) -> list[str | None]:
    found = policy_changes.leaves(before, after)
    return [policy_changes.said(before, after, leaf, str) for leaf in found]


@pytest.mark.parametrize(
    ("document", "place", "value", "told"),
    [
        (ONE, ("levels", 0, "within"), 120, "Level 1 Manager: answers within 4 h → 2 m"),
        (ONE, ("levels", 0, "quorum"), 2, "Level 1 Manager: approvals needed 1 → 2"),
        (ONE, ("levels", 0, "escalate", 0, "within"), 60,
         "Level 1 Manager, escalation 1: answers within 1 h → 1 m"),
        (TWO, ("levels", 0, "within"), 120,
         "Rule “eng”, level 1 Manager: answers within 4 h → 2 m"),
        (ONE, ("longest",), 3_600, "Rule “eng”: at most 8 h → 1 h"),
        (ONE, ("ticket",), True, "Rule “eng”: ticket needed False → True"),
        (ONE, ("levels", 0, "from", 0, "kind"), "owner", None),
        (ONE, ("levels", 0, "within"), "soon", None),
        (ONE, ("groups",), "x", None),
    ],
)  # fmt: skip
def test_a_change_is_told_in_words_where_it_can_be(
    document: Any, place: tuple[Any, ...], value: Any, told: str | None
) -> None:
    after = deepcopy(document)
    target = after["rules"][0]
    for key in place[:-1]:
        target = target[key]
    target[place[-1]] = value
    assert _words(document, after) == [told]


def test_a_level_that_moved_is_named_by_no_words() -> None:
    after = deepcopy(ONE)
    after["rules"][0]["levels"].insert(0, LEVEL | {"name": "Owner", "within": 60})
    assert set(_words(ONE, after)) == {None}


def test_a_path_is_written_as_the_errors_write_it() -> None:
    path = ("rules", 0, "levels", 1, "name")
    assert policy_changes.path_words("document", path) == "document.rules[0].levels[1].name"
