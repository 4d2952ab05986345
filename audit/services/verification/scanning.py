"""A run of entries, each against its leaf, its object's entry before, its row and its salts.

What is needed besides the entries is fetched for the whole run at once, so that memory depends on
the length of a run and not on that of the log. Nothing here needs another run's result: runs are
scanned in any order and by any process that sees the same snapshot.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from hashlib import sha256
from typing import Any, NamedTuple

import psycopg
from django.contrib.auth import get_user_model

from audit.domain import entries
from audit.domain.lines import Malformed
from audit.services.verification import form as forms
from audit.services.verification import restating
from audit.services.verification.comparing import NONSENSE, TOGETHER, Comparison
from audit.services.verification.findings import Findings, Problem
from audit.services.verification.form import Form
from audit.services.verification.kinds import Kind

#: Entries of a run.
RUN = 4096
#: People whose identity is kept in mind.
PEOPLE = 50_000
#: By how much a row's moment may differ from when it was entered without being counted.
TIMELY = timedelta(seconds=5)

#: The fields of an object that were erased, and up to which revision.
Erasures = Mapping[tuple[str, str], Mapping[str, int]]

_COLUMNS = (
    "e.id, e.model, e.object_id, e.record_id, e.data, s.salts, e.recorded_at"
    " FROM {} LEFT JOIN audit_salt s ON s.entry_id = e.id"
)
_SEALED = (
    "SELECT l.index, l.hash, l.entry_id, "
    + _COLUMNS.format("audit_leaf l LEFT JOIN audit_entry e ON e.id = l.entry_id")
    + " WHERE l.log_id = %s AND l.index >= %s AND l.index < %s ORDER BY l.index"
)
_UNSEALED = (
    "SELECT NULL::bigint, NULL::bytea, e.id, "
    + _COLUMNS.format("audit_entry e")
    + " WHERE e.id = ANY(%s) ORDER BY e.id"
)
_BEFORE = """
SELECT k.place, p.data, p.record_id, l.log_id, l.index
FROM unnest(%s::text[], %s::text[], %s::bigint[]) WITH ORDINALITY k(model, object_id, id, place)
CROSS JOIN LATERAL (
  SELECT id, data, record_id FROM audit_entry e
  WHERE e.object_id = k.object_id AND e.model = k.model AND e.id < k.id
  ORDER BY e.id DESC LIMIT 1) p
LEFT JOIN audit_leaf l ON l.entry_id = p.id
"""
_ROW_BEFORE = (
    "SELECT record_id FROM audit_entry WHERE object_id = %s AND model = %s AND id < %s"
    " AND record_id IS NOT NULL ORDER BY id DESC LIMIT 1"
)
_UID = "SELECT uid FROM {} WHERE id = %s"


@dataclass(frozen=True, slots=True)
class Run:
    """Which entries: leaves of a log from `start` to `end`, or unsealed ones by their ids."""

    order: int
    log: int
    start: int = 0
    end: int = 0
    ids: tuple[int, ...] = ()


@dataclass(slots=True)
class Scanned:
    """What a run came to. `hashes` and `ids` are those of its leaves, in order, without gaps."""

    run: Run
    hashes: list[bytes] = field(default_factory=list)
    ids: array[int] = field(default_factory=lambda: array("q"))
    findings: Findings = field(default_factory=Findings)
    entries: int = 0
    values: int = 0
    erased: int = 0
    untimely: int = 0
    untimely_first: int | None = None


class Line(NamedTuple):
    """One leaf with its entry, as the database has them."""

    leaf: int | None
    stored: bytes | None
    entry_id: int
    found: int | None
    model: str
    object_id: str
    record_id: int | None
    data: bytes
    salts: bytes | None
    recorded_at: Any


class Head(NamedTuple):
    """An object's newest entry so far: its hash, revision, row, and where it is sealed."""

    digest: str
    rev: int | None
    row: Any
    log: int | None
    leaf: int | None


