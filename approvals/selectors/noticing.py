"""What a person's notice centre shows, and what they chose about notices."""

import hashlib
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db.models import Exists, OuterRef, Q, QuerySet

from approvals.domain import quiet
from approvals.domain.notices import QUESTIONS, REVIEW_ASKS, Chosen
from approvals.domain.states import State
from approvals.models import (
    Asked,
    CurrentRequest,
    Decision,
    NoticeEntry,
    NoticePreferences,
    ReviewCampaign,
    User,
)
from approvals.models.request import reference
from approvals.selectors import handing_over, questions, reviews, telling

#: Rows of one page.
PAGE = 25
#: The count says "99+" above this, and counts no further.
COUNTED_MOST = 100


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the centre. `state` is its request's now, empty where it is about none.

    `settled` says that what it asked for is settled, and by whom; it is empty while the person is
    asked, and for what never asked.
    """

    id: int
    at: datetime
    kind: str
    text: str
    request_id: uuid.UUID | None
    reference: str
    state: str
    asks: bool
    settled: str
    is_unread: bool

    @property
    def is_asking(self) -> bool:
        """Return whether the person is asked to decide now."""
        return self.asks and not self.settled


def chosen(person: User) -> Chosen:
    """Return what a person chose about notices, or the defaults (one query)."""
    zone = ZoneInfo(person.timezone or settings.TIME_ZONE)
    row = NoticePreferences.objects.filter(person_id=person.pk).first()
    if row is None:
        return Chosen(zone=zone, modes={})
    hours = None
    if row.quiet_begins is not None and row.quiet_ends is not None:
        hours = quiet.Hours(row.quiet_begins, row.quiet_ends, frozenset(row.quiet_weekdays))
    return Chosen(zone=zone, modes=row.modes, quiet=hours, digest_hour=row.digest_hour)


def unread(person_id: int) -> QuerySet[NoticeEntry]:
    """Return what is unread and still concerns the person: no question that is settled."""
    asked = Asked.objects.filter(request_id=OuterRef("request_id"), person_id=person_id)
    return NoticeEntry.objects.filter(
        Q(asks=False) | Exists(asked), person_id=person_id, read_at__isnull=True
    )


def unread_count(*, person: User) -> int:
    """Return how many lines are unread, counted up to COUNTED_MOST (one query)."""
    return unread(person.pk)[:COUNTED_MOST].count()


def about_review(campaign_id: uuid.UUID, kinds: Iterable[str]) -> Q:
    """Return the condition that a line is about an access review, and of one of these kinds."""
    found = Q(pk__in=[])
    for kind in sorted(kinds):
        begins = telling.key("portal", telling.review_key(kind, campaign_id))
        found |= Q(notice__once_key__startswith=begins)
    return found


def waiting_for_digest(person_id: int) -> list[NoticeEntry]:
    """Return what the next digest would hold, oldest first: unread, unsettled (one query)."""
    found = unread(person_id).filter(digest_at__isnull=False)
    return list(found.select_related("notice").order_by("notice_id"))


def centre(
    *, person: User, before: int | None = None, only_unread: bool = False, limit: int = PAGE
) -> list[Line]:
    """Return lines, newest first, before that of the number `before` (seven queries at most)."""
    rows = unread(person.pk) if only_unread else NoticeEntry.objects.filter(person_id=person.pk)
    if before is not None:
        rows = rows.filter(notice_id__lt=before)
    return _lines(person, rows.select_related("notice").order_by("-notice_id")[:limit])


def line(*, person: User, notice_id: int) -> Line | None:
    """Return one of the person's own lines, None where there is none of that number."""
    rows = NoticeEntry.objects.filter(person_id=person.pk, notice_id=notice_id)
    found = _lines(person, rows.select_related("notice"))
    return found[0] if found else None


