"""What a request's history says: every revision, what failed at the target, whom it told.

Each line is who, for whom and why, in parts that a page sets apart (`lead` strong, `note` quiet,
`quote` in quotation marks). Lines hold moments, not their words, so that a page can write them in
the reader's timezone.
"""

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.db import connection
from django.db.models import Case, DateTimeField, Exists, Func, When

from approvals.domain.durations import words
from approvals.domain.notices import QUESTIONS
from approvals.domain.states import EndReason, Event, State
from approvals.models import (
    AccessRequest,
    CurrentRequest,
    GrantEvent,
    Notice,
    RequestHandover,
    RequestMessage,
    User,
)
from approvals.models.request import reference
from approvals.selectors import beside, handing_over, lags, questions, requests, sentences
from approvals.selectors.beside import Line
from audit.selectors.erasures import ERASED

__all__ = ["AccessRequest", "History", "Line", "Removal", "load", "mark"]


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
    login_lag: timedelta | None = None
    session_lag: timedelta | None = None
    """As in `lags`; None where only the whole is known."""
    kept_by: str = ""
    """The request that holds the same access, so that the target keeps it."""

    @property
    def late(self) -> bool:
        """Return whether the lag is more than a person would call at once."""
        return self.lag is not None and self.lag > timedelta(seconds=5)

    @property
    def lag_words(self) -> str:
        """Return the lag in words; nothing before it is confirmed."""
        return "" if self.lag is None else lag_words(self.lag)

    @property
    def login_lag_words(self) -> str:
        """Return the lag of new use in words; nothing where it isn't known apart."""
        return "" if self.login_lag is None else lag_words(self.login_lag)

    @property
    def session_lag_words(self) -> str:
        """Return the lag of open sessions in words; nothing where it isn't known apart."""
        return "" if self.session_lag is None else lag_words(self.session_lag)


class History(NamedTuple):
    """A request's whole history at one moment of the database's clock."""

    now: datetime
    lines: list[Line]
    revisions: int
    removal: Removal | None
    last_error: str
    counts: tuple[int, int, int, int]
    extensions: tuple[AccessRequest, ...] = ()
    messages: tuple[RequestMessage, ...] = ()
    unread_by: frozenset[int] = frozenset()
    """Who was told something in their notice centre that they have not read."""

    def mark(self, revision: int) -> str:
        """Return what tells two states of the page apart, as `mark` reads it from the database."""
        return ".".join(map(str, (revision, *self.counts)))


_VOTES = {Event.VOTED, Event.APPROVED, Event.DENIED}


class _ClockTimestamp(Func):
    function = "clock_timestamp"
    output_field = DateTimeField()


def load(record: AccessRequest) -> History:
    """Return the history, newest first, and when it was read (four queries at most)."""
    late = lags.inline()
    revisions = list(
        AccessRequest.objects.filter(request_id=record.request_id)
        .annotate(
            login_lag=late.login,
            session_lag=late.session,
            read_at=_ClockTimestamp(),
            asked=Case(When(revision=1, then=questions.inline())),
            is_extended=Exists(CurrentRequest.objects.filter(extends=record.request_id)),
            handed=Case(When(revision=1, then=handing_over.inline())),
        )
        .order_by("revision")
    )
    now: datetime = revisions[0].read_at
    _name_actors(revisions)
    # Nothing was tried at the target before it was approved.
    events = requests.grant_events(record.request_id) if _was_approved(revisions) else []
    notices = requests.notices(record.request_id)
    is_extended = revisions[0].is_extended
    extensions = requests.extensions_of(record.request_id) if is_extended else []
    messages = questions.from_column(record.request_id, revisions[0].asked)
    handed = handing_over.from_column(record.request_id, revisions[0].handed)
    lines = [
        *_revision_lines(revisions, events, handed),
        *beside.failures(events),
        *beside.notices(notices),
        *beside.extensions(extensions),
        *beside.messages(messages),
        *beside.handovers(handed),
    ]
    lines.sort(key=lambda line: line.order, reverse=True)
    newest = revisions[-1]
    error = events[-1].error if events and newest.state in (State.APPROVED, State.REVOKING) else ""
    return History(
        now=now,
        lines=lines,
        revisions=len(revisions),
        removal=_removal(newest, events, login=newest.login_lag, session=newest.session_lag),
        last_error=error,
        counts=(len(events), len(notices), len(messages), len(handed)),
        extensions=tuple(extensions),
        messages=tuple(messages),
        unread_by=frozenset(each.recipient_id for each in notices if _is_unread(each)),
    )


