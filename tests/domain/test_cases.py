"""The shared cases hold, and a case that is wrong or ill-formed is noticed."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from approvals.domain import cases
from approvals.domain.cases import CaseError, Difference

SHARED: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent / "data" / "chain.json").read_text(encoding="utf-8")
)


@pytest.mark.parametrize("case", SHARED, ids=lambda case: case["name"])
def test_shared_case(case: dict[str, Any]) -> None:
    assert cases.run(case) == []


def first() -> dict[str, Any]:
    """A copy of the simplest case: bob approves at 60."""
    return deepcopy(SHARED[0])


@pytest.mark.parametrize(
    ("key", "wrong", "got"),
    [
        ("state", "approved", "pending"),
        ("level", 2, 1),
        ("level", True, 1),
        ("waiting_on", ["erin"], ["bob"]),
        ("missing", 2, 1),
        ("due", 1801, 1800),
        ("escalations", 1, 0),
        ("reminders", [600], []),
    ],
)
def test_each_asked_field_is_compared(key: str, wrong: object, got: object) -> None:
    case = first()
    case["ask"][0][key] = wrong
    assert cases.run(case) == [Difference("one level, one manager", 0, key, wrong, got)]


def test_a_decisions_outcome_is_compared() -> None:
    case = first()
    case["decisions"][0]["expect"] = "refused:inactive"
    what = "decision 1 (bob: approve)"
    expected = [Difference("one level, one manager", 60, what, "refused:inactive", "accepted")]
    assert cases.run(case) == expected


def test_a_change_may_bring_someone_new() -> None:
    case = first()
    case["changes"] = [
        {"at": 5, "person": "zoe", "set": {"groups": ["eng"], "active": True}},
        {"at": 5, "person": "alice", "set": {"manager": "zoe"}},
    ]
    case["decisions"] = [{"at": 5, "actor": "zoe", "verdict": "approve", "expect": "accepted"}]
    case["ask"] = [{"at": 4, "waiting_on": ["bob"]}, {"at": 5, "state": "approved"}]
    assert cases.run(case) == []


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("people", [], "people: must be an object"),
        ("people", {"alice": {"boss": "bob"}}, "people.alice: has the unknown key 'boss'"),
        ("people", {"alice": {"active": 1}}, "people.alice.active: must be true or false"),
        ("requester", None, "requester: must be a text"),
        ("chain", {"levels": []}, "chain.levels: must not be empty"),
        ("changes", [{"at": -1, "person": "bob", "set": {}}], "changes[0].at: must be a whole"),
        ("decisions", [{"at": 1, "actor": "bob"}], "decisions[0]: lacks the key 'verdict'"),
        (
            "decisions",
            [{"at": 1, "actor": "bob", "verdict": "maybe"}],
            "decisions[0].verdict: must be one of approve, deny",
        ),
        ("ask", [{"at": 0, "mood": "good"}], "ask[0]: has the unknown key 'mood'"),
        ("ask", [{"at": 10**400}], "ask[0].at: must be at most 1,000,000,000"),
    ],
)
def test_an_ill_formed_case_is_refused_with_its_path(key: str, value: object, message: str) -> None:
    case = first()
    case[key] = value
    with pytest.raises(CaseError) as caught:
        cases.run(case)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("document", [None, [], "case", 3, {}])
def test_what_is_no_case_is_refused(document: Any) -> None:
    with pytest.raises(CaseError):
        cases.run(document)
