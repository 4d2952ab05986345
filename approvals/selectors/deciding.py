"""What an approver needs in front of them to decide on a request, and what happened since.

One board is the list of what waits and the request that is read. It costs a fixed number of
queries; its clock is the database's and comes with the request's row.
"""

import uuid
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple

from django.db import connection
from django.db.models.functions import Now

from approvals.domain import escalation
from approvals.domain.facts import Parties
from approvals.domain.refusals import NotFound
from approvals.domain.states import LIVE
from approvals.models import (
    AccessRequest,
    CurrentRequest,
    Decision,
    Entitlement,
    RequestHandover,
    RequestMessage,
    User,
)
from approvals.selectors import chains, clock, handing_over, questions, requests, sentences, sifting
from approvals.selectors.chains import ChainView
from approvals.selectors.requests import Cursor, InboxItem
from approvals.selectors.sentences import Sentence
from approvals.selectors.sifting import Sieve

_REFUSED = {
    "settled": "",
    "lapsed": "Nobody decided in time, so this request has lapsed.",
    "self_decision": "This request is your own, so others decide on it.",
    "inactive": "Your account is not active, so you can't decide.",
    "already_voted": "You have voted on this request. One person has one vote.",
    "not_an_approver": "You are not among those who may decide on this request now.",
}


class Before(NamedTuple):
    """Earlier grants of the same access to the same person in 90 days, and what is usual."""

    grants: int
    given_back_early: int
    last_at: datetime | None
    usual_seconds: float | None
    """The median of how long the latest ended grants of it lasted, whoever had them."""


@dataclass(frozen=True)
class Reading:
    """A request in the reading pane. `refused` says why the reader may not decide, or nothing.

    `settled` says who settled it and when; it is empty while it is pending.
    """

    record: AccessRequest
    now: datetime
    view: ChainView | None
    decisions: tuple[Decision, ...]
    handovers: tuple[RequestHandover, ...]
    before: Before
    held: tuple[AccessRequest, ...]
    reports_to_reader: bool
    may_decide: bool
    refused: str
    settled: str = ""
    messages: tuple[RequestMessage, ...] = ()

    @property
    def entitlement(self) -> Entitlement:
        """Return what is asked for (loaded with the request)."""
        return self.record.entitlement

    @property
    def subject(self) -> User:
        """Return who would get the access (loaded with the request)."""
        return self.record.subject

    @property
    def held_here(self) -> list[AccessRequest]:
        """Return what else the subject holds on the same resource."""
        return [row for row in self.held if row.resource_name == self.record.resource_name]

    @property
    def held_elsewhere(self) -> list[AccessRequest]:
        """Return what the subject holds on other resources."""
        return [row for row in self.held if row.resource_name != self.record.resource_name]

    @property
    def comments(self) -> list[Decision]:
        """Return the decisions that said something."""
        return [decision for decision in self.decisions if decision.comment]


@dataclass(frozen=True)
class Board:
    """The inbox of one person: a page of what waits, and the request that is read."""

    items: tuple[InboxItem, ...]
    reading: Reading | None
    now: datetime
    next: Cursor | None

    @property
    def late(self) -> int:
        """Return how many of this page are overdue."""
        return sum(item.due_at <= self.now for item in self.items)


class Happened(NamedTuple):
    """One revision in a sentence: when, who, what."""

    at: datetime
    who: str
    sentence: Sentence


def board(
    *,
    person: User,
    chosen: uuid.UUID | None = None,
    after: Cursor | None = None,
    by: Sieve | None = None,
) -> Board:
    """Return the person's inbox, sifted, with the request `chosen`, or the most urgent one.

    Raises: NotFound for a request that the person may not see.
    """
    by = by or Sieve()
    found = sifting.inbox(person=person, by=by, after=after, limit=requests.PAGE + 1)
    items, more = tuple(found[: requests.PAGE]), len(found) > requests.PAGE
    if chosen is None and items:
        chosen = items[0].record.request_id
    asked = next((item for item in items if item.record.request_id == chosen), None)
    reading: Reading | None = None
    if asked is not None:
        reading = _reading(asked.record, reader=person)
    elif chosen is not None:
        reading = _reading(readable(chosen, by=person), reader=person)
    last = items[-1] if more else None
    return Board(
        items=items,
        reading=reading,
        now=reading.now if reading else clock.now(),
        next=Cursor(last.due_at, last.record.request_id) if last else None,
    )


