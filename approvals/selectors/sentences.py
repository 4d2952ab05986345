"""What happened, in words: one sentence for each revision, decision and attempt at a target.

Times are written in the timezone that is active. What is returned is plain text; pages escape it.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.utils import timezone

from approvals.domain import agents
from approvals.domain.durations import words
from approvals.models import (
    AccessRequest,
    Decision,
    GrantEvent,
    RefusedAttempt,
    ReportExport,
    ReportRun,
    RequestHandover,
    RequestMessage,
    ReviewCampaign,
    ReviewDecision,
    SignIn,
)
from audit.selectors.erasures import Erasure

END_REASONS = {
    "time": "time ran out",
    "given_back": "given back early",
    "revoked": "taken away early",
    "left": "the person left",
    "retired": "it was retired",
}


class Sentence(NamedTuple):
    """What happened: the `headline` that is set off, the `rest` of it, a `detail` below."""

    headline: str
    rest: str = ""
    detail: str = ""
    #: What the detail says in short, whole.
    raw: str = ""

    def __str__(self) -> str:
        return f"{self.headline} {self.rest}".strip()


def short(length: timedelta | float | None) -> str:
    """Return a length as pages write it, with its thousandths where it is short: `84 ms`, `4.1 s`.

    Cut off and never rounded up; without its sign. Nothing for None.
    """
    if length is None:
        return ""
    seconds = abs(length.total_seconds() if isinstance(length, timedelta) else float(length))
    if seconds < 1:
        return f"{int(seconds * 1000)} ms"
    if seconds < 10 and seconds != int(seconds):
        return f"{int(seconds * 10) / 10:g} s"
    return words(seconds)


def moment(at: datetime, *, beside: datetime | None = None) -> str:
    """Return the local time `16:52`, with its date where `beside` is another day."""
    local = timezone.localtime(at)
    if beside is not None and timezone.localtime(beside).date() == local.date():
        return f"{local:%H:%M}"
    return f"{local:%H:%M} on {local.day} {local:%b %Y}"


def precise(at: datetime) -> str:
    """Return the local time to the millisecond: `14:02:00.071`."""
    return timezone.localtime(at).strftime("%H:%M:%S.%f")[:-3]


def revision(record: AccessRequest, *, decision: Decision | None = None) -> Sentence:
    """Return what a revision records; `decision` is the vote that produced it, if one did."""
    told = _TOLD.get(record.event)
    if told is None:
        return Sentence(record.event.title(), "", _quoted(record.comment))
    sentence = told(record)
    if decision is not None:
        sentence = sentence._replace(detail=_joined(sentence.detail, *_having(decision)))
    return sentence


def decided(decision: Decision) -> Sentence:
    """Return what a decision records, without the request around it."""
    return Sentence(
        "Approved" if decision.verdict == Decision.Verdict.APPROVE else "Denied",
        f"for {decision.level_name}",
        _joined(_quoted(decision.comment), *_having(decision)),
    )


def _having(decision: Decision) -> tuple[str, str]:
    """Return what somebody decided having seen, and with how many others at once."""
    many = decision.together or 1
    return f"saw revision {decision.seen_revision}", _at_one_stroke(many)


def _at_one_stroke(many: int) -> str:
    return f"one of {many} at one stroke" if many > 1 else ""


def handed_over(row: RequestHandover) -> Sentence:
    """Return who got a place on a request, whose it was, and why."""
    own = "" if row.place_id == row.giver_id else f", the place of {row.place_name}"
    return Sentence(
        "Handed over", f"{row.level_name} to {row.taker_name}{own}", _quoted(row.comment)
    )


def refused(row: RefusedAttempt) -> Sentence:
    """Return what somebody tried in vain, and the rule that refused it."""
    return Sentence(
        "Refused", f"to {row.get_action_display()}", _joined(row.rule, _quoted(row.comment))
    )


def erasure(row: Erasure, *, name: str) -> Sentence:
    """Return what a step of an erasure was; `name` is what the person is called now."""
    if row.event == row.Event.DONE:
        values, entries = row.detail.get("values", 0), row.detail.get("entries", 0)
        return Sentence("Erased", f"what {name} wrote and what names them",
                        f"{values} values, in {entries} entries of the log")  # fmt: skip
    if row.event == row.Event.ASKED:
        return Sentence("Asked for the erasure", f"of {name}",
                        _joined(row.get_ground_display(), row.reference))  # fmt: skip
    verb = {"approved": "Agreed to", "refused": "Refused", "withdrawn": "Withdrew"}[row.event]
    return Sentence(f"{verb} the erasure", f"of {name}", _quoted(row.comment))


def messaged(message: RequestMessage) -> Sentence:
    """Return what an approver asked, or what was answered."""
    if message.kind == RequestMessage.Kind.QUESTION:
        return Sentence("Asked a question", f"(message {message.number})", _quoted(message.text))
    return Sentence("Answered", f"message {message.answers}", _quoted(message.text))


def kept(receipt: Any) -> str:
    """Return which request holds access that a target kept, and so why; nothing where it is gone.

    `receipt` is what a confirmed end recorded, or its event.
    """
    if not isinstance(receipt, Mapping) or not receipt.get("kept"):
        return ""
    return f"{receipt.get('covered_by')} holds the same access, so the target keeps it"


def attempted(event: GrantEvent) -> Sentence:
    """Return what came of one call to a target, or why none was made."""
    if why := kept(event.detail):
        return Sentence("Target was not asked", "", why)
    number = f"attempt {event.attempt}" if event.attempt > 1 else ""
    took = f"answered in {short(event.occurred_at - event.started_at)}"
    headline = {
        GrantEvent.Kind.GRANTED: "Target confirmed the access",
        GrantEvent.Kind.REMOVED: "Target confirmed the removal",
        GrantEvent.Kind.GRANT_FAILED: "Target did not make the access",
        GrantEvent.Kind.REMOVE_FAILED: "Target did not remove the access",
        GrantEvent.Kind.FOUND: "Target holds the access after its end",
        GrantEvent.Kind.LOST: "Target lacks the access",
        GrantEvent.Kind.GONE: "Target no longer holds the access",
    }.get(GrantEvent.Kind(event.kind), event.kind)
    final = "for good" if event.permanent else ""
    return Sentence(str(headline), final, _joined(number, took, _quoted(event.error)))


def signed_in(row: SignIn) -> Sentence:
    """Return what a sign-in, a failure or a sign-out records."""
    unknown = "with a login that nobody has" if row.person_id is None else ""
    return Sentence(
        row.get_what_display(),
        unknown or (f"by {row.method}" if row.method else ""),
        _joined(agents.words(row.agent), row.address),
        row.agent,
    )


def ran(row: ReportRun) -> Sentence:
    """Return how far a run of a scheduled report came."""
    rows = "" if row.rows is None else f"{row.rows:,} rows"
    sent = f"to {len(row.sent_to)} of {len(row.recipients)}" if row.event == "sent" else ""
    planned = f"planned for {moment(row.planned_at, beside=row.occurred_at)}"
    return Sentence(
        f"Scheduled report {row.get_event_display().lower()}",
        f"“{row.schedule_name}”",
        _joined(planned, rows, sent, row.reason),
    )


_QUERY = ("from", "to", "timezone", "resource", "person")


def exported(row: ReportExport) -> Sentence:
    """Return what the download of a report records."""
    rows = f"{row.rows:,} row{'' if row.rows == 1 else 's'}"
    query = ", ".join(f"{key} {row.query[key]}" for key in _QUERY if key in row.query)
    size = row.checkpoint_size
    return Sentence(
        f"Downloaded “{row.title}”",
        f"as {row.format.upper()}, {rows}",
        _joined(query, f"checkpoint of {size:,} leaves" if size is not None else ""),
    )


_CAMPAIGN = {
    ReviewCampaign.Event.OPENED: "Opened the access review",
    ReviewCampaign.Event.SIGNED_OFF: "Signed off the access review",
    ReviewCampaign.Event.CANCELLED: "Cancelled the access review",
}


def campaign(row: ReviewCampaign) -> Sentence:
    """Return what a revision of an access review records."""
    about = f"{row.items:,} access{'' if row.items == 1 else 'es'}, {row.scope_name}"
    asks = f"due {moment(row.due_at)}" if row.is_open else ""
    return Sentence(
        _CAMPAIGN[ReviewCampaign.Event(row.event)],
        f"“{row.name}”",
        _joined(about, asks, _quoted(row.comment)),
    )


def reviewed(row: ReviewDecision, *, subject: str, name: str) -> Sentence:
    """Return what was decided about the access of `subject` in the review called `name`."""
    headline = {
        ReviewDecision.Verdict.KEEP: "Kept",
        ReviewDecision.Verdict.REMOVE: "Removed",
        ReviewDecision.Verdict.GONE: "Had ended by itself:",
        ReviewDecision.Verdict.UNREVIEWED: "Not reviewed in time:",
    }[ReviewDecision.Verdict(row.verdict)]
    return Sentence(
        headline,
        f"{subject}’s access in the review “{name}”",
        _joined(_quoted(row.reason), _at_one_stroke(row.together)),
    )


def _submitted(record: AccessRequest) -> Sentence:
    behalf = "" if record.requester_id == record.subject_id else f", for {record.subject_name}"
    start = (
        f", from {moment(record.starts_at, beside=record.occurred_at)}" if record.starts_at else ""
    )
    return Sentence(
        "Asked for access", f"for {short(record.duration)}{behalf}{start}",
        _joined(_quoted(record.reason), record.ticket),
    )  # fmt: skip


def _voted(record: AccessRequest) -> Sentence:
    return Sentence("Approved", _for_level(record.detail), _quoted(record.comment))


def _approved(record: AccessRequest) -> Sentence:
    if record.actor_id is None:
        rule = record.detail.get("by_rule", record.rule_name)
        return Sentence("Approved", f"by the rule “{rule}”; nobody had to decide")
    return Sentence(
        "Approved", f"{_for_level(record.detail)}, the last of its chain", _quoted(record.comment)
    )


def _denied(record: AccessRequest) -> Sentence:
    name = record.detail.get("level_name", "")
    return Sentence("Denied", f"for {name}" if name else "", _quoted(record.comment))


def _escalated(record: AccessRequest) -> Sentence:
    level = record.detail.get("level_name") or record.level_name
    people = ", ".join(map(str, record.detail.get("to", [])))
    return Sentence(
        "Escalated", f"because {level} stayed silent", f"asked now: {people}" if people else ""
    )


def _lapsed(record: AccessRequest) -> Sentence:
    level = record.detail.get("level_name", "")
    return Sentence("Lapsed", f"nobody decided for {level} in time" if level else "nobody decided")


def _activated(record: AccessRequest) -> Sentence:
    assert record.ends_at is not None
    return Sentence(
        "Access became active", f"until {moment(record.ends_at, beside=record.occurred_at)}"
    )


def _ended(record: AccessRequest) -> Sentence:
    why = END_REASONS.get(record.end_reason, record.end_reason)
    return Sentence("Access is ending", f"because {why}" if why else "", _quoted(record.comment))


def _confirmed(record: AccessRequest) -> Sentence:
    due, done = record.removal_due_at, record.removal_confirmed_at
    why = kept(record.detail.get("receipt"))
    detail = f"due {precise(due)} · removed {precise(done)}" if due and done and not why else why
    closed = record.detail.get("sessions_closed", 0)
    sessions = "one open session closed" if closed == 1 else f"{closed} open sessions closed"
    return Sentence(
        "Access ended", END_REASONS.get(record.end_reason, ""),
        _joined(detail, sessions if closed else ""),
    )  # fmt: skip


def _cancelled(record: AccessRequest) -> Sentence:
    return Sentence("Cancelled", "before it became access", _quoted(record.comment))


def _failed(record: AccessRequest) -> Sentence:
    return Sentence("Could not be made", "", _quoted(record.comment))


_TOLD = {
    "submitted": _submitted,
    "voted": _voted,
    "approved": _approved,
    "denied": _denied,
    "escalated": _escalated,
    "lapsed": _lapsed,
    "cancelled": _cancelled,
    "failed": _failed,
    "activated": _activated,
    "ended": _ended,
    "confirmed": _confirmed,
}


def _for_level(detail: Mapping[str, Any]) -> str:
    name, vote, quorum = detail.get("level_name", ""), detail.get("vote"), detail.get("quorum")
    count = f" ({vote} of {quorum})" if vote and quorum and quorum > 1 else ""
    return f"for {name}{count}"


def _quoted(text: str) -> str:
    return f"“{text}”" if text else ""


def _joined(*parts: str) -> str:
    return " · ".join(part for part in parts if part)
