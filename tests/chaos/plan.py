"""What is broken when: made from a seed, so that a run can be repeated."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Step:
    """One disturbance: at which second of the run, what, to whom, and for how many seconds.

    `whom` is a process, or a kind of which both are killed at once.
    """

    at: float
    what: str
    whom: str = ""
    seconds: float = 0.0


KINDS = ("provisioning", "due", "notices", "beat", "web", "sealer")
#: How often each kind is chosen to be killed.
WEIGHTS = (6, 3, 2, 3, 2, 1)
#: How often both of a kind are killed at once, so that nobody is left.
BOTH = 0.08


def make(*, seconds: float, seed: int, outage: float | None = None) -> list[Step]:
    """Return the disturbances of a run that lasts so long, by their time.

    The outage is the middle third, or as many seconds in the middle: its first half the target
    refuses, its second half it takes calls and doesn't answer. The broker is lost three times and the database restarted at least
    three times, each also inside the outage. Clocks jump by an hour ahead, back and right again.
    """
    chance = random.Random(seed)
    length = seconds / 3 if outage is None else outage
    begins = (seconds - length) / 2
    steps = [
        Step(begins, "outage", "refused"),
        Step(begins + length / 2, "outage", "silent"),
        Step(begins + length, "outage", "open"),
    ]
    for part in (0.18, 0.5, 0.85):
        at = seconds * (part + chance.uniform(-0.03, 0.03))
        steps.append(Step(at, "broker", seconds=min(15.0, chance.uniform(0.02, 0.05) * seconds)))
    restarts = max(3, int(seconds // 90))
    for number in range(restarts):
        at = seconds * (number + 0.5 + chance.uniform(-0.25, 0.25)) / restarts
        steps.append(Step(at, "database", seconds=chance.uniform(0.2, 2.0)))
    for number in range(max(4, int(seconds // 60))):
        at = seconds * (number + chance.random()) / max(4, int(seconds // 60))
        steps.append(Step(at, "clock", chance.choice(("+3600", "-3600", "+0"))))
    at = 3.0
    while at < seconds:
        kind = chance.choices(KINDS, WEIGHTS)[0]
        which = "" if kind == "sealer" or chance.random() < BOTH else f"-{chance.choice((1, 2))}"
        steps.append(Step(at, "kill", kind + which, chance.uniform(0.3, 4.0)))
        at += chance.uniform(3.0, 9.0)
    return sorted(steps)
