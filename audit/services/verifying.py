"""Verification of the database against its log: the columns hold what was sealed, or it says so.

Lives here: one run, from its snapshot to its report. What is looked at is in
`audit.services.verification`. Everything is read in one REPEATABLE READ snapshot and in runs of a
few thousand entries, so that memory doesn't grow with the log; the offline verifier
(`audit.domain.verifier`) looks at exports and shares no code with this.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Protocol

import structlog
from django.conf import settings
from django.db import connection, transaction

from audit.domain.note import LogKey
from audit.models import Checkpoint, Log, Verification
from audit.selectors import clock, holders
from audit.services.verification import logs, outside, records, snapshot
from audit.services.verification.findings import Namer, Problem
from audit.services.verification.logs import Progress
from audit.services.verification.outside import Anchor, Given, Unusable
from audit.services.verification.report import Key, Report

__all__ = ["Report", "Unusable", "also", "named_by", "run"]

log = structlog.get_logger(__name__)

KEPT_PROBLEMS = 20
#: More of what one check finds wrong is not looked at.
INDEX_MOST = 1_000
#: Within this the indexes follow what time changes.
FOLLOWED = timedelta(minutes=1)


class Check(Protocol):
    """What else must hold in the snapshot; yields a sentence for each thing that is wrong."""

    def __call__(self, *, now: datetime) -> Iterable[str]: ...


_checks: list[Check] = []
_namers: list[Namer] = []


def also(check: Check) -> None:
    """Have every run make this check too, inside its snapshot. Called at start-up."""
    if check not in _checks:
        _checks.append(check)


def named_by(namer: Namer) -> None:
    """Have problems call objects what this returns for them, where it isn't "". At start-up."""
    if namer not in _namers:
        _namers.append(namer)


def _name(model: str, object_id: str) -> str:
    return next((name for each in _namers if (name := each(model, object_id))), "")


def run(
    *,
    by: str,
    vkeys: Sequence[str] = (),
    checkpoints: Sequence[Path] = (),
    vouched: bool = False,
    jobs: int = 1,
    progress: Progress | None = None,
) -> Report:
    """Return what a full verification finds, and record it where this role may.

    `vkeys` are keys of logs that the caller trusts; other logs are held to the key that the
    database itself names, and the report says so. `checkpoints` are files of earlier ones, held
    outside; with `vouched`, what witnesses and timestamp authorities signed is taken as held too,
    which whoever removed their rows has taken away. `jobs` is the number of processes. Raises:
    Unusable where nothing can be looked at; DatabaseError.
    """
    assert not connection.in_atomic_block, "the snapshot is taken by the first statement"
    keys = outside.keys(vkeys)
    given = [outside.read(path) for path in checkpoints]
    report = Report(started_at=clock.now(), namer=_name)
    with snapshot.unswept(), snapshot.taken() as now:
        if vouched:
            given += _vouched(keys)
        _look(report, keys, given, jobs=jobs, progress=progress, now=now)
    report.finished_at = clock.now()
    report.recorded = _record(report, by=by)
    log.info(
        "ledger.verified",
        outcome=report.outcome,
        problems=report.findings.count,
        entries=report.entries,
        by=by,
    )
    return report


def _vouched(keys: dict[str, LogKey]) -> list[Given]:
    """Return the newest checkpoints of each log that its outside holders have signed."""
    found = []
    for held in Log.objects.order_by("id"):
        key = keys.get(held.origin) or outside.keys([held.vkey]).get(held.origin)
        for name, message in holders.vouched(held, key) if key else ():
            found.append(outside.parsed(f"the checkpoint that {name} signed", message))
    return found


