"""The policy: default deny, the first rule that fits, and reasons that a person can act on."""

from __future__ import annotations

from copy import deepcopy
from datetime import timedelta
from typing import Any

import pytest

from approvals.domain import policy as policies
from approvals.domain.policy import Policy, PolicyError, Refused, Resolution

HOUR = timedelta(hours=1)
LEVELS = [{"name": "Manager", "from": [{"kind": "manager"}], "quorum": 1, "within": 60}]
DOCUMENT: dict[str, Any] = {
    "rules": [
        {"name": "short", "groups": ["eng"], "longest": 3600, "auto_approve": True},
        {
            "name": "long",
            "groups": ["eng", "data"],
            "longest": 8 * 3600,
            "ticket": True,
            "reason_min": 10,
            "levels": LEVELS,
            "last_resort": [{"kind": "group", "name": "admins"}],
        },
    ]
}
POLICY = policies.parse(DOCUMENT)


def ask(policy: Policy | None = POLICY, **given: Any) -> Resolution | Refused:
    """Ask as an engineer with a ticket and a reason, for two hours of something of low risk."""
    facts: dict[str, Any] = {
        "risk": "low",
        "subject_groups": frozenset({"eng"}),
        "duration": 2 * HOUR,
        "ticket": "OPS-1",
        "reason": "the nightly job failed",
    }
    return policies.resolve(policy, **(facts | given))


def test_the_first_rule_that_fits_decides() -> None:
    assert ask(duration=HOUR) == Resolution("short", None, HOUR)


def test_a_longer_duration_falls_to_the_next_rule() -> None:
    found = ask(duration=HOUR + timedelta(seconds=1))
    assert found == Resolution("long", policies.rule(POLICY, "long").chain, 8 * HOUR)
    assert isinstance(found, Resolution)
    assert found.chain is not None
    assert found.chain.levels[0].name == "Manager"


def everyone(**fields: Any) -> Policy:
    """A policy of one rule for everyone, with a chain unless it approves by itself."""
    rule = {"name": "all", "everyone": True, "longest": 60} | fields
    if not fields.get("auto_approve"):
        rule["levels"] = LEVELS
    return policies.parse({"rules": [rule]})


REFUSALS: list[tuple[dict[str, Any], str, str]] = [
    ({"policy": None}, "no_policy", "No policy allows anyone to ask for this."),
    (
        {"subject_groups": frozenset({"sales"})},
        "not_eligible",
        "Only members of data or eng may ask for this; you are in sales.",
    ),
    (
        {"subject_groups": frozenset({"sales", "hr", "art"})},
        "not_eligible",
        "Only members of data or eng may ask for this; you are in art, hr and sales.",
    ),
    (
        {"subject_groups": frozenset()},
        "not_eligible",
        "Only members of data or eng may ask for this; you are in no group.",
    ),
    ({"duration": 9 * HOUR}, "too_long", "Longest is 8 h; ask for less."),
    ({"duration": timedelta.max}, "too_long", "Longest is 8 h; ask for less."),
    ({"ticket": "  "}, "ticket_missing", "A ticket is required."),
    ({"ticket": ""}, "ticket_missing", "A ticket is required."),
    ({"reason": " short   \n"}, "reason_too_short", "Give a reason of at least 10 characters."),
    (
        {"risk": "high", "duration": HOUR},
        "auto_approve_risk",
        (
            "The rule “short” approves without a person, which only low risk allows; "
            "this is high risk. Ask an operator to give the rule approvers."
        ),
    ),
    (
        {
            "policy": everyone(reason_min=1),
            "duration": timedelta(seconds=60),
            "reason": "",
        },
        "reason_too_short",
        "Give a reason.",
    ),
]


@pytest.mark.parametrize(("given", "code", "reason"), REFUSALS, ids=[x[1] for x in REFUSALS])
def test_refusals_say_what_to_do(given: dict[str, Any], code: str, reason: str) -> None:
    found = ask(**given)
    assert isinstance(found, Refused)
    assert (found.code, found.told(subject=True)) == (code, reason)
    assert "you are in" not in found.told(subject=False)


