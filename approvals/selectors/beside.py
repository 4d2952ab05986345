"""The lines of a request's history that stand beside its revisions, and what a line is.

What failed at the target, whom it told, what was asked and answered, and what was asked for to
prolong it.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from approvals.domain.durations import words
from approvals.models import AccessRequest, GrantEvent, Notice, RequestHandover, RequestMessage
from audit.selectors.erasures import ERASED

_NOTICES = {
    "approval_needed": "please decide",
    "reminder": "a reminder to decide",
    "escalated": "please decide, because a level stayed silent",
    "question": "what an approver asks",
    "answer": "what was answered",
    "moved_on": "it moved on",
    "decided": "the outcome",
    "settled": "it is settled",
    "level_done": "others decided",
    "active": "how to connect",
    "ends_soon": "it ends soon",
    "ended": "the access is gone",
    "failed": "it could not be made",
    "stuck": "the removal is stuck",
    "leftover": "the target holds it after its end",
    "missing": "the target lacks it",
}
_CHANNELS = {"email": "E-mailed to", "portal": "Shown in the portal to"}
_FAILED = {
    GrantEvent.Kind.GRANT_FAILED: "Making the access failed",
    GrantEvent.Kind.REMOVE_FAILED: "Removing the access failed",
}
#: How the target differed from what was granted, and what follows.
_DRIFT = {
    GrantEvent.Kind.FOUND: ("Found at the target after its end", "it is removed again"),
    GrantEvent.Kind.LOST: ("Not found at the target", "it is made once more"),
    GrantEvent.Kind.GONE: ("Removed again", "the target no longer holds it"),
}


@dataclass(frozen=True)
class Line:
    """One line of the history; `minor` ones are beside the revisions."""

    at: datetime
    order: tuple[datetime, int, int]
    lead: str = ""
    text: str = ""
    until: datetime | None = None
    note: str = ""
    quote: str = ""
    revision: int | None = None
    minor: bool = False
    bad: bool = False
    people: tuple[str, ...] = ()


def failures(events: Sequence[GrantEvent]) -> Iterator[Line]:
    """Yield what failed at the target, and how it differed from what was granted.

    The same failure again and again becomes one line.
    """
    run: list[GrantEvent] = []
    for event in [*events, None]:
        if run and (event is None or (event.kind, event.error) != (run[0].kind, run[0].error)):
            if run[0].kind in _FAILED:
                yield _failure_line(run)
            elif run[0].kind in _DRIFT:
                yield from map(_drift_line, run)
            run = []
        if event is not None:
            run.append(event)


def _failure_line(run: Sequence[GrantEvent]) -> Line:
    last = run[-1]
    times = f"{len(run)} times, tried" if len(run) > 1 else "tried"
    return Line(
        at=last.occurred_at,
        order=(last.occurred_at, 0, last.pk),
        text=f"{_FAILED[GrantEvent.Kind(last.kind)]}:",
        quote=last.error,
        note="not tried again" if last.permanent and last.kind == GrantEvent.Kind.GRANT_FAILED
        else f"{times} again with growing pauses",
        minor=True,
        bad=True,
    )  # fmt: skip


def _drift_line(event: GrantEvent) -> Line:
    text, note = _DRIFT[GrantEvent.Kind(event.kind)]
    if event.detail.get("cleaned_up"):
        text = "Removed what may have been left"
    if not event.detail.get("repairs", True):
        is_gone = event.kind == GrantEvent.Kind.GONE
        text = "Gone again" if is_gone else text
        note = "without the portal" if is_gone else "reported, nothing was changed"
    return Line(
        at=event.occurred_at,
        order=(event.occurred_at, 1, event.pk),
        lead=text,
        note=note,
        minor=True,
        bad=event.kind != GrantEvent.Kind.GONE,
    )


def notices(told: Iterable[Notice]) -> Iterator[Line]:
    """Yield whom it told what; people who were told the same in a row share a line.

    What stands in somebody's notice centre is a line only where it reached them in no other way.
    """
    told = list(told)
    sent = {notice.once_key for notice in told}
    told = [
        row
        for row in told
        if row.once_key.removeprefix(f"{row.channel}:") not in sent or row.channel != "portal"
    ]
    run: list[Notice] = []
    for notice in [*told, None]:
        if run and (
            notice is None or (notice.kind, notice.channel) != (run[0].kind, run[0].channel)
        ):
            yield _notice_line(run)
            run = []
        if notice is not None:
            run.append(notice)


def _notice_line(run: Sequence[Notice]) -> Line:
    last = run[-1]
    names = tuple(dict.fromkeys(notice.recipient_name for notice in run))
    who = names[0] if len(names) == 1 else f"{len(names)} people"
    sent = _CHANNELS.get(last.channel, f"Sent by {last.channel} to")
    times = f", {len(run)} times" if len(names) == 1 and len(run) > 1 else ""
    return Line(
        at=last.occurred_at,
        order=(last.occurred_at, 2, last.pk),
        text=f"{sent} {who}{times}: {_NOTICES.get(last.kind, last.subject_line)}",
        minor=True,
        people=names if len(names) > 1 else (),
    )


def handovers(rows: Iterable[RequestHandover]) -> Iterator[Line]:
    """Yield who gave their place to whom, and why. Erased words are said to be erased."""
    for row in rows:
        giver, taker = ("somebody" if n == ERASED else n for n in (row.giver_name, row.taker_name))
        own = row.place_id == row.giver_id
        parts = (
            f"for {row.level_name}",
            "" if own or row.place_name == ERASED else f"the place of {row.place_name}",
            "its words are erased" if row.comment == ERASED else "",
        )
        yield Line(
            at=row.occurred_at,
            order=(row.occurred_at, 1, row.number),
            lead="Handed over",
            text=f"by {giver} to {taker}",
            note=" · ".join(part for part in parts if part),
            quote="" if row.comment == ERASED else row.comment,
        )


def messages(rows: Iterable[RequestMessage]) -> Iterator[Line]:
    """Yield what approvers asked and what was answered. Erased words are said to be erased."""
    for row in rows:
        who = "Somebody" if row.actor_name == ERASED else row.actor_name
        is_question = row.kind == RequestMessage.Kind.QUESTION
        yield Line(
            at=row.occurred_at,
            order=(row.occurred_at, 2, row.number),
            lead="Question" if is_question else "Answer",
            text=f"by {who}",
            note=("its words are erased" if row.text == ERASED else ""),
            quote="" if row.text == ERASED else row.text,
        )


def extensions(rows: Iterable[AccessRequest]) -> Iterator[Line]:
    """Yield the requests for more time, each at its moment, with where it stands now."""
    for row in rows:
        yield Line(
            at=row.submitted_at,
            order=(row.submitted_at, 1, 0),
            lead="Extension",
            text=f"asked for by {row.requester_name}: {row.reference}",
            note=f"{words(row.duration)} more, {row.state}",
        )