def mark(lines: Iterable[Line]) -> str:
    """Return what tells two states of the shown lines apart."""
    text = ",".join(f"{each.id}.{each.state}.{each.settled}.{each.is_unread}" for each in lines)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _lines(person: User, rows: Iterable[NoticeEntry]) -> list[Line]:
    found = list(rows)
    ids = {row.request_id for row in found if row.request_id}
    states = dict(
        CurrentRequest.objects.filter(request_id__in=ids).values_list("request_id", "state")
    )
    asking = {row.request_id for row in found if row.asks and row.request_id}
    open_for_them = set(
        Asked.objects.filter(person_id=person.pk, request_id__in=asking).values_list(
            "request_id", flat=True
        )
    )
    settled = _settled(asking - open_for_them, states, reader=person.pk)
    reviewed = _settled_reviews(found, reader=person) | _answered(found, states)
    return [
        Line(
            id=row.notice_id,
            at=row.notice.occurred_at,
            kind=row.notice.kind,
            text=row.notice.subject_line,
            request_id=row.request_id,
            reference=reference(row.request_id) if row.request_id else "",
            state=states.get(row.request_id, "") if row.request_id else "",
            asks=row.asks or row.notice.kind in REVIEW_ASKS | QUESTIONS,
            settled=reviewed.get(row.pk, "")
            or (settled.get(row.request_id, "") if row.asks and row.request_id else ""),
            is_unread=row.read_at is None
            and not (row.asks and row.request_id not in open_for_them)
            and not reviewed.get(row.pk),
        )
        for row in found
    ]


def _answered(rows: Iterable[NoticeEntry], states: dict[uuid.UUID, str]) -> dict[int, str]:
    """Return what came of what approvers asked, by the line; what waits is left out.

    One query, none without such lines.
    """
    asked = {
        row.pk: (row.request_id, int(row.notice.once_key.split(":")[3]))
        for row in rows
        if row.notice.kind in QUESTIONS and row.request_id
    }
    if not asked:
        return {}
    answered = questions.answered(request_id for request_id, _ in asked.values())
    return {
        line: f"Answered by {answered[which]}"
        if which in answered
        else f"Settled: {states.get(which[0], '')}"
        for line, which in asked.items()
        if which in answered or states.get(which[0]) != State.PENDING
    }


def _settled_reviews(rows: Iterable[NoticeEntry], *, reader: User) -> dict[int, str]:
    """Return what came of what asked the reader about reviews, by the line; what waits is left out.

    Two queries at most, none without such lines.
    """
    asks = {
        row.pk: (row.notice.kind, uuid.UUID(row.notice.once_key.split(":")[2]))
        for row in rows
        if row.notice.kind in REVIEW_ASKS
    }
    if not asks:
        return {}
    campaigns = {campaign_id for _, campaign_id in asks.values()}
    over = {
        row.campaign_id: f"Settled: {row.get_event_display().lower()} by {row.actor_name}"
        for row in ReviewCampaign.objects.filter(campaign_id__in=campaigns, revision=2)
    }
    left = reviews.undecided().filter(reviews.for_person(reader), campaign_id__in=campaigns)
    waits = set(left.values_list("campaign_id", flat=True))
    return {
        line: over.get(campaign_id) or "Settled: nothing of it waits for you"
        for line, (kind, campaign_id) in asks.items()
        if campaign_id in over or (kind != "review_ready" and campaign_id not in waits)
    }


def _settled(
    ids: Iterable[uuid.UUID | None], states: dict[uuid.UUID, str], *, reader: int
) -> dict[uuid.UUID, str]:
    """Return for requests that ask the reader no more what came of that (two queries at most)."""
    wanted = {request_id for request_id in ids if request_id}
    last: dict[uuid.UUID, Decision] = {}
    for row in Decision.objects.filter(request_id__in=wanted).order_by("revision"):
        known = last.get(row.request_id)
        if known is None or known.actor_id != reader:  # their own says more to them than a later
            last[row.request_id] = row
    waits = {each for each in wanted if states.get(each) == State.PENDING}
    given = handing_over.given(waits, by=reader) if waits else {}
    return {
        each: f"You handed it to {given[each]}"
        if each in given and (each not in last or last[each].actor_id != reader)
        else _what(states.get(each, ""), last.get(each), reader)
        for each in wanted
    }


def _what(state: str, decision: Decision | None, reader: int) -> str:
    if state in (State.CANCELLED, State.LAPSED):
        return f"Settled: {state}"
    if decision is None:
        return "Settled: it does not wait for you any more"
    word = "approved" if decision.verdict == Decision.Verdict.APPROVE else "denied"
    return f"Settled: {word} by {'you' if decision.actor_id == reader else decision.actor_name}"
