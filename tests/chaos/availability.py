"""Whether the portal went on while things broke: its answers, its lags, its alarms, its processes."""

from __future__ import annotations

from collections import Counter
from statistics import median, quantiles

from tests.chaos.findings import BACK_SECONDS, LAG_SECONDS, Downtime, Facts, Row
from tests.chaos.findings import row as _row
from tests.chaos.run import Evidence

#: Seconds of lateness after which somebody must have been told.
ALARM_SECONDS = 45.0
#: What a worker says as it ends because Redis went while it had unacknowledged messages (kombu).
REDIS_AWAY = "Unrecoverable error: AttributeError(\"'NoneType' object has no attribute"
#: Removals of which a median is compared, and of which a 99th percentile is.
ENOUGH, ENOUGH_P99 = 10, 200
#: Seconds up to which a median and a 99th percentile are good whatever they were else: kills and
#: restarts go on meanwhile. A call to a silent target takes longer, so waiting behind one shows.
WELL_SECONDS, WELL_P99_SECONDS = 1.5, 3.0
#: How many times as long they may be during an outage of others.
WELL_RATIO = 2.0


def clean_answers(facts: Facts) -> list[Row]:
    """Pages answer, or say 503 and when to come back; never anything else."""
    told = facts.evidence.clients
    wrong = [f"{line['what']}: {line['why']}" for line in facts.journal if line["told"] == "broken"]
    wrong += [f"{name}: {count}" for name, count in told.items() if name.startswith("page broken")]
    wrong += [f"{name}: {count}" for name, count in told.items() if name.startswith("page refused")]
    away = len(facts.evidence.database_away)
    seen = ", ".join(
        f"{count} × {name.removeprefix('status ')}"
        for name, count in sorted(told.items())
        if name.startswith("status ")
    )
    return [_row(f"database restarted {away} times", "a clean 503, then it goes on", seen, wrong)]


def back_again(facts: Facts) -> list[Row]:
    """After the database is back pages answer; after the broker is back, what became due is done."""
    evidence = facts.evidence
    wrong, waits = [], []
    for _, back_at in evidence.database_away:
        later = [row["at"] for row in facts.visits if row["at"] >= back_at]
        good = [row["at"] for row in facts.visits if row["at"] >= back_at and _good(row)]
        if not later or (later[-1] - back_at < BACK_SECONDS and not good):
            continue  # the visitor left before
        waits.append((good[0] if good else later[-1]) - back_at)
        if not good or waits[-1] > BACK_SECONDS:
            wrong.append(f"no page until {waits[-1]:.1f} s after the database")
    seen = f"{len(waits)} returns, first page after {_longest(waits)}"
    rows = [_row("database restarted", f"pages answer within {BACK_SECONDS:.0f} s", seen, wrong)]
    wrong, waits, walls, downtime = [], [], [], Downtime(evidence, broker=False)
    for lost_at, name in evidence.killed:
        if name != "redis":
            continue
        back_at = _back_at(evidence, lost_at)
        for request in facts.requests.values():
            due_at, gone_at = request.last["removal_due_at"], request.last["removal_confirmed_at"]
            if due_at is None or request.resource not in ("steady", "slow"):
                continue
            if lost_at <= due_at <= back_at and gone_at is not None:
                walls.append(max(0.0, gone_at - back_at))
                waits.append(downtime.waited(back_at, max(back_at, gone_at)))
                if waits[-1] > BACK_SECONDS + LAG_SECONDS:
                    wrong.append(f"{request.key}: {waits[-1]:.1f} s after the broker")
    seen = f"{len(waits)} removals fell due meanwhile, gone after its return: {_longest(walls)}"
    seen += f" (of working time {_longest(waits)})"
    return [
        *rows,
        _row("broker lost and empty", "all work is found from the database", seen, wrong),
    ]


def _good(row: dict[str, object]) -> bool:
    return row["told"] == "answered"


def _longest(waits: list[float]) -> str:
    return f"{median(waits):.1f} s, at most {max(waits):.1f} s" if waits else "–"