def readable(request_id: uuid.UUID, *, by: User) -> AccessRequest:
    """Return the newest revision if the person may see it, or was asked to decide on it.

    Who was asked is told what others decided, even when no mail has reached them yet (at most six
    queries). Raises: NotFound for everybody else.
    """
    try:
        return requests.visible(request_id, to=by)
    except NotFound:
        record = requests.current(request_id)
        if by.pk not in _asked_so_far(record):
            raise
    return record


def _asked_so_far(record: AccessRequest) -> frozenset[int]:
    """Return whom the chain asked at the levels that have been open."""
    rule = chains.pinned_rule(record)
    view = chains.load(record, now=record.occurred_at)
    if rule.chain is None or view is None:
        return frozenset()
    opened, left = 1, sum(vote.verdict == "approve" for vote in view.votes)
    for level in rule.chain.levels[:-1]:
        left -= level.quorum
        if left < 0:
            break
        opened += 1
    asked: set[int] = set()
    for number, level in enumerate(rule.chain.levels[:opened], start=1):
        for step in range((record.escalations if number == opened else 0) + 1):
            then = replace(
                view.progress, state="pending", level=number, voters=frozenset(),
                escalations=min(step, len(level.escalate)), missing=level.quorum,
            )  # fmt: skip
            able = escalation.electorate(rule.chain, then, view.parties, view.directory)
            asked.update(int(str(person)) for person in able)
    # Whoever handed over was asked as well, and so was whoever took it.
    for handover in view.handovers:
        asked.update(int(str(person)) for person in (handover.giver, handover.taker))
    return frozenset(asked)


def following(items: tuple[InboxItem, ...], request_id: uuid.UUID) -> uuid.UUID | None:
    """Return what comes after a request in the list, or before it when it is the last."""
    keys = [item.record.request_id for item in items]
    if request_id not in keys:
        return keys[0] if keys else None
    at = keys.index(request_id)
    others = keys[at + 1 : at + 2] or keys[max(0, at - 1) : at]
    return others[0] if others else None


def _reading(record: AccessRequest, *, reader: User) -> Reading:
    """Load what the pane shows (at most six queries, seven once it is settled)."""
    loaded = (
        AccessRequest.objects.filter(pk=record.pk)
        .select_related("entitlement__resource", "subject")
        .annotate(read_at=Now(), asked=questions.inline(), handed=handing_over.inline())
        .get()
    )
    now: datetime = loaded.read_at
    decisions = tuple(requests.decisions(loaded.request_id)) if loaded.revision > 1 else ()
    view = _chain(loaded, decisions, reader=reader, now=now)
    pending = loaded.state == "pending"
    if view is not None and not pending:
        view = view.closed()
    code = view.refusal(reader.pk) if view else "settled"
    may_decide = pending and code is None
    return Reading(
        record=loaded,
        now=now,
        view=view,
        decisions=decisions,
        handovers=tuple(handing_over.from_column(loaded.request_id, loaded.handed)),
        before=_before(loaded),
        held=_held(loaded),
        reports_to_reader=loaded.subject.manager_id == reader.pk,
        may_decide=may_decide,
        refused="" if may_decide or not pending else _refused(loaded, code, reader),
        settled="" if pending else settled(loaded.request_id, reader=reader),
        messages=tuple(questions.from_column(loaded.request_id, loaded.asked)),
    )


def _chain(
    record: AccessRequest, decisions: tuple[Decision, ...], *, reader: User, now: datetime
) -> ChainView | None:
    """Evaluate the chain from rows that are loaded already (one query, two when it is new)."""
    rule = chains.pinned_rule(record)
    if rule.chain is None:
        return None
    owner = record.entitlement.resource.owner_id
    votes = tuple(
        escalation.Vote(
            actor=row.actor_id,
            verdict="approve" if row.verdict == Decision.Verdict.APPROVE else "deny",
            at=row.occurred_at,
        )
        for row in decisions
    )
    directory, names, handovers = chains.people(
        rule.chain,
        request_id=record.request_id,
        subject=record.subject_id,
        also=[record.requester_id, owner, reader.pk, *(row.actor_id for row in decisions)],
    )
    return chains.evaluate(
        rule.chain,
        votes,
        parties=Parties(requester=record.requester_id, subject=record.subject_id, owner=owner),
        directory=directory,
        names=names,
        opened_at=record.submitted_at,
        now=now,
        handovers=handovers,
    )


