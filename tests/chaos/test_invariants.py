"""The checks of a run find what is wrong: each is shown a trace that breaks it."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.chaos import availability, invariants, plan, records
from tests.chaos.findings import Downtime
from tests.chaos.records import Hold, Request
from tests.chaos.run import Evidence
from tests.chaos.targets import FolderTarget

LIFE = [
    ("submitted", "pending", 0.0),
    ("approved", "approved", 1.0),
    ("activated", "active", 2.0),
    ("ended", "revoking", 62.0),
    ("confirmed", "expired", 63.0),
]
UP = Downtime(Evidence(Path(), "", 60.0))


def request(key: str = "r1", *, life: list[tuple[str, str, float]] = LIFE, **more: Any) -> Request:
    """Return a request with this life; it ends by time at second 62."""
    rows = [
        {
            "revision": number,
            "event": event,
            "state": state,
            "recorded_at": at,
            "occurred_at": at,
            "end_reason": "time",
            "actor": "p1" if event == "submitted" else None,
            "due_at": 62.0,
            "ends_at": 62.0,
            "removal_due_at": 62.0 if event in ("ended", "confirmed") else None,
            "removal_confirmed_at": at if event == "confirmed" else None,
        }
        for number, (event, state, at) in enumerate(life, 1)
    ]
    return Request(key, "p1", "steady", "read", rows, granted=1, removed=1, **more)


@pytest.fixture
def facts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The traces of a run in which one request was made and removed, and nothing went wrong."""
    monkeypatch.setenv("CHAOS_EPOCH", "0")
    target = FolderTarget("chaos_steady", tmp_path / "steady")
    found = SimpleNamespace(
        evidence=Evidence(tmp_path, "", 60.0),
        requests={"r1": request()},
        notices={},
        votes={},
        journal=[_told("submitted", 1)],
        visits=[],
        downtime=Downtime(Evidence(tmp_path, "", 60.0)),
        folders={"steady": target},
    )
    _call(target, "grant", 1.5, 1.9)
    _call(target, "revoke", 62.1, 62.9)
    return found


def _told(event: str, revision: int | None, **more: Any) -> dict[str, Any]:
    return {
        "told": "acknowledged", "what": "submit", "by": "p1", "request": "r1", "event": event,
        "revision": revision,
    } | more  # fmt: skip


def _call(
    target: FolderTarget, name: str, began: float, done: float, *, pid: int = 1, key: str = "r1"
) -> None:
    with target._journal.open("a") as file:
        for stage, at in (("began", began), ("done", done)):
            line = {"name": name, "stage": stage, "at": at, "pid": pid, "request": key}
            file.write(json.dumps(line | {"login": "p1", "entitlement": "read"}) + "\n")


CHECKS = (
    invariants.acknowledged,
    invariants.gap_free,
    invariants.no_access_without_grant,
    invariants.nothing_early,
    invariants.claimed_once,
    invariants.one_effect,
    invariants.one_vote,
    invariants.mails,
)


def wrong(facts: Any) -> set[str]:
    """Return the invariants that don't hold."""
    return {row.invariant for check in CHECKS for row in check(facts) if not row.holds}


def test_a_good_run_holds(facts: Any) -> None:
    assert wrong(facts) == set()


@pytest.mark.parametrize(
    "line",
    [
        _told("submitted", 1, request="r2"),
        _told("denied", 2),
        _told("submitted", 2),
        _told("submitted", 1, by="p2"),
    ],
)
def test_a_write_that_is_not_there_is_found(facts: Any, line: dict[str, Any]) -> None:
    facts.journal.append(line)
    assert wrong(facts) == {"no acknowledged write is lost"}


def test_a_gap_is_found(facts: Any) -> None:
    facts.requests["r1"].revisions[1]["revision"] = 7
    assert wrong(facts) == {"each object's revisions are gap-free"}


def test_an_illegal_step_and_a_second_final_state_are_found(facts: Any) -> None:
    again = [*LIFE, ("activated", "active", 64.0), ("confirmed", "expired", 65.0)]
    facts.requests["r1"] = request(life=again)
    assert "every step is one of the state machine's" in wrong(facts)
    assert "exactly one final state, and it is the last" in wrong(facts)


@pytest.mark.parametrize(
    ("hold", "why"),
    [
        (Hold("p1", "read", "r9", 1.5, 2.0), "never approved"),
        (Hold("p1", "read", "r1", 0.5, 2.0), "before it was approved"),
        (Hold("p1", "read", "r1", 1.5, None), "never removed"),
        (Hold("p1", "read", "r1", 70.0, 71.0), "made again after its end"),
        (Hold("p1", "read", "r1", 1.5, 162.0), "100.0 s too long"),
        (Hold("p1", "read", "r1", 1.5, 62.5), ""),
    ],
)
def test_access_outside_its_time_is_found(hold: Hold, why: str) -> None:
    known = {"r1": request()}
    assert invariants._judge(known.get(hold.request), hold, UP)[0] == why


