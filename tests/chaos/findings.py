"""What the checks read, and the rows of the table that they answer with."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass

import psycopg

from tests.chaos import records, targets
from tests.chaos.run import LEASE_SECONDS, Evidence

#: Seconds that access may outlast its end without the portal saying that the removal fails, for a
#: worker that was killed with the work in its hands (its lease). Time in which nobody could have
#: done it (`Downtime`) is not counted.
LAG_SECONDS = LEASE_SECONDS + 30.0
#: Seconds that clocks of one host may seem apart: of a process and the database, of processors.
CLOCK_SECONDS = 0.05
#: Seconds within which pages and work must go on after the database or the broker is back.
BACK_SECONDS = 35.0


class Downtime:
    """When the portal could not work: no worker of a queue or no beat, no broker, no database.

    A process counts as there some seconds after its start, as long as a start was seen to take;
    broker and database count as back some seconds after their return.
    """

    def __init__(self, evidence: Evidence, *, broker: bool = True) -> None:
        self._evidence = evidence
        found = [(began, back + BACK_SECONDS) for began, back in evidence.database_away]
        if broker:
            found += self._times("redis", BACK_SECONDS)
        for kind in ("provisioning", "due", "beat"):
            one, other = (self._times(f"{kind}-{n}", evidence.settle_seconds) for n in (1, 2))
            found += [
                (max(a, c), min(b, d)) for a, b in one for c, d in other if max(a, c) < min(b, d)
            ]
        self.times: list[tuple[float, float]] = []
        for begin, end in sorted(found):
            if self.times and begin <= self.times[-1][1]:
                self.times[-1] = (self.times[-1][0], max(end, self.times[-1][1]))
            else:
                self.times.append((begin, end))

    def waited(self, since: float, until: float) -> float:
        """Return the seconds between two moments in which the portal could have worked."""
        down = sum(max(0.0, min(end, until) - max(begin, since)) for begin, end in self.times)
        return max(0.0, until - since - down)

    def has(self, moment: float) -> bool:
        """Return whether the portal could not work then."""
        return any(begin <= moment <= end for begin, end in self.times)

    def _times(self, name: str, after: float) -> list[tuple[float, float]]:
        found: list[tuple[float, float]] = []
        for gone_at in sorted(at for at, who in self._evidence.gone if who == name):
            back = [at for at, who in self._evidence.started if who == name and at >= gone_at]
            found.append((gone_at, min(back) + after if back else float("inf")))
        return found


@dataclass(frozen=True)
class Row:
    """One line of the table: what was done to the portal, what must hold, and what was seen."""

    scenario: str
    invariant: str
    seen: str
    holds: bool = True
    examples: tuple[str, ...] = ()

    def as_json(self) -> dict[str, object]:
        """Return it for the file of results."""
        return asdict(self)


class Facts:
    """Everything that a run left, read once."""

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence
        with psycopg.connect(evidence.admin_url, autocommit=True) as database:
            self.requests = records.requests(database)
            self.notices = {
                str(key): int(count)
                for key, count in database.execute(
                    "SELECT kind, count(*) FROM approvals_notice WHERE channel = 'email' GROUP BY kind"
                )
            }
            self.votes = Counter(
                str(key) for (key,) in database.execute("SELECT request_id FROM approvals_decision")
            )
        self.downtime = Downtime(evidence)
        self.journal = records.journal(evidence.folder)
        self.visits = records.visits(evidence.folder)
        self.folders = targets.all_in(evidence.folder)


def row(scenario: str, invariant: str, seen: str, wrong: list[str]) -> Row:
    """Return a row that holds unless something is wrong."""
    if wrong:
        seen = f"{len(wrong)} WRONG of {seen}"
    return Row(scenario, invariant, seen, not wrong, tuple(wrong[:10]))