def _look(
    report: Report,
    keys: dict[str, LogKey],
    given: list[Given],
    *,
    jobs: int,
    progress: Progress | None,
    now: datetime,
) -> None:
    found = list(Log.objects.order_by("id"))
    if not found and not given:
        raise Unusable("There is no log yet: nothing was ever sealed.")
    trusted = {each.origin: _key(report, each, keys) for each in found}
    for origin in keys.keys() - trusted.keys():
        report.add("log", f"there is no log {origin}, whose key was given")
    anchors = _anchors(report, given, trusted, keys)
    anchors += records.earlier(trusted)
    waits = records.unsealed(now=now)
    report.unsealed, report.oldest_unsealed = waits.count, waits.oldest
    looked = logs.Look(
        report=report,
        logs=[(each, trusted[each.origin]) for each in found],
        anchors=anchors,
        unsealed=waits,
        jobs=jobs,
        progress=progress or _silent,
    )
    looked.run()
    _wait(report, waits)
    for problem in (*records.without_entries(), *records.salts_without_entries()):
        report.findings.add(problem)
    for check in _checks:
        for words in _wrong(check, now=now):
            report.add("index", words)


def _wrong(check: Check, *, now: datetime) -> list[str]:
    """Return what is wrong by a check now, and was a moment ago.

    What time itself changes, such as who is asked once an answer is overdue, gets into the indexes
    within seconds; that isn't told.
    """
    found = list(dict.fromkeys(islice(check(now=now), INDEX_MOST)))
    if not found:
        return []
    before = set(islice(check(now=now - FOLLOWED), INDEX_MOST))
    return [words for words in found if words in before]


def _silent(done: int, total: int) -> None:
    """Show nothing."""


def _key(report: Report, held: Log, given: dict[str, LogKey]) -> LogKey:
    """Return the key that a log is held to: the given one, or else the database's own."""
    try:
        own = outside.keys([held.vkey]).get(held.origin)
    except Unusable:
        own = None
    key = given.get(held.origin) or own
    if own is None:
        report.add("log", f"the key that the database has for {held.origin} is not one of its")
    elif key != own:
        report.add("log", f"the key that the database has for {held.origin} is not the given one")
    if key is None:
        raise Unusable(f"The database has no key of {held.origin}: give one with --vkey.")
    report.keys[held.origin] = Key(key.vkey, given=held.origin in given)
    return key


def _anchors(
    report: Report, given: list[Given], trusted: dict[str, LogKey], keys: dict[str, LogKey]
) -> list[Anchor]:
    found: list[Anchor] = []
    for each in given:
        origin = each.checkpoint.origin
        key = keys.get(origin) or trusted.get(origin)
        opened = outside.opened(each, key) if key else None
        if isinstance(opened, str):
            report.add("checkpoint", opened)
        elif origin not in trusted:
            words = f"{each.source} is of a log that isn't here: {origin}"
            report.add("cut", f"{words}: its records were removed, or an older backup was restored")
        elif opened is not None:
            found.append(opened)
            report.held.append(opened)
    return found


def _wait(report: Report, waits: records.Unsealed) -> None:
    """Judge how long entries wait for the sealer."""
    if waits.age > settings.LEDGER_STALE:
        words = f"{waits.count} entries are not sealed, the oldest for {_length(waits.age)}"
        report.findings.add(Problem(kind="unsealed", what=words, entry=waits.first))
    elif waits.late:
        report.warn(f"{waits.late} entries wait to be sealed for more than a minute")


def _length(age: timedelta) -> str:
    return str(timedelta(seconds=int(age.total_seconds())))


def _record(report: Report, *, by: str) -> bool:
    """Keep the run, where this role may insert and this is no standby; return whether."""
    if not report.logs or report.finished_at is None:
        return False
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT has_any_column_privilege(%s, 'INSERT') AND NOT pg_is_in_recovery()",
            [Verification._meta.db_table],
        )
        allowed: bool = cursor.fetchone()[0]
    if not allowed:
        return False
    newest = report.logs[-1]
    signed = Checkpoint.objects.filter(log__origin=newest.origin, size=newest.size).first()
    with transaction.atomic():
        Verification(
            started_at=report.started_at,
            finished_at=report.finished_at,
            by=by[:200],
            log=newest.origin,
            size=newest.size,
            root=newest.root,
            note=bytes(signed.note) if signed else b"",
            outcome=report.outcome,
            problem_count=report.findings.count,
            problems=[
                each.as_json(_name) | {"sentence": each.sentence(_name)}
                for each in report.findings.problems[:KEPT_PROBLEMS]
            ],
            entries=report.entries,
        ).save()
    return True
