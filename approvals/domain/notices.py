"""Which sorts of notices people choose about, and how each may reach them. When is `quiet`.

Every notice stands in the portal's notice centre; what is chosen is whether it also comes by mail.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from zoneinfo import ZoneInfo

from approvals.domain import quiet
from approvals.domain.quiet import Hours


class Mode(StrEnum):
    """How notices of a sort reach a person besides the notice centre."""

    NOW = "now"
    DIGEST = "digest"
    PORTAL = "portal"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sort:
    """Kinds of notices that are chosen about as one. `modes` are those allowed, the default first.

    Mail of a `pressing` sort does not wait for the end of quiet hours.
    """

    key: str
    title: str
    hint: str
    kinds: tuple[str, ...]
    modes: tuple[Mode, ...] = (Mode.NOW, Mode.DIGEST, Mode.PORTAL)
    pressing: bool = False


SORTS: tuple[Sort, ...] = (
    Sort(
        key="asked",
        title="Your decision is asked",
        hint="At least in the digest: somebody waits for you.",
        kinds=("approval_needed",),
        modes=(Mode.NOW, Mode.DIGEST),
    ),
    Sort(
        key="overdue",
        title="A silent level came to you",
        hint="At least in the digest; at once it comes in quiet hours too.",
        kinds=("escalated",),
        modes=(Mode.NOW, Mode.DIGEST),
        pressing=True,
    ),
    Sort(
        key="reminder",
        title="Reminders",
        hint="What waits for you still waits.",
        kinds=("reminder",),
    ),
    Sort(
        key="settled",
        title="Settled by others",
        hint="What you were asked needs you no more.",
        kinds=("settled", "level_done"),
    ),
    Sort(
        key="question",
        title="You are asked something",
        hint="At least in the digest: a decision on your request waits for your answer.",
        kinds=("question",),
        modes=(Mode.NOW, Mode.DIGEST),
    ),
    Sort(
        key="answer",
        title="Your question was answered",
        hint="Also where others asked what you are to decide on.",
        kinds=("answer",),
    ),
    Sort(
        key="progress",
        title="Your request escalated",
        hint="Somebody stayed silent, and others are asked now.",
        kinds=("moved_on",),
    ),
    Sort(
        key="outcome",
        title="Your request was decided",
        hint="Approved, denied, cancelled or lapsed.",
        kinds=("decided",),
    ),
    Sort(
        key="access",
        title="Your access is there",
        hint="With how to connect.",
        kinds=("active",),
    ),
    Sort(
        key="ending",
        title="Your access ends soon",
        hint="A warning in time to ask for more.",
        kinds=("ends_soon",),
    ),
    Sort(
        key="ended",
        title="Your access has ended",
        hint="It is gone from the target.",
        kinds=("ended",),
    ),
    Sort(
        key="failed",
        title="Access could not be made",
        hint="For those who asked, and the resource's owner.",
        kinds=("failed",),
    ),
    Sort(
        key="reviews",
        title="Access reviews",
        hint="At least in the digest: what you don't judge in time may be removed.",
        kinds=("review_asked", "review_reminder", "review_ready"),
        modes=(Mode.NOW, Mode.DIGEST),
    ),
    Sort(
        key="alarms",
        title="Alarms",
        hint="For owners and operators. Always at once, in quiet hours too.",
        kinds=("stuck", "leftover", "missing"),
        modes=(Mode.NOW,),
        pressing=True,
    ),
)
#: Kinds that ask for a decision.
ASKING = frozenset({"approval_needed", "reminder", "escalated"})
#: Kinds that ask for something in a review: to decide on items, or to sign it off.
REVIEW_ASKS = frozenset({"review_asked", "review_reminder", "review_ready"})
#: Kinds that ask for an answer.
QUESTIONS = frozenset({"question"})
#: Kinds that say that what was asked is settled.
SETTLING = frozenset({"decided", "settled", "level_done"})

_BY_KIND = {kind: sort for sort in SORTS for kind in sort.kinds}
#: Kinds that are no sort's (the ledger's alarms) come at once, and can't be switched off.
_FIXED = Sort(key="", title="", hint="", kinds=(), modes=(Mode.NOW,), pressing=True)


def sort_of(kind: str) -> Sort:
    """Return the sort of a kind; a kind that nobody chooses about comes at once."""
    return _BY_KIND.get(kind, _FIXED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """What one person chose. `modes` are by a sort's key; what they lack is the sort's default."""

    zone: ZoneInfo
    modes: Mapping[str, str]
    quiet: Hours | None = None
    digest_hour: int = 8

    def mode(self, sort: Sort) -> Mode:
        """Return how a sort reaches the person: what they chose if it is allowed, or its default.

        So that a sort that comes to allow less is never left switched off by an older choice.
        """
        chosen = self.modes.get(sort.key, "")
        return Mode(chosen) if chosen in sort.modes else sort.modes[0]

    def may_come_at(self, kind: str, *, now: datetime) -> datetime:
        """Return when mail of a kind may come: now, or at the end of quiet hours."""
        return now if sort_of(kind).pressing else quiet.put_off(self.quiet, self.zone, now)

    def next_digest_at(self, *, after: datetime) -> datetime:
        """Return when the next digest after a moment is due; never in quiet hours."""
        due = quiet.next_at_hour(self.digest_hour, self.zone, after)
        return quiet.put_off(self.quiet, self.zone, due)
