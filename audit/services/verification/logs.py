"""Every log from its first leaf to its last, run by run, in one process or in several."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256
from multiprocessing import get_context
from typing import Any

import psycopg
from django.db import connection

from audit.domain import entries
from audit.domain.lines import Malformed
from audit.domain.note import LogKey
from audit.models import Log
from audit.services.verification import form as forms
from audit.services.verification import kinds, records, snapshot, worker
from audit.services.verification.findings import Problem
from audit.services.verification.outside import Anchor
from audit.services.verification.report import Report, Seen
from audit.services.verification.scanning import RUN, Erasures, Run, Scanned, Scanner
from audit.services.verification.tree import Growing

#: Shows how far it is: entries done, and of how many.
Progress = Callable[[int, int], None]

_LEAVES = "SELECT coalesce(max(index) + 1, 0) FROM audit_leaf WHERE log_id = %s"
_IDS_GIVEN_OUT = """
SELECT pg_sequence_last_value(s) - (SELECT coalesce(max(id), 0) FROM audit_entry)
FROM pg_get_serial_sequence('audit_entry', 'id') n, LATERAL (SELECT n::regclass) c(s)
WHERE has_sequence_privilege(s, 'USAGE')
"""
AT_A_TIME = 2_000


@dataclass(slots=True)
class Look:
    """One look at all logs and at what isn't sealed yet."""

    report: Report
    logs: Sequence[tuple[Log, LogKey]]
    anchors: list[Anchor]
    unsealed: records.Unsealed
    jobs: int
    progress: Progress
    _leaves: dict[int, int] = field(default_factory=dict)
    _done: int = 0

    def run(self) -> None:
        """Scan everything and grow every log's tree."""
        with connection.cursor() as cursor:
            for held, _ in self.logs:
                cursor.execute(_LEAVES, [held.pk])
                self._leaves[held.pk] = cursor.fetchone()[0]
        total = sum(self._leaves.values()) + self.unsealed.count
        erased = records.erasures()
        snapshot.set_local(snapshot.BY_KEY)
        trees = self._trees()
        tree = next(trees, None)
        ends: list[bytes] = []
        for done in _scanned(self._runs(), erased, jobs=self.jobs if total > 2 * RUN else 1):
            while tree is not None and (done.run.ids or done.run.order != tree.order):
                ends.append(self._finish(tree))
                tree = next(trees, None)
            if tree is not None and not done.run.ids:
                tree.grow(done.hashes, done.ids)
            self._count(done)
            self.progress(min(self._done, total), total)
        while tree is not None:
            ends.append(self._finish(tree))
            tree = next(trees, None)
        for order, before in enumerate([None, *ends[:-1]]):
            self._succeeds(order, before)
        snapshot.set_local(snapshot.BY_TABLE)

    def _runs(self) -> Iterator[Run]:
        for order, (held, _) in enumerate(self.logs):
            size = self._leaves[held.pk]
            for start in range(0, size, RUN):
                yield Run(order=order, log=held.pk, start=start, end=min(start + RUN, size))
        after = 0
        while ids := records.unsealed_ids(after=after, most=RUN):
            yield Run(order=len(self.logs), log=0, ids=tuple(ids))
            after = ids[-1]

    def _count(self, done: Scanned) -> None:
        report = self.report
        report.findings.take(done.findings.problems, count=done.findings.count)
        report.entries += done.entries
        report.values += done.values
        report.erased += done.erased
        report.untimely += done.untimely
        if report.untimely_first is None:
            report.untimely_first = done.untimely_first
        self._done += done.entries

    # -- trees

    def _trees(self) -> Iterator[Growing]:
        for order, (held, key) in enumerate(self.logs):
            yield Growing(
                order=order,
                key=key,
                checkpoints=_stored_checkpoints(held.pk),
                nodes=[_stored_nodes(held.pk, level) for level in _levels(held.pk)],
                anchors=[each for each in self.anchors if each.origin == held.origin],
                findings=self.report.findings,
            )

    def _finish(self, tree: Growing) -> bytes:
        """End a log's tree; return the text of its last checkpoint."""
        tree.finish()
        held, _ = self.logs[tree.order]
        for anchor in tree.anchors:
            words = (
                f"the end of the log is cut off: {anchor.source} is of {anchor.size} entries, and"
                f" there are {tree.size}"
            )
            self._add("cut", f"{words}: {_how(anchor.size - tree.size)}", tree)
        self.report.logs.append(Seen(held.origin, tree.signed, tree.signed_root))
        return tree.end

    def _add(self, kind: str, what: str, tree: Growing) -> None:
        self.report.findings.add(Problem(kind=kind, what=what, order=tree.order, leaf=tree.size))

    def _succeeds(self, order: int, end: bytes | None) -> None:
        """Check that a log begins by committing to the end of the one before; None: it is first."""
        held, _ = self.logs[order]
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT e.data FROM audit_leaf l JOIN audit_entry e ON e.id = l.entry_id"
                " WHERE l.log_id = %s AND l.index = 0",
                [held.pk],
            )
            row = cursor.fetchone()
        if row is None:
            return
        try:
            form = forms.read(bytes(row[0]))
        except Malformed:
            return
        succeeds = form.type == entries.SUCCESSION
        said = form.fields.get("checkpoint") if succeeds else None
        words = ""
        if end is None and succeeds:
            words = "the log succeeds an earlier one, which is gone with all its entries"
        elif end is not None and said != sha256(end).hexdigest():
            words = "the log doesn't begin by committing to the end of the log before it"
        if words:
            self.report.findings.add(Problem(kind="log", what=words, order=order, leaf=0))