def test_access_that_outlasts_its_end_while_the_record_says_so_is_no_secret() -> None:
    late = Hold("p1", "read", "r1", 1.5, 162.0)
    assert invariants._judge(request(failures=3), late, UP) == ("", 100.0)


def test_a_grant_after_the_end_is_found_in_the_targets_record(facts: Any) -> None:
    target = facts.folders["steady"]
    _call(target, "grant", 70.0, 70.1)
    _call(target, "revoke", 70.2, 70.3)
    assert [name[:14] for name in wrong(facts)] == ["steady: no acc"]


def test_what_ends_early_is_found(facts: Any) -> None:
    facts.requests["r1"].revisions[3]["recorded_at"] = 61.0
    assert wrong(facts) == {"nothing is early"}


def test_two_processes_with_one_request_are_found(facts: Any) -> None:
    _call(facts.folders["steady"], "revoke", 62.2, 62.8, pid=2)
    assert wrong(facts) == {"nothing is claimed twice"}


def test_a_second_side_effect_is_found(facts: Any) -> None:
    facts.requests["r1"].granted = 2
    assert wrong(facts) == {"one side effect per request"}


def test_a_second_vote_is_found(facts: Any) -> None:
    facts.votes["r1"] = 2
    assert "one vote" in wrong(facts)


@pytest.mark.parametrize(("crash", "is_wrong"), [(11.0, False), (40.0, True)])
def test_a_second_mail_is_found_unless_a_crash_explains_it(
    facts: Any, crash: float, is_wrong: bool
) -> None:
    facts.evidence.mails = {"<a@b>": [10.0, 26.0], "<c@d>": [1.0]}
    facts.evidence.killed = [(crash, "notices-1")]
    assert (wrong(facts) == {"no notice is mailed twice"}) is is_wrong


def test_the_same_seed_breaks_the_same_things() -> None:
    one, same, other = (plan.make(seconds=600, seed=seed) for seed in (5, 5, 6))
    assert one == same != other
    kinds = {step.what for step in one}
    assert kinds == {"broker", "clock", "database", "kill", "outage"}
    killed = {step.whom.partition("-")[0] for step in one if step.what == "kill"}
    assert killed == set(plan.KINDS)


def test_the_outage_is_in_the_middle_and_as_long_as_wanted() -> None:
    for wanted, times in ((None, [200, 300, 400]), (480.0, [60, 300, 540])):
        steps = plan.make(seconds=600, seed=5, outage=wanted)
        assert [step.at for step in steps if step.what == "outage"] == times


@pytest.mark.parametrize(
    ("usual", "late", "many", "found"),
    [
        (0.05, 0.05, 0, ""),
        (0.05, 6.0, 2, ""),
        (0.05, 6.0, 9, "the outage of others slows some removals"),
        (0.05, 6.0, 200, "the outage of others slows most removals"),
        (4.0, 6.0, 9, ""),
    ],
)
def test_what_an_outage_of_others_slows_is_found(
    facts: Any, usual: float, late: float, many: int, found: str
) -> None:
    """Of 300 removals during the outage `many` are `late`; all others take the `usual` time."""
    facts.evidence.outage = [100.0, 150.0, 200.0]
    facts.requests = {
        f"{due_at}-{number}": _removed(due_at, late if number < many and due_at > 100 else usual)
        for due_at in (50.0, 120.0)
        for number in range(300)
    }
    (steady, alarm) = availability.outage(facts)
    assert (steady.holds, alarm.holds) == (not found, True)
    assert found in " ".join(steady.examples)


def _removed(due_at: float, lag: float) -> Request:
    found = request()
    found.revisions[-1] |= {"removal_due_at": due_at, "removal_confirmed_at": due_at + lag}
    return found


def test_a_call_without_an_effect_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAOS_EPOCH", "0")
    target = FolderTarget("chaos_x", tmp_path)
    with target._journal.open("a") as file:
        line = {"name": "grant", "stage": "began", "at": 1.0, "pid": 1, "request": "r1"}
        file.write(json.dumps(line | {"login": "p1", "entitlement": "read"}) + "\n")
    _call(target, "grant", 2.0, 3.0)
    assert [(call.began, call.done) for call in records.calls(target)] == [(2.0, 3.0)]


def test_time_in_which_nobody_could_work_is_not_counted() -> None:
    evidence = Evidence(Path(), "", 60.0, settle_seconds=5.0)
    evidence.gone = [(10.0, "due-1"), (15.0, "due-2"), (90.0, "due-1")]
    evidence.started = [(18.0, "due-1"), (30.0, "due-2"), (91.0, "due-1")]
    down = Downtime(evidence)
    assert down.times == [(15.0, 23.0)], "one of two is enough"
    assert down.waited(0.0, 100.0) == 92.0
    evidence.database_away = [(20.0, 21.0)]
    assert Downtime(evidence).times == [(15.0, 56.0)]