def test_the_longest_named_is_the_askers_own() -> None:
    found = ask(duration=9 * HOUR, policy=policies.parse({"rules": DOCUMENT["rules"][:1]}))
    assert found == Refused("too_long", "Longest is 1 h; ask for less.")


def test_everyone_needs_no_group() -> None:
    found = ask(everyone(), subject_groups=frozenset(), duration=timedelta(seconds=60))
    assert isinstance(found, Resolution)


@pytest.mark.parametrize("risk", ["medium", "high", "", "LOW"])
def test_only_low_risk_approves_by_itself(risk: str) -> None:
    found = ask(everyone(auto_approve=True), risk=risk, duration=timedelta(seconds=60))
    assert isinstance(found, Refused)
    assert found.code == "auto_approve_risk"


@pytest.mark.parametrize("duration", [timedelta(0), timedelta(seconds=-1)])
def test_a_duration_that_is_not_positive_is_a_callers_mistake(duration: timedelta) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        ask(duration=duration)


@pytest.mark.parametrize(
    ("policy", "groups", "longest"),
    [
        (POLICY, {"eng"}, 8 * HOUR),
        (POLICY, {"data", "sales"}, 8 * HOUR),
        (POLICY, {"sales"}, None),
        (POLICY, set(), None),
        (None, {"eng"}, None),
        (everyone(), set(), timedelta(seconds=60)),
    ],
)
def test_eligible_and_longest(
    policy: Policy | None, groups: set[str], longest: timedelta | None
) -> None:
    assert policies.longest_for(policy, frozenset(groups)) == longest
    assert policies.eligible(policy, frozenset(groups)) is (longest is not None)


@pytest.mark.parametrize(
    ("policy", "groups", "hours", "code"),
    [
        (POLICY, {"eng"}, 2, None),
        (POLICY, {"sales"}, 2, "not_eligible"),
        (POLICY, {"eng"}, 9, "too_long"),
        (None, {"eng"}, 2, "no_policy"),
        (POLICY, {"eng"}, 1, "auto_approve_risk"),
    ],
)
def test_recheck_asks_for_no_ticket_again(
    policy: Policy | None, groups: set[str], hours: int, code: str | None
) -> None:
    found = policies.recheck(
        policy, risk="high", subject_groups=frozenset(groups), duration=hours * HOUR
    )
    assert (found and found.code) == code


def test_a_rule_is_found_by_its_name() -> None:
    assert policies.rule(POLICY, "long") is POLICY.rules[1]
    with pytest.raises(LookupError, match="no rule 'gone'"):
        policies.rule(POLICY, "gone")


def test_dump_and_parse_are_inverse() -> None:
    assert policies.parse(policies.dump(POLICY)) == POLICY
    assert policies.parse(policies.dump(everyone())) == everyone()
    assert policies.dump(policies.parse(policies.dump(POLICY))) == policies.dump(POLICY)


def _bad(index: int, **fields: Any) -> dict[str, Any]:
    document = deepcopy(DOCUMENT)
    for key, value in fields.items():
        document["rules"][index][key] = value
        if value is ...:
            del document["rules"][index][key]
    return document