def _is_unread(notice: Notice) -> bool:
    entry = getattr(notice, "entry", None)  # what went by mail alone has none
    asks = entry is not None and (entry.asks or notice.kind in QUESTIONS)
    return entry is not None and entry.read_at is None and not asks


def mark(request_id: uuid.UUID, *, revision: int) -> str:
    """Return what tells two states of the page apart (one query)."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT (SELECT count(*) FROM approvals_grantevent WHERE request_id = %(id)s),"
            " (SELECT count(*) FROM approvals_notice WHERE request_id = %(id)s),"
            " (SELECT count(*) FROM approvals_requestmessage WHERE request_id = %(id)s),"
            " (SELECT count(*) FROM approvals_requesthandover WHERE request_id = %(id)s)",
            {"id": request_id},
        )
        counts = cursor.fetchone()
    return ".".join(map(str, (revision, *counts)))


def _name_actors(revisions: Sequence[AccessRequest]) -> None:
    """Give actors their present names where the request's own ones were erased (then one query).

    An erasure takes a field of all revisions, so that those who approved lose theirs with it.
    """
    if all(row.actor_name != ERASED for row in revisions):
        return
    people = User.objects.in_bulk({row.actor_id for row in revisions if row.actor_id})
    for row in revisions:
        if row.actor_name == ERASED:
            row.actor_name = people[row.actor_id].name if row.actor_id else "portal"


def _was_approved(revisions: Sequence[AccessRequest]) -> bool:
    return any(row.event == Event.APPROVED for row in revisions)


def _revision_lines(
    revisions: Sequence[AccessRequest],
    events: Sequence[GrantEvent],
    handed: Sequence[RequestHandover],
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
        said = _sentence(line, row, before, events)
        if row.event in _VOTES and (name := handing_over.for_whom(row, handed)):
            said = replace(said, text=f"{said.text} for {'somebody' if name == ERASED else name}")
        yield said
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
                text=f"by {row.requester_name}{other}{_extended(row)}",
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
        text="and gone from the target" if not _is_kept(row) else "",
        note=_gone(row, events),
    )


def _extended(row: AccessRequest) -> str:
    return f", to extend {reference(row.extends)}" if row.extends else ""


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


def _is_kept(row: AccessRequest) -> bool:
    return bool(sentences.kept(row.detail.get("receipt")))


def _receipt(row: AccessRequest, receipt: Any, events: Sequence[GrantEvent], kind: str) -> str:
    """Return what the target answered, in a few words."""
    parts: list[str] = []
    facts = receipt if isinstance(receipt, dict) else {}
    for key in ("role", "group"):
        if facts.get(key):
            parts.append(f"{key} {facts[key]}")
            if facts.get("login"):
                parts[-1] += f" for {facts['login']}"
    if why := sentences.kept(facts):
        return why
    if facts.get("continued"):
        return f"going on from {facts['continued']} without a break"
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
    if row.removal_lag is not None and not _is_kept(row):
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


def _removal(
    newest: AccessRequest,
    events: Sequence[GrantEvent],
    *,
    login: timedelta | None,
    session: timedelta | None,
) -> Removal | None:
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
        login_lag=login,
        session_lag=session,
        kept_by=str(newest.detail["receipt"].get("covered_by")) if _is_kept(newest) else "",
    )
