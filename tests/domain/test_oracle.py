"""The product and an independent reading agree, second by second, on random cases."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from approvals.domain import cases as product
from tests.domain import oracle
from tests.domain.strategies import UNTIL, cases

EXAMPLES = int(os.environ.get("CHAIN_EXAMPLES", "300"))
SHARED: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent / "data" / "chain.json").read_text(encoding="utf-8")
)


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(case=cases())
def test_every_second_of_a_random_case_agrees(case: dict[str, Any]) -> None:
    assert product.run(oracle.expect(case, until=UNTIL)) == []


@pytest.mark.parametrize("case", SHARED, ids=lambda case: case["name"])
def test_the_oracle_itself_agrees_with_the_shared_cases(case: dict[str, Any]) -> None:
    told = oracle.expect(case, until=max(ask["at"] for ask in case["ask"]))
    assert told["decisions"] == case["decisions"]
    by_second = {ask["at"]: ask for ask in told["ask"]}
    assert [by_second[ask["at"]] for ask in case["ask"]] == case["ask"]


def test_random_cases_reach_every_outcome_and_every_refusal() -> None:
    """Guards the guard: a generator that never gets anywhere would agree with anything."""
    seen: Counter[str] = Counter()

    @settings(max_examples=300, deadline=None, database=None, derandomize=True)
    @given(case=cases())
    def look(case: dict[str, Any]) -> None:
        told = oracle.expect(case, until=UNTIL)
        seen.update({decision["expect"] for decision in told["decisions"]})
        seen.update({ask["state"] for ask in told["ask"]})
        seen.update({f"level {ask['level']}" for ask in told["ask"]})
        seen.update({f"escalations {ask['escalations']}" for ask in told["ask"]})
        if told["ask"][-1]["reminders"]:
            seen["reminded"] += 1

    look()
    wanted = {
        "accepted",
        "refused:settled",
        "refused:lapsed",
        "refused:self_decision",
        "refused:inactive",
        "refused:already_voted",
        "refused:not_an_approver",
        "pending",
        "approved",
        "denied",
        "lapsed",
        "level 2",
        "level 3",
        "escalations 2",
        "reminded",
    }
    assert wanted - set(seen) == set()
