"""Who asked for what, when, and how it went: the demo's past as a list, always the same.

Nothing is written here. Moments lie in working hours mostly, with some nights and weekends.
"""

import random
import zoneinfo
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta

from approvals.management.demo_world import people as cast
from approvals.management.demo_world import words

DAYS = 150
REQUESTS_A_DAY = 2.6
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)

#: What is asked for, by whom and how often. Carol and the managers ask now and then too.
_WANTS: tuple[tuple[str, int, tuple[str, ...]], ...] = (
    ("read", 50, ("alice", "marta", "tariq", "yuki", "felix", "diego", "nadia", "liam", "mei",
                  "sofia", "bob", "ingrid")),
    ("read-write", 34, ("alice", "marta", "tariq", "yuki", "felix", "diego", "nadia", "tomasz",
                        "ingrid")),
    ("owner", 8, ("priya", "tomasz", "diego", "nadia", "marta", "alice")),
    ("report-reader", 8, ("liam", "mei", "sofia", "carol", "ingrid", "priya")),
)  # fmt: skip
_MINUTES = {
    "read": (30, 60, 60, 120, 240),
    "read-write": (10, 15, 30, 30, 60, 120, 240),
    "owner": (30, 60, 60, 120),
    "report-reader": (240, 480, 480, 1440),
}
#: How a request goes, with its weight. `used` runs until its time is up.
_OUTCOMES: tuple[tuple[str, int], ...] = (
    ("used", 58), ("given_back", 14), ("denied", 8), ("cancelled", 4), ("lapsed", 3),
    ("escalated", 5), ("revoked", 3), ("failed", 2), ("unscheduled", 3),
)  # fmt: skip
_WITHOUT_APPROVERS = ("used", "given_back", "revoked", "failed")


@dataclass
class Plan:
    """One request of the past. `seed` gives its smaller chances; `sender` may ask for another."""

    at: datetime
    subject: str
    sender: str
    wants: str
    minutes: int
    reason: str
    ticket: str
    outcome: str
    seed: int
    starts_at: datetime | None = None
    failures: int = 0
    chances: random.Random = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Give the plan its own source of chance, so that plans do not disturb each other."""
        self.chances = random.Random(self.seed)  # noqa: S311 - a story, no secret


def reviewed_at(*, began_at: datetime, until: datetime) -> datetime:
    """Return when the past's access review opened: a morning in the middle of a week."""
    about = began_at + (until - began_at) * 0.6
    day = about + timedelta(days=2 - about.weekday())
    return day.replace(hour=10, minute=0, second=0, microsecond=0)


def _reviewed(opens_at: datetime) -> Iterator[Plan]:
    """Yield accesses that the review finds: most are kept, one it removes, one ends before."""
    rows = (
        ("tomasz", 95, 480, "reviewed"), ("alice", 80, 480, "used"), ("marta", 70, 480, "used"),
        ("yuki", 112, 120, "used"), ("nadia", 60, 480, "given_back"), ("mei", 45, 360, "used"),
        ("priya", 30, 480, "used"),
    )  # fmt: skip
    for number, (login, before, minutes, outcome) in enumerate(rows):
        yield Plan(
            at=opens_at - before * MINUTE, subject=login, sender=login, wants="read",
            minutes=minutes, outcome=outcome, ticket="", seed=100 + number,
            reason=words.REASONS["read"][number].format(n=207 + number, day="last night"),
        )  # fmt: skip


def make(*, began_at: datetime, until: datetime, leaver_left_at: datetime) -> list[Plan]:
    """Return the plans of the time between, oldest first; the same for the same two moments."""
    chances = random.Random(20_240_229)  # noqa: S311 - a story, no secret
    plans = list(_plans(chances, began_at=began_at, until=until, leaver_left_at=leaver_left_at))
    plans += _reviewed(reviewed_at(began_at=began_at, until=until))
    return sorted(plans, key=lambda plan: plan.at)


