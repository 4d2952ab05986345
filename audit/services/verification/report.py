"""What a run of verification says in the end, for people and for machines."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from audit.services.verification.findings import Findings, Namer, Problem
from audit.services.verification.outside import Anchor

SHOWN_MOST = 20


@dataclass(frozen=True, slots=True)
class Key:
    """The key that a log was held to, and whether the caller gave it."""

    vkey: str
    given: bool


@dataclass(frozen=True, slots=True)
class Seen:
    """A log as it was found: the size and root of its newest good checkpoint."""

    origin: str
    size: int
    root: bytes


@dataclass(slots=True)
class Report:
    """One run's findings."""

    started_at: datetime
    namer: Namer
    finished_at: datetime | None = None
    logs: list[Seen] = field(default_factory=list)
    keys: dict[str, Key] = field(default_factory=dict)
    held: list[Anchor] = field(default_factory=list)
    findings: Findings = field(default_factory=Findings)
    warnings: list[str] = field(default_factory=list)
    entries: int = 0
    values: int = 0
    erased: int = 0
    untimely: int = 0
    untimely_first: int | None = None
    unsealed: int = 0
    oldest_unsealed: datetime | None = None
    recorded: bool = False

    @property
    def ok(self) -> bool:
        """Return whether all of it holds."""
        return not self.findings.count

    @property
    def outcome(self) -> str:
        """Return the outcome in one word."""
        return "verified" if self.ok else "problems"

    @property
    def seconds(self) -> float:
        """Return how long it took."""
        return (self.finished_at - self.started_at).total_seconds() if self.finished_at else 0.0

    @property
    def problems(self) -> list[Problem]:
        """Return the first problems, in the order of the log."""
        return self.findings.problems

    @property
    def first_bad(self) -> str:
        """Return the first bad record as a sentence; "" where there is none."""
        return self.problems[0].sentence(self.namer) if self.problems else ""

    def add(self, kind: str, what: str) -> None:
        """Note a problem that is of no single record."""
        self.findings.add(Problem(kind=kind, what=what))

    def warn(self, words: str) -> None:
        """Note what is odd and no failure."""
        self.warnings.append(words)

    def as_json(self) -> dict[str, Any]:
        """Return the report for machines."""
        newest = self.logs[-1] if self.logs else None
        return {
            "ok": self.ok,
            "outcome": self.outcome,
            "origin": newest and newest.origin,
            "size": newest and newest.size,
            "root": newest and base64.b64encode(newest.root).decode(),
            "logs": [
                {
                    "origin": each.origin,
                    "size": each.size,
                    "root": base64.b64encode(each.root).decode(),
                    "vkey": self.keys[each.origin].vkey,
                    "vkey_from": "given" if self.keys[each.origin].given else "database",
                }
                for each in self.logs
            ],
            "earlier_checkpoints": [
                {"source": each.source, "origin": each.origin, "size": each.size}
                for each in self.held
            ],
            "entries": self.entries,
            "values": self.values,
            "erased": self.erased,
            "unsealed": self.unsealed,
            "oldest_unsealed_at": self.oldest_unsealed and self.oldest_unsealed.isoformat(),
            "entered_at_another_time": self.untimely,
            "warnings": self.warnings,
            "first_bad": self.first_bad or None,
            "problem_count": self.findings.count,
            "problems": [each.as_json(self.namer) for each in self.problems],
            "recorded": self.recorded,
            "seconds": round(self.seconds, 3),
        }

    def as_text(self) -> Iterator[str]:
        """Yield the report's lines for people."""
        for each in self.problems[:SHOWN_MOST]:
            yield f"BAD  {each.sentence(self.namer)}"
        if self.findings.count > SHOWN_MOST:
            yield f"     and {self.findings.count - SHOWN_MOST} more"
        for words in self.warnings:
            yield f"     warning: {words}"
        for seen in self.logs:
            root = base64.b64encode(seen.root).decode()
            yield f"{seen.origin}: {seen.size} entries, root {root}"
            yield f"     {self._whose(self.keys[seen.origin])}"
        for anchor in self.held:
            yield f"     measured by {anchor.source}, of {anchor.size} entries"
        if not self.held:
            yield (
                "     no earlier checkpoint was given (--checkpoint): without one, a cut end or a"
                " restored backup can't be seen"
            )
        yield (
            f"     {self.entries} entries, {self.values} values are those committed to,"
            f" {self.erased} are erased, {self.unsealed} entries wait to be sealed"
        )
        if self.untimely:
            where = (
                "" if self.untimely_first is None else f", the first is leaf {self.untimely_first}"
            )
            yield (
                f"     {self.untimely} entries were entered more than 5 s from when they say it"
                f" happened{where} (seeded history is so)"
            )
        if self.ok:
            yield f"VERIFIED in {self.seconds:.1f} s."
        else:
            yield f"NOT VERIFIED. First bad record: {self.first_bad}."

    def _whose(self, key: Key) -> str:
        if key.given:
            return f"key, as given: {key.vkey}"
        return f"key, from THE DATABASE ITSELF (give --vkey from elsewhere): {key.vkey}"
