"""The digest: one letter with all that waits, what asks for a decision first."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings

from approvals.models import NoticeEntry, User
from approvals.services import wording
from approvals.services.letters.letter import SUBJECT_MOST, Fact, Letter, zone
from approvals.services.wording import short

LINES_MOST = 40


@dataclass(frozen=True)
class DigestCase:
    """What a digest is written from; `entries` are oldest first and at least one."""

    to: User
    entries: Sequence[NoticeEntry]
    now: datetime


def write(case: DigestCase) -> Letter:
    """Return the digest. A request that asks several times is said once, as it was asked last."""
    asks = list({entry.request_id: entry for entry in case.entries if entry.asks}.values())
    others = [entry for entry in case.entries if not entry.asks]
    entries = [*asks, *others]
    shown, left = entries[:LINES_MOST], len(entries) - LINES_MOST
    clock = wording.Clock(zone(case.to), case.now)
    number = f"{len(entries)} notice{'' if len(entries) == 1 else 's'}"
    waits = f"{len(asks)} request{' waits' if len(asks) == 1 else 's wait'} for your decision"
    more = f"There {'is' if left == 1 else 'are'} {left} more in your notices."
    return Letter(
        subject=short(f"Digest: {number}{f', {waits}' if asks else ''}", SUBJECT_MOST),
        eyebrow="Your daily digest",
        headline=waits[0].upper() + waits[1:] if asks else f"{number} since the last digest",
        facts=tuple(
            Fact(
                clock.at(entry.notice.occurred_at),
                short(entry.notice.subject_line, SUBJECT_MOST),
                "warn" if entry.asks else "",
            )
            for entry in shown
        ),
        paragraphs=(
            *((more,) if left > 0 else ()),
            "What you have read by now, and what others have settled, is left out.",
        ),
        why="You get this because you chose the digest for these notices.",
        action="Open your notices",
        url=f"{settings.PORTAL_URL}/notices/",
    )