def _before(record: AccessRequest) -> Before:
    """Return what was before (one query, which reads at most two hundred requests)."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT * FROM (
                SELECT count(*), count(*) FILTER (WHERE r.end_reason = 'given_back'),
                       max(r.activated_at)
                FROM (SELECT record_id FROM approvals_currentrequest
                      WHERE subject_id = %(subject)s AND entitlement_id = %(entitlement)s
                        AND activated_at IS NOT NULL AND submitted_at < %(at)s
                        AND submitted_at > %(at)s - interval '90 days' AND request_id <> %(id)s
                      ORDER BY submitted_at DESC LIMIT 100) c
                JOIN approvals_accessrequest r ON r.id = c.record_id) own,
            (
                SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(
                    epoch FROM r.removal_confirmed_at - r.activated_at))
                FROM (SELECT record_id FROM approvals_currentrequest
                      WHERE entitlement_id = %(entitlement)s
                      ORDER BY submitted_at DESC LIMIT 100) c
                JOIN approvals_accessrequest r ON r.id = c.record_id
                WHERE r.removal_confirmed_at IS NOT NULL AND r.activated_at IS NOT NULL) every
            """,
            {
                "subject": record.subject_id, "entitlement": record.entitlement_id,
                "at": record.submitted_at, "id": record.request_id,
            },
        )  # fmt: skip
        grants, early, last_at, usual = cursor.fetchone()
    return Before(grants, early, last_at, None if usual is None else float(usual))


def _held(record: AccessRequest) -> tuple[AccessRequest, ...]:
    """Return what else the subject has on targets now, the soonest to end first (one query)."""
    live = CurrentRequest.objects.filter(
        subject=record.subject_id, state__in=[str(state) for state in LIVE]
    ).exclude(request_id=record.request_id)
    rows = AccessRequest.objects.filter(id__in=live.values("record_id")).order_by("ends_at")
    return tuple(rows[:20])


def _refused(record: AccessRequest, code: str | None, reader: User) -> str:
    if reader.pk in (record.requester_id, record.subject_id):
        return _REFUSED["self_decision"]
    return "" if code is None else _REFUSED[code]


def since(request_id: uuid.UUID, *, revision: int) -> list[Happened]:
    """Return what happened after a revision, oldest first, in sentences (two queries)."""
    rows = AccessRequest.objects.filter(request_id=request_id, revision__gt=revision)
    votes = {row.revision: row for row in requests.decisions(request_id)}
    return [
        Happened(
            row.occurred_at,
            row.actor_name,
            sentences.revision(row, decision=votes.get(row.revision)),
        )
        for row in rows.order_by("revision")
    ]


def settled(request_id: uuid.UUID, *, reader: User) -> str:
    """Return who settled a request and when, as one sentence (one query). Raises: NotFound."""
    row = (
        AccessRequest.objects.filter(request_id=request_id)
        .filter(event__in=["approved", "denied", "cancelled", "lapsed"])
        .order_by("revision")
        .first()
    )
    if row is None:
        raise NotFound
    at = sentences.moment(row.occurred_at, beside=clock.now())
    if row.event == "lapsed":
        return f"It lapsed at {at}: nobody decided in time."
    if row.actor_id == reader.pk:
        return f"You have voted: you {row.event} it at {at}."
    who = row.actor_name if row.actor_id else "The portal"
    return f"{who} {row.event} it at {at}."


def outcome(record: AccessRequest, view: ChainView | None, *, reader: User) -> str:
    """Return what a decision led to and what happens next; `record` is what it produced."""
    subject = record.subject_name
    if record.state == "denied":
        return f"Denied. {subject} is told, with your comment."
    if record.state == "approved" and record.starts_at and record.starts_at > record.occurred_at:
        at = sentences.moment(record.starts_at, beside=record.occurred_at)
        return f"Approved. The access starts at {at}; {subject} is told then."
    if record.state == "approved" or view is None or view.level is None:
        return f"Approved. The access is being made; {subject} is told when it works."
    asked = ", ".join(view.names_of(view.electorate - {reader.pk})[:5]) or "nobody yet"
    if view.progress.votes_at_level:
        return f"Approved. {view.level.name} needs {view.progress.missing} more: {asked}."
    number = view.progress.level
    return f"Approved. Level {number}, {view.level.name}, asks {asked} now."
