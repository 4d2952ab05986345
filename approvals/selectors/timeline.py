"""What a request's history says: every revision, what failed at the target, whom it told.

Each line is who, for whom and why, in parts that a page sets apart (`lead` strong, `note` quiet,
`quote` in quotation marks). Lines hold moments, not their words, so that a page can write them in
the reader's timezone.
"""

import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.db import connection
from django.db.models import DateTimeField, Func

from approvals.domain.durations import words
from approvals.domain.states import EndReason, Event, State
from approvals.models import AccessRequest, GrantEvent, Notice
from approvals.selectors import requests

__all__ = ["AccessRequest", "History", "Line", "Removal", "load", "mark"]

_NOTICES = {
    "approval_needed": "asked to decide",
    "reminder": "reminded to decide",
    "escalated": "asked, because a level stayed silent",
    "moved_on": "told that it moved on",
    "decided": "told the outcome",
    "settled": "told that it is settled",
    "level_done": "told that others decided",
    "active": "told how to connect",
    "ends_soon": "warned that it ends soon",
    "ended": "told that the access is gone",
    "failed": "told that it could not be made",
    "stuck": "alarmed that the removal is stuck",
}
_CHANNELS = {"email": "e-mail"}
_FAILED = {
    GrantEvent.Kind.GRANT_FAILED: "Making the access failed",
    GrantEvent.Kind.REMOVE_FAILED: "Removing the access failed",
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


@dataclass(frozen=True)
class Removal:
    """The removal as measured: when due, started, confirmed by the target, and how late."""

    due_at: datetime
    started_at: datetime | None
    confirmed_at: datetime | None
    lag: timedelta | None
    sessions_closed: int
    attempts: int
    error: str

    @property
    def late(self) -> bool:
        """Return whether the lag is more than a person would call at once."""
        return self.lag is not None and self.lag > timedelta(seconds=5)

    @property
    def lag_words(self) -> str:
        """Return the lag in words; nothing before it is confirmed."""
        return "" if self.lag is None else lag_words(self.lag)


class History(NamedTuple):
    """A request's whole history at one moment of the database's clock."""

    now: datetime
    lines: list[Line]
    revisions: int
    removal: Removal | None
    last_error: str
    counts: tuple[int, int]

    def mark(self, revision: int) -> str:
        """Return what tells two states of the page apart, as `mark` reads it from the database."""
        return f"{revision}.{self.counts[0]}.{self.counts[1]}"


class _ClockTimestamp(Func):
    function = "clock_timestamp"
    output_field = DateTimeField()


def load(record: AccessRequest) -> History:
    """Return the history, newest first, and when it was read (three queries at most)."""
    revisions = list(
        AccessRequest.objects.filter(request_id=record.request_id)
        .annotate(read_at=_ClockTimestamp())
        .order_by("revision")
    )
    now: datetime = revisions[0].read_at
    # Nothing was tried at the target before it was approved.
    events = requests.grant_events(record.request_id) if _was_approved(revisions) else []
    notices = requests.notices(record.request_id)
    lines = [
        *_revision_lines(revisions, events),
        *_failure_lines(events),
        *_notice_lines(notices),
    ]
    lines.sort(key=lambda line: line.order, reverse=True)
    newest = revisions[-1]
    error = events[-1].error if events and newest.state in (State.APPROVED, State.REVOKING) else ""
    return History(
        now=now,
        lines=lines,
        revisions=len(revisions),
        removal=_removal(newest, events),
        last_error=error,
        counts=(len(events), len(notices)),
    )


def mark(request_id: uuid.UUID, *, revision: int) -> str:
    """Return what tells two states of the page apart (one query)."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT (SELECT count(*) FROM approvals_grantevent WHERE request_id = %(id)s),"
            " (SELECT count(*) FROM approvals_notice WHERE request_id = %(id)s)",
            {"id": request_id},
        )
        events, notices = cursor.fetchone()
    return f"{revision}.{events}.{notices}"


def _was_approved(revisions: Sequence[AccessRequest]) -> bool:
    return any(row.event == Event.APPROVED for row in revisions)


def _revision_lines(
    revisions: Sequence[AccessRequest], events: Sequence[GrantEvent]
) -> Iterator[Line]:
    before: AccessRequest | None = None
    latest = revisions[0].occurred_at
    for row in revisions:
        # Revisions stand in their own order, even where a clock went backwards in between.
        latest = max(latest, row.occurred_at)
        line = Line(
            at=row.occurred_at,
            order=(latest, 1, row.revision),
            revision=row.revision,
            quote=row.comment,
        )
        yield _sentence(line, row, before, events)
        before = row


def _sentence(
    line: Line, row: AccessRequest, before: AccessRequest | None, events: Sequence[GrantEvent]
) -> Line:
    """Return the line of one revision with its words."""
    if row.event in (Event.ACTIVATED, Event.ENDED, Event.CONFIRMED, Event.FAILED):
        return _of_the_grant(line, row, events)
    detail: dict[str, Any] = row.detail
    match row.event:
        case Event.SUBMITTED:
            other = f" for {row.subject_name}" if row.subject_id != row.requester_id else ""
            return replace(
                line,
                lead="Requested",
                text=f"by {row.requester_name}{other}",
                note=f"{words(row.duration)}, policy “{row.policy_name}” version "
                f"{row.policy_version}, rule “{row.rule_name}”",
                quote=row.reason,
            )
        case Event.VOTED:
            return replace(line, text=f"{row.actor_name} approved", note=_level(detail))
        case Event.APPROVED if row.actor_id is None:
            return replace(
                line, lead="Approved", text="at once", note=f"rule “{row.rule_name}” asks nobody"
            )
        case Event.APPROVED:
            return replace(line, lead="Approved", text=f"by {row.actor_name}", note=_level(detail))
        case Event.DENIED:
            return replace(line, lead="Denied", text=f"by {row.actor_name}", note=_level(detail))
        case Event.ESCALATED:
            new = ", ".join(detail.get("new", ()))
            everybody = ", ".join(detail.get("to", ())) or "nobody"
            return replace(
                line,
                lead="Escalated",
                text=f"to {new}" if new else f"{everybody} may decide now",
                note=_silent(row, before),
            )
        case Event.LAPSED:
            return replace(
                line, lead="Lapsed", text="nobody decided in time", note=_silent(row, before)
            )
        case Event.CANCELLED:
            return replace(line, lead="Cancelled", text=f"by {_actor(row)}")
    return replace(line, lead=str(row.event).title(), text=f"by {_actor(row)}")


def _of_the_grant(line: Line, row: AccessRequest, events: Sequence[GrantEvent]) -> Line:
    """Return the line of a revision that follows what happened at the target."""
    match row.event:
        case Event.FAILED:
            return replace(line, lead="Failed", text="the access was not made", bad=True)
        case Event.ACTIVATED:
            return replace(
                line,
                lead="Active",
                text="until",
                until=row.ends_at,
                note=_receipt(row, row.detail.get("receipt"), events, GrantEvent.Kind.GRANTED),
            )
        case Event.ENDED:
            return replace(line, lead="Ending", text=_end(row))
    return replace(
        line,
        lead="Expired" if row.state == State.EXPIRED else "Revoked",
        text="and gone from the target",
        note=_gone(row, events),
    )


def _actor(row: AccessRequest) -> str:
    return row.actor_name if row.actor_id else "the portal"


def _level(detail: dict[str, Any]) -> str:
    name, vote, quorum = detail.get("level_name"), detail.get("vote"), detail.get("quorum")
    if not name:
        return ""
    return f"for {name} ({vote} of {quorum})" if vote and quorum else f"for {name}"


def _silent(row: AccessRequest, before: AccessRequest | None) -> str:
    """Return which level stayed silent, and how long."""
    name = f"level {row.detail.get('level')}, {row.detail.get('level_name')}, was silent"
    try:
        due_at = datetime.fromisoformat(row.detail["was_due_at"])
    except (KeyError, ValueError):
        return name
    if before is None or due_at <= before.occurred_at:
        return name
    # The stage before began at its own due moment, a blink before its revision was written.
    return f"{name} for {words(round((due_at - before.occurred_at).total_seconds()))}"


def _end(row: AccessRequest) -> str:
    match row.end_reason:
        case EndReason.TIME:
            return "because its time is up"
        case EndReason.GIVEN_BACK:
            return f"given back by {_actor(row)}"
        case EndReason.LEFT:
            return f"because {row.subject_name} is not active any more"
        case EndReason.RETIRED:
            return "because it was retired"
    return f"revoked by {_actor(row)}"


def _receipt(row: AccessRequest, receipt: Any, events: Sequence[GrantEvent], kind: str) -> str:
    """Return what the target answered, in a few words."""
    parts: list[str] = []
    facts = receipt if isinstance(receipt, dict) else {}
    for key in ("role", "group"):
        if facts.get(key):
            parts.append(f"{key} {facts[key]}")
            if facts.get("login"):
                parts[-1] += f" for {facts['login']}"
    if facts.get("pre_existing"):
        parts.append("it was there already")
    done = [
        event for event in events if event.kind == kind and event.occurred_at <= row.occurred_at
    ]
    if done:
        took = (done[-1].occurred_at - done[-1].started_at) / timedelta(milliseconds=1)
        parts.append(f"the target took {took:,.0f} ms")
        if done[-1].attempt > 1:
            parts.append(f"attempt {done[-1].attempt}")
    return " · ".join(parts)


def _gone(row: AccessRequest, events: Sequence[GrantEvent]) -> str:
    detail: dict[str, Any] = row.detail
    parts = [_receipt(row, detail.get("receipt"), events, GrantEvent.Kind.REMOVED)]
    if row.removal_lag is not None:
        parts.insert(0, f"{lag_words(row.removal_lag)} after it was due")
    if closed := detail.get("sessions_closed"):
        parts.append(f"{closed} open session{'' if closed == 1 else 's'} closed")
    receipt = detail.get("receipt")
    if isinstance(receipt, dict) and receipt.get("still_member_through"):
        through = ", ".join(map(str, receipt["still_member_through"]))
        parts.append(f"still a member through {through}")
    return " · ".join(part for part in parts if part)


def lag_words(lag: timedelta) -> str:
    """Return a lag with milliseconds below ten seconds: `71 ms`, `2.4 s`, `1 m 12 s`."""
    milliseconds = max(0.0, lag / timedelta(milliseconds=1))
    if milliseconds < 1_000:
        return f"{milliseconds:.0f} ms"
    return f"{milliseconds / 1_000:.1f} s" if milliseconds < 10_000 else words(lag)


def _failure_lines(events: Sequence[GrantEvent]) -> Iterator[Line]:
    """Yield what failed at the target; the same failure again and again becomes one line."""
    run: list[GrantEvent] = []
    for event in [*events, None]:
        if run and (event is None or (event.kind, event.error) != (run[0].kind, run[0].error)):
            if run[0].kind in _FAILED:
                yield _failure_line(run)
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


def _notice_lines(notices: Iterable[Notice]) -> Iterator[Line]:
    """Yield whom it told what; people who were told the same in a row share a line."""
    run: list[Notice] = []
    for notice in [*notices, None]:
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
    channel = _CHANNELS.get(last.channel, last.channel)
    times = f", {len(run)} times" if len(names) == 1 and len(run) > 1 else ""
    return Line(
        at=last.occurred_at,
        order=(last.occurred_at, 2, last.pk),
        text=f"{who} {_NOTICES.get(last.kind, 'told: ' + last.subject_line)}{times}",
        note=f"by {channel}",
        minor=True,
        people=names if len(names) > 1 else (),
    )


def _removal(newest: AccessRequest, events: Sequence[GrantEvent]) -> Removal | None:
    if newest.removal_due_at is None:
        return None
    tries = [
        e for e in events if e.kind in (GrantEvent.Kind.REMOVED, GrantEvent.Kind.REMOVE_FAILED)
    ]
    return Removal(
        due_at=newest.removal_due_at,
        started_at=newest.removal_started_at,
        confirmed_at=newest.removal_confirmed_at,
        lag=newest.removal_lag,
        sessions_closed=int(newest.detail.get("sessions_closed") or 0),
        attempts=len(tries),
        error=tries[-1].error if tries else "",
    )