def outage(facts: Facts) -> list[Row]:
    """The other targets' removals take as long as without the outage; the alarm was raised."""
    begin, _, end = facts.evidence.outage[:3]
    rows: list[Row] = []
    lags: dict[str, dict[bool, list[float]]] = {}
    for request in facts.requests.values():
        due_at, gone_at = request.last["removal_due_at"], request.last["removal_confirmed_at"]
        if due_at is None or gone_at is None or facts.downtime.has(due_at):
            continue
        groups = lags.setdefault(request.resource, {True: [], False: []})
        groups[begin <= due_at < end].append(gone_at - due_at)
    for name in sorted(lags):
        during, else_ = lags[name][True], lags[name][False]
        wrong = []
        well = name in ("steady", "slow")
        few = min(len(during), len(else_))
        seen = f"during it {_spread(during)}; else {_spread(else_)}"
        if well and few >= ENOUGH:
            if median(during) > max(WELL_SECONDS, WELL_RATIO * median(else_)):
                wrong.append("the outage of others slows most removals")
            if few < ENOUGH_P99:
                seen += " (too few to judge the p99)"
            elif _p99(during) > max(WELL_P99_SECONDS, WELL_RATIO * _p99(else_)):
                wrong.append("the outage of others slows some removals")
        elif well:
            seen += " (too few to judge)"
        what = "unaffected: p50 and p99 of removals" if well else "drains: lag of removals"
        rows.append(_row("outage: refused, then black-holed", f"{name} {what}", seen, wrong))
    alarms = facts.notices.get("stuck", 0)
    failed = sum(request.failures for request in facts.requests.values())
    late = [lag for groups in lags.values() for lag in groups[True] if lag > ALARM_SECONDS]
    wrong = ["nobody was alarmed"] if late and not alarms else []
    seen = f"{len(late)} removals late by more than {ALARM_SECONDS:.0f} s, {alarms} alarms mailed, "
    seen += f"{failed} failed attempts recorded"
    return [*rows, _row("outage: refused, then black-holed", "alarm is raised", seen, wrong)]


def _back_at(evidence: Evidence, lost_at: float) -> float:
    return min(at for at, name in evidence.started if name == "redis" and at > lost_at)


def _spread(lags: list[float]) -> str:
    if len(lags) < 2:
        return f"{len(lags)} removals"
    return f"{len(lags)} removals, p50 {median(lags):.2f} s, p99 {_p99(lags):.2f} s"


def _p99(lags: list[float]) -> float:
    return quantiles(lags, n=100, method="inclusive")[98]


def sealed(facts: Facts) -> list[Row]:
    """The ledger verifies."""
    found = facts.evidence.verify
    wrong = [] if facts.evidence.verify_status == 0 else [str(found)[:2000]]
    size = found.get("entries", "?")
    return [_row("sealer killed; all", "ledger_verify passes", f"{size} entries", wrong)]


def processes(facts: Facts) -> list[Row]:
    """Say what was done; nothing ends by itself but for the one known reason."""
    evidence = facts.evidence
    killed = Counter(name.partition("-")[0] for _, name in evidence.killed)
    seen = ", ".join(f"{count} × {name}" for name, count in killed.most_common())
    ended, known = [], 0
    for name, count in evidence.ended.items():
        log = (evidence.folder / f"{name}.log").read_text(errors="replace")
        known += (of_redis := min(count, log.count(REDIS_AWAY)))
        if count > of_redis:
            ended.append(f"{name}: {count - of_redis}")
    if known:
        seen += f"; {known} × a worker ended as Redis went, and was started again"
    done = evidence.done
    return [
        _row("kill -9", "no process ends by itself", f"killed: {seen}", ended),
        Row("two beats", "another leads when one goes", f"{evidence.leaders} times", True),
        Row("broker lost and empty", "(how often)", f"{done['broker']} times", True),
        Row("clocks of half of the processes jump", "(how often)", f"{done['clock']} times", True),
    ]