def _plans(
    chances: random.Random, *, began_at: datetime, until: datetime, leaver_left_at: datetime
) -> Iterator[Plan]:
    zones = {who.login: zoneinfo.ZoneInfo(who.timezone) for who in cast.PEOPLE}
    groups = {who.login: who.groups[0] for who in cast.PEOPLE}
    day = began_at.date() + timedelta(days=1)
    number = 0
    while day <= until.date():
        weekend = day.weekday() >= 5
        for _ in range(_how_many(chances, REQUESTS_A_DAY * (0.15 if weekend else 1.0))):
            number += 1
            wants, subject = _want(chances)
            at = _moment(chances, day, zones[subject], night=wants != "report-reader")
            if not began_at + 2 * HOUR < at < until:
                continue
            if subject == cast.LEAVER and at > leaver_left_at - 2 * HOUR:
                continue
            yield _plan(chances, at, subject, wants, groups[subject], number)
        day += timedelta(days=1)
    yield Plan(
        at=leaver_left_at - timedelta(minutes=50), subject=cast.LEAVER, sender=cast.LEAVER,
        wants="read", minutes=240, outcome="left", ticket="", seed=1,
        reason="Hand over open refund cases before I leave.",
    )  # fmt: skip


def _plan(
    chances: random.Random, at: datetime, subject: str, wants: str, group: str, number: int
) -> Plan:
    minutes = chances.choice(_MINUTES[wants])
    outcome = chances.choices([o for o, _ in _OUTCOMES], [w for _, w in _OUTCOMES])[0]
    if wants == "read" and outcome not in _WITHOUT_APPROVERS:
        outcome = "used"
    scheduled = outcome == "unscheduled" or (
        wants != "read" and outcome == "used" and chances.random() < 0.12
    )
    with_ticket = wants == "owner" or (wants == "read-write" and chances.random() < 0.6)
    sender = subject
    if wants == "read-write" and subject in ("marta", "yuki") and chances.random() < 0.1:
        sender = "alice"
    reason = chances.choice(words.REASONS[wants]).format(
        n=chances.randint(11, 479),
        k=chances.randint(3, 40),
        day=f"{at - timedelta(days=chances.randint(1, 6)):%-d %B}",
    )
    return Plan(
        at=at.astimezone(UTC),
        subject=subject,
        sender=sender,
        wants=wants,
        minutes=minutes,
        reason=reason,
        ticket=f"{words.TICKETS[group]}-{1200 + number * 3 + chances.randint(0, 2)}"
        if with_ticket
        else "",
        outcome=outcome,
        seed=chances.getrandbits(48),
        starts_at=_evening(at).astimezone(UTC) if scheduled else None,
        failures=chances.randint(1, 5) if chances.random() < 0.03 else 0,
    )


def _how_many(chances: random.Random, mean: float) -> int:
    """Return a whole number whose mean is `mean`."""
    return int(mean + chances.random() + chances.choice((-1, 0, 0, 1)) * min(mean, 1))


def _want(chances: random.Random) -> tuple[str, str]:
    wants, _, who = chances.choices(_WANTS, [weight for _, weight, _ in _WANTS])[0]
    return wants, chances.choice(who)


def _moment(chances: random.Random, day: date, zone: zoneinfo.ZoneInfo, *, night: bool) -> datetime:
    """Return a moment of that day in working hours of the zone, rarely outside of them."""
    if night and chances.random() < 0.05:
        hour = chances.choice((0, 1, 5, 6, 20, 21, 22, 23))
    else:
        hour = chances.choices(range(8, 19), (4, 9, 10, 9, 5, 6, 9, 10, 8, 5, 2))[0]
    clock = time(hour, chances.randrange(60), chances.randrange(60), chances.randrange(10**6))
    return datetime.combine(day, clock, tzinfo=zone)


def _evening(at: datetime) -> datetime:
    """Return the quiet hour after the working day: 20:00, today or tomorrow."""
    local = at.replace(hour=20, minute=0, second=0, microsecond=0)
    return local if local - at > 5 * HOUR else local + timedelta(days=1)
