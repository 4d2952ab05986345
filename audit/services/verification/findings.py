"""What verification has to say: problems, of which the first are kept and all are counted."""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

#: How many problems are kept; the rest is counted. The first come first.
KEPT_MOST = 100

#: Problems of these kinds are of many leaves: their `leaf` is only where they come in the order.
_OF_THE_TREE = {"checkpoint", "tree", "cut"}

#: Returns how people call an object of the log, such as REQ-7F3K-22QP; "" where it has no name.
Namer = Callable[[str, str], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong. `order` is the log's number, `leaf` its leaf; None comes last.

    `kind` is one word for programs: checkpoint, tree, leaf, entry, chain, row, value, erasure,
    unsealed, cut, rewritten, log, index.
    """

    kind: str
    what: str
    order: int | None = None
    leaf: int | None = None
    entry: int | None = None
    model: str = ""
    object_id: str = ""
    revision: int | None = None

    def place(self) -> tuple[float, float, float]:
        """Return where it stands among all problems."""
        last = float("inf")
        return (
            last if self.order is None else self.order,
            last if self.leaf is None else self.leaf,
            last if self.entry is None else self.entry,
        )

    def subject(self, namer: Namer) -> str:
        """Return what is wrong: leaf, object with its reference, revision; "" for the whole."""
        words = []
        if self.kind in _OF_THE_TREE:
            return ""
        if self.leaf is not None:
            words.append(f"leaf {self.leaf}")
        elif self.entry is not None:
            words.append(f"unsealed entry {self.entry}")
        if self.model:
            name = namer(self.model, self.object_id)
            said = f"{self.model} {name} ({self.object_id})" if name else self._plain_name()
            words.append(said + (f" revision {self.revision}" if self.revision else ""))
        return ", ".join(words)

    def _plain_name(self) -> str:
        return f"{self.model} {self.object_id}"

    def sentence(self, namer: Namer) -> str:
        """Return the problem for people."""
        subject = self.subject(namer)
        return f"{subject}: {self.what}" if subject else self.what

    def as_json(self, namer: Namer) -> dict[str, Any]:
        """Return the problem for machines."""
        return {
            "kind": self.kind,
            "leaf": self.leaf,
            "entry": self.entry,
            "model": self.model or None,
            "object": self.object_id or None,
            "reference": (namer(self.model, self.object_id) or None) if self.model else None,
            "revision": self.revision,
            "what": self.what,
        }


@dataclass(slots=True)
class Findings:
    """The first problems in the order of the log, and how many there are."""

    problems: list[Problem] = field(default_factory=list)
    count: int = 0

    def add(self, problem: Problem) -> None:
        """Note a problem."""
        self.count += 1
        if len(self.problems) == KEPT_MOST and problem.place() >= self.problems[-1].place():
            return
        insort(self.problems, problem, key=Problem.place)
        del self.problems[KEPT_MOST:]

    def take(self, problems: Iterable[Problem], *, count: int) -> None:
        """Note what was found elsewhere, where only the first of `count` were kept."""
        before = self.count
        for problem in problems:
            self.add(problem)
        self.count = before + count
