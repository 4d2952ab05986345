"""What targets hold against what the portal granted: which differences are findings.

Pure: who saw what, who was granted what. An access is told apart by its key (a lease's, without the
request); two spellings of a name may be one person, so each side has further keys beside its own.
What is being granted or taken away at this moment is never a finding.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

Pair = tuple[str, str]
"""The name at the target, and the entitlement's name."""
REQUESTS_MOST = 20


class Kind(StrEnum):
    """How a target and the portal's records differ."""

    MISSING = "missing"
    LEFTOVER = "leftover"
    STANDING = "standing"
    UNMATCHED = "unmatched"


class Stage(StrEnum):
    """Where a grant stands: active, on its way in or out, or over."""

    LIVE = "live"
    MOVING = "moving"
    ENDED = "ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One access that the target holds. `access` is its key, `also` those of other spellings."""

    login: str
    entitlement: str
    access: str
    also: frozenset[str] = frozenset()

    @property
    def pair(self) -> Pair:
        """Return what tells it apart at its target."""
        return self.login, self.entitlement


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """One grant of the portal's. `is_observed`: it would have been seen if it were there."""

    request_id: UUID
    login: str
    entitlement: str
    access: str
    stage: Stage
    also: frozenset[str] = frozenset()
    is_observed: bool = True

    @property
    def pair(self) -> Pair:
        """Return what tells it apart at its target, as today's catalogue names it."""
        return self.login, self.entitlement


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One difference. `requests` are those that it is about, the newest first."""

    kind: Kind
    login: str
    entitlement: str
    requests: tuple[UUID, ...] = ()

    @property
    def pair(self) -> Pair:
        """Return what tells it apart at its target."""
        return self.login, self.entitlement


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What one observation found, and what it can't say anything about."""

    found: tuple[Found, ...]
    unsettled: frozenset[Pair]
    observed: frozenset[str]

    def says(self, pair: Pair) -> bool:
        """Return whether this observation says anything about an access."""
        return pair[1] in self.observed and _folded(pair) not in self.unsettled


def compare(
    *,
    seen: Iterable[Seen],
    known: Iterable[Known],
    names: Collection[str],
    observed: Collection[str],
) -> Comparison:
    """Return how what was seen differs from what was granted.

    `known` are the grants that are live or moving, and those that have ended, the newest first.
    `names` are the names (case-folded) that the portal knows a person by, `observed` the
    entitlements that were looked at.
    """
    seen = list(seen)
    grants = _Grants(known)
    found: list[Found] = []
    unsettled = {_folded(row.pair) for row in grants.moving}
    for row in seen:
        if grants.of(row, Stage.MOVING):
            unsettled.add(_folded(row.pair))
        elif not grants.of(row, Stage.LIVE) and _folded(row.pair) not in grants.live_pairs:
            found.append(_not_granted(row, grants.of(row, Stage.ENDED), names))
    there = {key for row in seen for key in (row.access, *row.also)}
    found += [
        Found(
            kind=Kind.MISSING,
            login=row.login,
            entitlement=row.entitlement,
            requests=(row.request_id,),
        )
        for row in grants.live
        if row.is_observed and there.isdisjoint((row.access, *row.also))
    ]
    return Comparison(
        found=tuple(row for row in found if _folded(row.pair) not in unsettled),
        unsettled=frozenset(unsettled),
        observed=frozenset(observed),
    )


def unexplained(*, seen: Iterable[Seen], known: Iterable[Known]) -> list[Seen]:
    """Return what was seen that no live or moving grant among these makes."""
    grants = _Grants(known)
    return [
        row
        for row in seen
        if not grants.of(row, Stage.MOVING)
        and not grants.of(row, Stage.LIVE)
        and _folded(row.pair) not in grants.live_pairs
    ]


def _not_granted(row: Seen, ended: Sequence[Known], names: Collection[str]) -> Found:
    kind = Kind.STANDING if row.login.casefold() in names else Kind.UNMATCHED
    requests = tuple(each.request_id for each in ended)[:REQUESTS_MOST]
    if requests:
        kind = Kind.LEFTOVER
    return Found(kind=kind, login=row.login, entitlement=row.entitlement, requests=requests)


def _folded(pair: Pair) -> Pair:
    return pair[0].casefold(), pair[1]


class _Grants:
    """The grants by the keys of what they make."""

    def __init__(self, known: Iterable[Known]) -> None:
        self.live: list[Known] = []
        self.moving: list[Known] = []
        self._by_key: dict[tuple[Stage, str], list[Known]] = {}
        for row in known:
            if row.stage == Stage.LIVE:
                self.live.append(row)
            elif row.stage == Stage.MOVING:
                self.moving.append(row)
            for key in {row.access, *row.also}:
                self._by_key.setdefault((row.stage, key), []).append(row)
        # What was made under settings that have changed since is neither seen nor missed here.
        self.live_pairs = {_folded(row.pair) for row in self.live if not row.is_observed}

    def of(self, row: Seen, stage: Stage) -> list[Known]:
        """Return the grants of a stage that make what was seen; an exact name goes first."""
        exact = self._by_key.get((stage, row.access), [])
        if exact:
            return exact
        for key in sorted(row.also):
            if others := self._by_key.get((stage, key)):
                return others
        return []


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """A finding that stands in the records. It is confirmed once two observations saw it."""

    id: int
    kind: Kind
    login: str
    entitlement: str
    is_confirmed: bool

    @property
    def pair(self) -> Pair:
        """Return what tells it apart at its target."""
        return self.login, self.entitlement


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What an observation changes: what is new, what is confirmed, what stays, what is over."""

    new: tuple[Found, ...]
    confirmed: tuple[tuple[Open, Found], ...]
    again: tuple[tuple[Open, Found], ...]
    over: tuple[Open, ...]


def changes(comparison: Comparison, *, before: Iterable[Open]) -> Changes:
    """Return what follows from a comparison for the findings that stand open.

    A finding is confirmed by the second observation that sees it. What an observation says nothing
    about stays as it is.
    """
    open_now: Mapping[tuple[Kind, Pair], Open] = {(row.kind, row.pair): row for row in before}
    found = {(row.kind, row.pair): row for row in comparison.found}
    both = [(open_now[key], row) for key, row in found.items() if key in open_now]
    return Changes(
        new=tuple(row for key, row in found.items() if key not in open_now),
        confirmed=tuple(pair for pair in both if not pair[0].is_confirmed),
        again=tuple(pair for pair in both if pair[0].is_confirmed),
        over=tuple(
            row for key, row in open_now.items() if key not in found and comparison.says(row.pair)
        ),
    )
