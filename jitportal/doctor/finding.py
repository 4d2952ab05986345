"""What a check says, and what a check is."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, or worth a `note`: what it is, why it matters, what to do."""

    what: str
    why: str
    do: str
    level: Literal["wrong", "note"] = "wrong"


@dataclass(frozen=True, slots=True)
class Check:
    """One small look at the deployment. `run` yields nothing where all is as it should be."""

    name: str
    run: Callable[[], Iterable[Finding]]
    needs_database: bool = True


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a check: findings, or that it was `skipped` because the database is away."""

    name: str
    findings: tuple[Finding, ...] = ()
    skipped: bool = False

    @property
    def is_wrong(self) -> bool:
        """Return whether something must be done."""
        return any(finding.level == "wrong" for finding in self.findings)