BAD: list[tuple[object, str]] = [
    (None, "document: must be an object"),
    ([], "document: must be an object"),
    ({}, "document: lacks the key 'rules'"),
    ({"rules": []}, "rules: must not be empty"),
    ({"rules": [1]}, "rules[0]: must be an object"),
    ({"rules": [], "default": "allow"}, "document: has the unknown key 'default'"),
    (_bad(0, groups=...), "rules[0]: needs exactly one of groups and everyone"),
    (_bad(0, everyone=True), "rules[0]: needs exactly one of groups and everyone"),
    (_bad(0, groups=..., everyone=False), "rules[0].everyone: must be true"),
    (_bad(0, groups=[]), "rules[0].groups: must not be empty"),
    (_bad(0, groups=["eng", "eng"]), "rules[0].groups[1]: is named twice"),
    (_bad(0, groups=["a\0"]), "rules[0].groups[0]: must not hold control characters"),
    (_bad(0, longest=0), "rules[0].longest: must be a whole number of at least 1"),
    (_bad(0, longest=10**20), "rules[0].longest: must be at most 315,360,000"),
    (_bad(0, longest=True), "rules[0].longest: must be a whole number of at least 1"),
    (_bad(0, ticket=1), "rules[0].ticket: must be true or false"),
    (_bad(0, reason_min=-1), "rules[0].reason_min: must be a whole number of at least 0"),
    (_bad(0, auto_approve="yes"), "rules[0].auto_approve: must be true or false"),
    (_bad(0, auto_approve=False), "rules[0]: lacks the key 'levels'"),
    (_bad(0, levels=LEVELS), "rules[0].levels: has no meaning beside auto_approve"),
    (_bad(0, last_resort=[]), "rules[0].last_resort: has no meaning beside auto_approve"),
    (_bad(1, levels=...), "rules[1]: lacks the key 'levels'"),
    (_bad(1, levels=[]), "rules[1].levels: must not be empty"),
    (
        _bad(1, levels=[LEVELS[0] | {"quorum": 0}]),
        "rules[1].levels[0].quorum: must be a whole number of at least 1",
    ),
    (_bad(1, last_resort=[{"kind": "x"}]), "rules[1].last_resort[0].kind: must be one of"),
    (_bad(1, name="short"), "rules[1].name: is the name of an earlier rule"),
    (_bad(1, owner="x"), "rules[1]: has the unknown key 'owner'"),
]


@pytest.mark.parametrize(("document", "message"), BAD, ids=[message for _, message in BAD])
def test_nonsense_is_refused_with_its_path(document: object, message: str) -> None:
    with pytest.raises(PolicyError) as caught:
        policies.parse(document)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("length", "text"),
    [
        (8 * HOUR, "8 h"),
        (timedelta(days=1, minutes=30), "1 d 30 min"),
        (timedelta(seconds=45), "45 s"),
        (timedelta(0), "0 s"),
    ],
)
def test_lengths_read_as_people_say_them(length: timedelta, text: str) -> None:
    assert policies.duration_text(length) == text


def test_an_extension_may_have_a_chain_of_its_own() -> None:
    shorter = [{"name": "Owner", "from": [{"kind": "owner"}], "quorum": 1, "within": 60}]
    document = {"rules": [DOCUMENT["rules"][1] | {"extension_levels": shorter}]}
    policy = policies.parse(document)
    first, more = ask(policy), ask(policy, extends=True)
    assert isinstance(first, Resolution)
    assert isinstance(more, Resolution)
    assert first.chain is not None
    assert more.chain is not None
    assert [level.name for level in first.chain.levels] == ["Manager"]
    assert [level.name for level in more.chain.levels] == ["Owner"]
    assert more.chain.last_resort == first.chain.last_resort
    assert policies.parse(policies.dump(policy)) == policy


def test_without_one_an_extension_takes_the_same_chain() -> None:
    assert ask(extends=True) == ask()


def test_windows_are_those_of_the_rule_that_fits() -> None:
    window = {"days": ["sat"], "from": "08:00", "to": "20:00", "timezone": "UTC"}
    short, long = DOCUMENT["rules"]
    policy = policies.parse({"rules": [short, long | {"windows": [window]}]})
    groups = frozenset({"eng"})
    of = policies.windows_for
    assert of(policy, subject_groups=groups, duration=HOUR) == ()
    assert of(policy, subject_groups=groups, duration=2 * HOUR)[0].opens == 480
    assert of(None, subject_groups=groups, duration=HOUR) == ()
    assert policies.parse(policies.dump(policy)) == policy


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"extension_levels": []}, "rules[0].extension_levels: must not be empty"),
        ({"auto_approve": True, "extension_levels": LEVELS}, "rules[0].extension_levels: has no"),
        ({"windows": []}, "rules[0].windows: must not be empty"),
        ({"windows": [{"days": ["sat"]}]}, "rules[0].windows[0]: lacks the key"),
    ],
)
def test_faults_of_extensions_and_windows_are_named(change: dict[str, Any], path: str) -> None:
    rule = {"name": "all", "everyone": True, "longest": 60} | change
    if "auto_approve" not in rule:
        rule["levels"] = LEVELS
    with pytest.raises(PolicyError) as refused:
        policies.parse({"rules": [rule]})
    assert str(refused.value).startswith(path)