class Scanner:
    """Scans runs on one connection, whose transaction is the snapshot that is verified."""

    def __init__(
        self, raw: psycopg.Connection[Any], kinds: Mapping[str, Kind], erasures: Erasures
    ) -> None:
        self._raw = raw
        self._kinds = kinds
        self._erasures = erasures
        self._identify = lru_cache(maxsize=PEOPLE)(self._uid)

    def scan(self, run: Run) -> Scanned:
        """Return what a run's entries come to."""
        done = Scanned(run)
        lines = self._leaves(run, done)
        heads, wanted = self._before(lines)
        rows = {
            name: self._rows(self._kinds[name], keys)
            for name, keys in wanted.items()
            if name in self._kinds
        }
        for key, head in heads.items():
            heads[key] = head._replace(row=_row(rows, key[0], head.row))
        for line in lines:
            if not self._holds(line, heads, rows, done):
                self._explain(line, heads, rows, done)
        done.entries = len(lines)
        return done

    def _query(self, statement: str, parameters: list[Any]) -> list[tuple[Any, ...]]:
        with self._raw.cursor(binary=True) as cursor:
            return cursor.execute(statement, parameters).fetchall()

    def _uid(self, person: int) -> str:
        found = self._query(_UID.format(get_user_model()._meta.db_table), [person])
        return str(found[0][0]) if found else "nobody"

    # -- leaves and the form of entries

    def _leaves(self, run: Run, done: Scanned) -> list[Line]:
        """Return the lines whose entries are there; leaves' hashes are those of the bytes."""
        if run.ids:
            return [Line(*row) for row in self._query(_UNSEALED, [list(run.ids)])]
        lines: list[Line] = []
        expected = run.start
        for row in self._query(_SEALED, [run.log, run.start, run.end]):
            line = Line(*row)
            leaf = row[0]
            while expected < leaf:
                self._missing(expected, run, done)
                expected += 1
            expected += 1
            done.ids.append(line.entry_id)
            if line.found is None:
                words = f"its entry {line.entry_id} is gone"
                done.findings.add(Problem(kind="entry", what=words, order=run.order, leaf=leaf))
                done.hashes.append(bytes(line.stored or b""))
                continue
            made = sha256(b"\x00" + line.data).digest()
            if made != line.stored:
                words = "the entry's bytes are not those that were sealed"
                done.findings.add(_problem("leaf", words, line, None, run))
            # Go on with the stored hash: if it leads to the root, it is the entry that is bad.
            done.hashes.append(bytes(line.stored or b""))
            lines.append(line)
        while expected < run.end:
            self._missing(expected, run, done)
            expected += 1
        return lines

    def _missing(self, leaf: int, run: Run, done: Scanned) -> None:
        done.findings.add(
            Problem(kind="leaf", what="the leaf is missing", order=run.order, leaf=leaf)
        )
        done.hashes.append(b"")
        done.ids.append(0)

    def _read(self, line: Line, run: Run, done: Scanned) -> Form | None:
        try:
            form = forms.read(line.data)
        except Malformed as error:
            words = f"its bytes are no entry: {error}"
            done.findings.add(_problem("entry", words, line, None, run))
            return None
        if (form.model, form.id) != (line.model, line.object_id):
            words = f"the entry is filed as {line.model} {line.object_id}, which it doesn't say"
            done.findings.add(_problem("entry", words, line, form, run))
        return form

    # -- what the entries follow

    def _before(self, lines: list[Line]) -> tuple[dict[tuple[str, str], Head], dict[str, set[int]]]:
        """Return the objects' heads before this run, and which rows are needed, by kind.

        A head's row is its key at first.
        """
        firsts: dict[tuple[str, str], int] = {}
        wanted: dict[str, set[int]] = {}
        for line in lines:
            firsts.setdefault((line.model, line.object_id), line.entry_id)
            if line.record_id is not None:
                wanted.setdefault(line.model, set()).add(line.record_id)
        keys = list(firsts)
        found = self._query(
            _BEFORE,
            [[key[0] for key in keys], [key[1] for key in keys], list(firsts.values())],
        )
        heads: dict[tuple[str, str], Head] = {}
        for place, data, record_id, log, leaf in found:
            model, object_id = key = keys[place - 1]
            if record_id is None:
                more = self._query(_ROW_BEFORE, [object_id, model, firsts[key]])
                record_id = more[0][0] if more else None
            if record_id is not None:
                wanted.setdefault(model, set()).add(record_id)
            try:
                rev: int | None = forms.read(data).rev
            except Malformed:
                rev = None
            heads[key] = Head(sha256(data).hexdigest(), rev, record_id, log, leaf)
        return heads, wanted

    def _rows(self, kind: Kind, keys: set[int]) -> dict[int, Any]:
        found = self._query(kind.select, [sorted(keys)])
        place = kind.names.index(kind.key)
        return {values[place]: kind.hold(values, self._identify) for values in found}

    # -- each entry

    def _holds(
        self,
        line: Line,
        heads: dict[tuple[str, str], Head],
        rows: Mapping[str, Mapping[int, Any]],
        done: Scanned,
    ) -> bool:
        """Return whether a revision's entry is all that it should be; False also for what is rare.

        Then it is the object's newest.
        """
        key = line.model, line.object_id
        kind, row = self._kinds.get(line.model), _row(rows, line.model, line.record_id)
        before = heads.get(key)
        if kind is None or row is None or key in self._erasures:
            return False
        if before is None:
            revision, previous, earlier = 1, "", None
        elif before.rev is None or (before.row is None and not kind.is_history):
            return False
        else:
            revision, previous, earlier = before.rev + 1, before.digest, before.row
            if not _in_order(line, before, done.run):
                return False
        try:
            said = kind.said(row, earlier, revision=revision, previous=previous)
        except NONSENSE:
            return False
        if (said.model, said.object_id) != key or (said.revision, said.previous) != (
            revision,
            previous,
        ):
            return False
        digest = sha256(line.data)
        recorded_at = row.__dict__.get("recorded_at", line.recorded_at)
        if (
            restating.entry(said, line.salts) != line.data
            or (kind.has_hash and row.hash != digest.digest())
            or recorded_at is None
            or abs(line.recorded_at - recorded_at) > TOGETHER
        ):
            return False
        done.values += len(said.values)
        self._time(line, said.at, done)
        log = None if done.run.ids else done.run.log
        heads[key] = Head(digest.hexdigest(), revision, row, log, line.leaf)
        return True

    def _time(self, line: Line, at: datetime, done: Scanned) -> None:
        if abs(line.recorded_at - at) > TIMELY:
            done.untimely += 1
            if done.untimely_first is None:
                done.untimely_first = line.leaf

    def _explain(
        self,
        line: Line,
        heads: dict[tuple[str, str], Head],
        rows: Mapping[str, Mapping[int, Any]],
        done: Scanned,
    ) -> None:
        """Note whatever is wrong with an entry, and have it be its object's newest."""
        run = done.run
        form = self._read(line, run, done)
        digest = sha256(line.data).hexdigest()
        log = None if run.ids else run.log
        if form is None:
            heads[line.model, line.object_id] = Head(digest, None, None, log, line.leaf)
            return
        key = line.model, line.object_id
        before = heads.get(key)
        if words := self._broken(line, form, before, run):
            done.findings.add(_problem("chain", words, line, form, run))
        held = _row(rows, form.model, line.record_id)
        earlier = before.row if before else None
        self._time(line, form.at, done)
        for kind, words in self._compare(line, form, held, earlier, digest, done):
            done.findings.add(_problem(kind, words, line, form, run))
        row = earlier if form.type == entries.ERASURE else held
        heads[key] = Head(digest, form.rev, row, log, line.leaf)

    def _broken(self, line: Line, form: Form, before: Head | None, run: Run) -> str | None:
        if before is None:
            return "it follows an entry of its object that isn't there" if form.prev else None
        where = "" if before.leaf is None else f" (leaf {before.leaf})"
        if not form.prev:
            return f"it claims to be its object's first entry, and is not{where}"
        if form.prev != before.digest:
            return f"its prev is not the hash of its object's previous entry{where}"
        if before.rev is not None and form.rev != before.rev + (form.type != entries.ERASURE):
            return f"revision {form.rev} follows revision {before.rev}{where}"
        if not _in_order(line, before, run):
            return f"it was sealed before its object's previous entry{where}"
        return None

    def _compare(
        self, line: Line, form: Form, held: Any, before: Any, digest: str, done: Scanned
    ) -> list[tuple[str, str]]:
        if form.type == entries.REVISION:
            kind = self._kinds.get(form.model)
            if kind is None:
                return [("row", "there are no such records")]
            if held is None:
                return [("row", "its row is gone")]
            compared = Comparison(
                kind=kind,
                form=form,
                row=held,
                before=before,
                salts=line.salts,
                gone=self._erasures.get((form.model, form.id), {}),
                entered_at=line.recorded_at,
                digest=digest,
            )
            found = compared.problems()
            done.values += compared.values
            done.erased += compared.erased
            return found
        if form.type not in (entries.ERASURE, entries.HEARTBEAT, entries.SUCCESSION):
            return [("entry", f"there are no entries of type {form.type}")]
        if form.type == entries.ERASURE and form.model not in self._kinds:
            return [("entry", "it erases what isn't a record")]
        if form.type != entries.ERASURE and line.record_id is not None:
            return [("entry", "it can't tell of a row")]
        return []


def _in_order(line: Line, before: Head, run: Run) -> bool:
    """Return whether an entry was sealed after the one before it, or isn't sealed yet."""
    if line.leaf is None:
        return True
    return before.leaf is not None and (before.log != run.log or before.leaf < line.leaf)


def _row(rows: Mapping[str, Mapping[int, Any]], model: str, key: int | None) -> Any:
    return None if key is None else rows.get(model, {}).get(key)


def _problem(kind: str, words: str, line: Line, form: Form | None, run: Run) -> Problem:
    return Problem(
        kind=kind,
        what=words,
        order=run.order,
        leaf=line.leaf,
        entry=line.entry_id if line.leaf is None else None,
        model=form.model if form else line.model,
        object_id=form.id if form else line.object_id,
        revision=form.rev if form else None,
    )
