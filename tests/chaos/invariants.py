"""What must hold after a run, checked from outside. Each check returns rows; none may be wrong."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import pairwise

from tests.chaos import records, targets
from tests.chaos.findings import CLOCK_SECONDS, LAG_SECONDS, Downtime, Facts, Row
from tests.chaos.findings import row as _row
from tests.chaos.records import Request

#: Seconds between two copies of a mail that a crash in between explains.
CRASH_SECONDS = 5.0

# Every legal step: (state before, event, state after). Written here once more on purpose.
_STEPS = {
    ("", "submitted", "pending"),
    ("pending", "voted", "pending"), ("pending", "escalated", "pending"),
    ("pending", "approved", "approved"), ("pending", "denied", "denied"),
    ("pending", "cancelled", "cancelled"), ("pending", "lapsed", "lapsed"),
    ("approved", "activated", "active"), ("approved", "cancelled", "cancelled"),
    ("approved", "failed", "failed"), ("active", "ended", "revoking"),
    ("revoking", "confirmed", "expired"), ("revoking", "confirmed", "revoked"),
}  # fmt: skip


def drained(facts: Facts) -> list[Row]:
    """Nothing is on its way, and nobody has access anywhere."""
    evidence = facts.evidence
    left = [f"{name}: {count}" for name, count in evidence.left.items()]
    held = [f"{name}: {pair}" for name, pairs in evidence.held.items() for pair in pairs]
    states = Counter(row.last["state"] for row in facts.requests.values())
    seen = ", ".join(f"{count} {state}" for state, count in states.most_common())
    after = "never" if evidence.drained_after is None else f"{evidence.drained_after:.0f} s"
    return [
        _row("all", "every request came to a final state; the outbox is empty", seen, left),
        _row("all", "nothing is held at any target at the end", f"{len(evidence.held)} targets, "
             f"drained after {after}, {evidence.retried} by “retry now”", held),
    ]  # fmt: skip


def acknowledged(facts: Facts) -> list[Row]:
    """What a client was told is what the database has."""
    wrong: list[str] = []
    count = 0
    for line in facts.journal:
        if line["told"] != "acknowledged":
            continue
        count += 1
        request = facts.requests.get(line["request"])
        rows = [] if request is None else request.revisions
        if not any(_matches(row, line) for row in rows):
            wrong.append(str(line))
    told = Counter(line["told"] for line in facts.journal)
    seen = f"{count} acknowledged writes ({told['unknown']} unknown, {told['refused']} refused)"
    scenario = "workers, webs killed; database restarted"
    return [_row(scenario, "no acknowledged write is lost", seen, wrong)]


def _matches(row: dict[str, object], line: dict[str, object]) -> bool:
    return (
        row["event"] == line["event"]
        and line["revision"] in (None, row["revision"])
        and row["actor"] in (line["by"], None)
    )


def gap_free(facts: Facts) -> list[Row]:
    """Revisions are 1..n in the order in which they were written, each step is legal, one final."""
    gaps, illegal, finals = [], [], []
    total = 0
    for request in facts.requests.values():
        total += len(request.revisions)
        numbers = [row["revision"] for row in request.revisions]
        if numbers != list(range(1, len(numbers) + 1)):
            gaps.append(f"{request.key}: {numbers}")
        before = ""
        for row in request.revisions:
            if (before, row["event"], row["state"]) not in _STEPS:
                illegal.append(f"{request.key}: {before} {row['event']} {row['state']}")
            before = row["state"]
        if sum(row["state"] in records.FINAL for row in request.revisions) != 1:
            finals.append(f"{request.key}: {request.last['state']}")
    seen = f"{total} revisions of {len(facts.requests)} requests"
    return [
        _row("all", "each object's revisions are gap-free", seen, gaps),
        _row("all", "every step is one of the state machine's", seen, illegal),
        _row("all", "exactly one final state, and it is the last", seen, finals),
    ]


def no_access_without_grant(facts: Facts) -> list[Row]:
    """At the folder targets each time of access lies within what its request allowed."""
    rows: list[Row] = []
    for name, target in facts.folders.items():
        wrong, longest, failing = [], 0.0, 0
        found = records.holds(target)
        for hold in found:
            request = facts.requests.get(hold.request)
            problem, over = _judge(request, hold, facts.downtime)
            if problem:
                wrong.append(f"{problem}: {hold}")
            elif request is not None and request.failures and over > LAG_SECONDS:
                failing += 1
            else:
                longest = max(longest, over)
        seen = f"{len(found)} times of access, longest beyond its end {longest:.1f} s"
        if failing:
            seen += f", {failing} longer while the record said that the target fails"
        rows.append(
            _row(_scenario(name), f"{name}: no access without a live grant "
                 f"(removed within {LAG_SECONDS:.0f} s of working time, or visibly failing)", seen, wrong)
        )  # fmt: skip
    return rows


def _judge(request: Request | None, hold: records.Hold, downtime: Downtime) -> tuple[str, float]:
    """Return what is wrong with a time of access, and how long it outlasted its end."""
    if request is None or request.approved_at is None:
        return "never approved", 0.0
    if hold.begin < request.approved_at - CLOCK_SECONDS:
        return "before it was approved", 0.0
    over_at = request.over_at
    if hold.end is None or over_at is None:
        return "never removed", 0.0
    called_off = request.last["state"] in ("cancelled", "failed")
    if request.final_at is not None and hold.begin > request.final_at and not called_off:
        return "made again after its end", 0.0
    over = downtime.waited(max(over_at, hold.begin), hold.end)
    if over > LAG_SECONDS and not request.failures:
        return f"{over:.1f} s too long", over
    return "", max(over, 0.0)


def no_access_at_the_database(facts: Facts) -> list[Row]:
    """The same at the real PostgreSQL, as somebody saw it who looked twice a second."""
    by_pair: dict[tuple[str, str], list[Request]] = defaultdict(list)
    for request in facts.requests.values():
        if request.resource == targets.DATABASE and request.approved_at is not None:
            by_pair[request.login, request.entitlement].append(request)
    wrong: list[str] = []
    seen = 0
    for at, members in facts.evidence.members:
        for login, entitlement in members:
            seen += 1
            if not any(_covers(each, at, facts.downtime) for each in by_pair[login, entitlement]):
                wrong.append(f"{login} in {entitlement} at {at}")
    looks = len(facts.evidence.members)
    granted = sum(each.granted for group in by_pair.values() for each in group)
    return [
        _row(_scenario(targets.DATABASE), "orders (PostgreSQL): no membership without a live grant",
             f"{seen} memberships seen in {looks} looks, {granted} grants", wrong)
    ]  # fmt: skip


def _covers(request: Request, at: float, downtime: Downtime) -> bool:
    approved_at, over_at = request.approved_at, request.over_at
    assert approved_at is not None
    if at < approved_at - CLOCK_SECONDS:
        return False
    if over_at is None or downtime.waited(over_at, at) <= LAG_SECONDS:
        return True
    return bool(request.failures) and (request.final_at is None or at <= request.final_at)


def nothing_early(facts: Facts) -> list[Row]:
    """No end, lapse or removal before its moment, whatever a host's clock says.

    The database stamps what is written, perhaps on a processor whose clock is behind.
    """
    wrong: list[str] = []
    ends = lapses = 0
    for request in facts.requests.values():
        due_at = None
        for row in request.revisions:
            if row["event"] == "ended" and row["end_reason"] == "time":
                ends += 1
                if min(row["occurred_at"], row["recorded_at"] + CLOCK_SECONDS) < row["ends_at"]:
                    wrong.append(f"ended early: {request.key}")
            if row["event"] == "lapsed":
                lapses += 1
                if row["recorded_at"] + CLOCK_SECONDS < due_at:
                    wrong.append(f"lapsed early: {request.key}")
            due_at = row["due_at"]
    for target in facts.folders.values():
        for call in records.calls(target):
            over_at = facts.requests[call.request].over_at
            if call.name == "revoke" and (over_at is None or call.done < over_at - CLOCK_SECONDS):
                wrong.append(f"removed early: {call}")
    off = "two beats; clocks of half of the processes jump by 1 h"
    scenario = off if facts.evidence.skewed else "two beats (no clock could be set off here)"
    return [_row(scenario, "nothing is early", f"{ends} ends by time, {lapses} lapses", wrong)]


def claimed_once(facts: Facts) -> list[Row]:
    """No two processes had the same request at a target at the same time."""
    wrong: list[str] = []
    count = 0
    for target in facts.folders.values():
        by_request: dict[str, list[records.Call]] = defaultdict(list)
        for call in records.calls(target):
            by_request[call.request].append(call)
            count += 1
        for several in by_request.values():
            several.sort(key=lambda call: call.began)
            for one, next_ in pairwise(several):
                if next_.began < one.done - CLOCK_SECONDS and one.pid != next_.pid:
                    wrong.append(f"{one} and {next_}")
    scenario = "two beats, two workers of each queue; messages lost and repeated"
    return [_row(scenario, "nothing is claimed twice", f"{count} calls with effect", wrong)]


def one_effect(facts: Facts) -> list[Row]:
    """Each request was made at most once and removed at most once, as the records say."""
    wrong = [
        f"{row.key}: {row.granted} made, {row.removed} removed"
        for row in facts.requests.values()
        if row.granted > 1
        or row.removed > 1
        or (row.granted != row.removed and row.last["state"] in ("expired", "revoked"))
    ]
    seen = f"{sum(row.granted for row in facts.requests.values())} grants"
    return [_row("worker killed in the middle", "one side effect per request", seen, wrong)]


def one_vote(facts: Facts) -> list[Row]:
    """A page that is sent twice is counted once."""
    told: Counter[str] = Counter()
    asked: Counter[str] = Counter()
    for line in facts.journal:
        if line["what"] == "decide":
            asked[line["request"]] += 1
            told[line["request"]] += line["told"] == "acknowledged"
    wrong = [f"{key}: {count} acknowledged" for key, count in told.items() if count > 1]
    wrong += [f"{key}: {count} votes" for key, count in facts.votes.items() if count > 1]
    twice = sum(count > 1 for count in asked.values())
    seen = f"{sum(facts.votes.values())} votes, {twice} of them sent more than once"
    return [_row("double decision, form sent twice", "one vote", seen, wrong)]


def mails(facts: Facts) -> list[Row]:
    """No mail came twice, save where a crash fell between the server's answer and its record."""
    crashes = [at for at, name in facts.evidence.killed if name.startswith("notices")]
    crashes += [at for began, ended in facts.evidence.database_away for at in (began, ended)]
    wrong, explained = [], 0
    for key, times in facts.evidence.mails.items():
        for first, second in pairwise(times):
            if any(first - CRASH_SECONDS <= at <= second for at in crashes):
                explained += 1
            else:
                wrong.append(f"{key}: {second - first:.2f} s apart")
    seen = f"{len(facts.evidence.mails)} mails"
    if explained:
        seen += f", {explained} repeated by a crash under the same Message-ID"
    return [_row("notices' workers killed", "no notice is mailed twice", seen, wrong)]


def _scenario(name: str) -> str:
    return {
        "steady": "a target that is well",
        "flapping": "a target with an outage",
        "slow": "a slow target",
    }.get(name, "a real PostgreSQL behind a gate")