def _how(missing: int) -> str:
    """Return how an end went missing, as far as the database still knows.

    Ids are given out once: where they went on beyond the newest entry, entries were removed; a
    backup that was restored knows of no later ids.
    """
    with connection.cursor() as cursor:
        cursor.execute(_IDS_GIVEN_OUT)
        row = cursor.fetchone()
    if row is None or row[0] is None:
        return "they were removed, or an older backup was restored"
    if row[0] >= missing:
        return "they were removed (ids were given out to as many more entries)"
    return "an older backup was restored (no ids were given out to more entries), or it looks so"


def _stored_checkpoints(log: int) -> Iterator[tuple[int, bytes, bytes]]:
    with snapshot.raw().cursor(name=f"audit_checkpoints_{log}", binary=True) as cursor:
        cursor.itersize = AT_A_TIME
        cursor.execute(
            "SELECT size, root, note FROM audit_checkpoint WHERE log_id = %s ORDER BY size", [log]
        )
        yield from cursor


def _levels(log: int) -> range:
    with connection.cursor() as cursor:
        cursor.execute("SELECT max(level) FROM audit_node WHERE log_id = %s", [log])
        most = cursor.fetchone()[0]
    return range(1, (most or 0) + 1)


def _stored_nodes(log: int, level: int) -> Iterator[tuple[int, bytes]]:
    with snapshot.raw().cursor(name=f"audit_nodes_{log}_{level}", binary=True) as cursor:
        cursor.itersize = AT_A_TIME
        cursor.execute(
            "SELECT index, hash FROM audit_node WHERE log_id = %s AND level = %s ORDER BY index",
            [log, level],
        )
        yield from cursor


# -- one process or several


def _scanned(runs: Iterator[Run], erased: Erasures, *, jobs: int) -> Iterator[Scanned]:
    """Yield what each run comes to, in their order; only a few are ever under way."""
    if jobs < 2:
        raw: psycopg.Connection[Any] = snapshot.raw()
        yield from map(Scanner(raw, kinds.every(), erased).scan, runs)
        return
    arguments = (snapshot.parameters(), snapshot.export(), erased)
    pool = ProcessPoolExecutor(
        jobs, get_context("spawn"), initializer=worker.start, initargs=arguments
    )
    with pool:
        waiting: deque[Future[Scanned]] = deque()
        for run in runs:
            waiting.append(pool.submit(worker.scan, run))
            if len(waiting) > jobs + 1:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
