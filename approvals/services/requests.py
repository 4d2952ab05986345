"""Asking, deciding, cancelling: what people do to a request until it is a grant."""

import uuid
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import uuid_utils.compat as uuid7
from django.db import transaction

from approvals.domain import policy as policies
from approvals.domain.escalation import Vote
from approvals.domain.refusals import (
    Invalid,
    NotAllowed,
    Settled,
    StaleRevision,
)
from approvals.domain.states import WAITING, Event, State
from approvals.models import AccessRequest, Asked, Decision, Entitlement, User
from approvals.outbox import queue
from approvals.selectors import chains as views
from approvals.selectors import leases as keys
from approvals.selectors import requests as reads
from approvals.selectors import standing
from approvals.services import asked, escalation, leases, notices, recording, refused, starts

REASON_MOST = 2_000
TICKET_MOST = 100
COMMENT_MOST = 2_000

#: Why somebody may not decide, in a sentence.
REFUSALS = {
    "self_decision": "Nobody decides on their own request, nor on one that they sent for another.",
    "inactive": "Your account is not active, so you can't decide.",
    "already_voted": "You have voted on this request already. One person has one vote.",
    "not_an_approver": "You are not among those who may decide on this request now.",
}


@transaction.atomic
def submit(
    *,
    actor: User,
    subject: User,
    entitlement: Entitlement,
    duration: timedelta,
    reason: str,
    now: datetime,
    ticket: str = "",
    starts_at: datetime | None = None,
    extends: uuid.UUID | None = None,
) -> AccessRequest:
    """Send a request; return its newest revision: pending, or approved where the rule says so.

    The policy's current version is pinned. One open request per subject and entitlement, and beside
    active access one that `extends` it. Raises: Invalid for nonsense or a duplicate, NotAllowed
    with the policy's reason, Settled where what it extends is not active any more.
    """
    reason, ticket = _text(reason, "reason", REASON_MOST), _text(ticket, "ticket", TICKET_MOST)
    _check(reason=reason, duration=duration, starts_at=starts_at, extends=extends, now=now)
    if not (actor.is_active and subject.is_active):
        raise NotAllowed("Only active people can ask for or get access.", code="inactive")
    recording.lock_pair(subject=subject.pk, entitlement=entitlement.pk)
    if extends is not None:
        _may_be_extended(extends, subject=subject, entitlement=entitlement, now=now)
    stands = standing.of(subject=subject.pk, entitlement=entitlement.pk)
    if stands.retired:
        raise NotAllowed(f"{entitlement} is retired; nobody can ask for it.", code="retired")
    rule = policies.resolve(
        stands.policy,
        risk=stands.risk,
        subject_groups=stands.groups,
        duration=duration,
        ticket=ticket,
        reason=reason,
        extends=extends is not None,
    )
    if isinstance(rule, policies.Refused):
        field = {"too_long": "duration", "ticket_missing": "ticket", "reason_too_short": "reason"}
        if rule.code in field:
            raise Invalid(rule.reason, field=field[rule.code], code=rule.code)
        raise NotAllowed(rule.told(subject=subject.pk == actor.pk), code=rule.code)
    if subject.pk != actor.pk:
        alone = policies.refused_for_another(rule, short_name=subject.get_short_name())
        if alone is not None:
            raise NotAllowed(alone.reason, code=alone.code)
    other = reads.open_for(subject=subject.pk, entitlement=entitlement.pk)
    if other is not None and (extends is None or other.state in WAITING):
        raise Invalid(reads.already_open(other, to=actor), code="duplicate")
    assert stands.policy_record is not None
    first = AccessRequest(
        request_id=uuid7.uuid7(),
        revision=1,
        event=Event.SUBMITTED,
        actor=actor,
        actor_name=actor.get_full_name(),
        occurred_at=now,
        requester=actor,
        requester_name=actor.get_full_name(),
        subject=subject,
        subject_name=subject.get_full_name(),
        entitlement=entitlement,
        resource_name=entitlement.resource.name,
        entitlement_name=entitlement.name,
        risk=stands.risk,
        reason=reason,
        ticket=ticket,
        duration_seconds=int(duration.total_seconds()),
        starts_at=starts_at,
        extends=extends,
        submitted_at=now,
        policy_record_id=stands.policy_record.history_id,
        policy_name=stands.policy_record.name,
        policy_version=stands.policy_record.version,
        rule_name=rule.rule_name,
        level=1 if rule.chain else None,
        level_name=rule.chain.levels[0].name if rule.chain else "",
        due_at=now + rule.chain.levels[0].within if rule.chain else None,
    )
    recording.write(first)
    if rule.chain is None:
        approved = first.revise(
            event=Event.APPROVED, actor=None, now=now,
            detail={"by_rule": rule.rule_name}, due_at=None, target=_target(first, stands),
        )  # fmt: skip
        approved.approve()
        recording.write(approved)
        _approved(approved, stands=stands, others=(), now=now)
        return approved
    view = views.load(first, now=now, owner=stands.owner)
    assert view is not None
    notices.ask(first, view, people=asked.refresh(first, view, now=now), now=now)
    notices.schedule_reminder(first, view, now=now)
    return first


def _check(
    *,
    reason: str,
    duration: timedelta,
    starts_at: datetime | None,
    extends: uuid.UUID | None,
    now: datetime,
) -> None:
    """Refuse what is nonsense whatever the policy says. Raises: Invalid."""
    if not reason:
        raise Invalid("Say why you need it. Approvers and auditors read this.", field="reason")
    if duration < timedelta(minutes=1) or duration.microseconds:
        raise Invalid("Ask for at least one minute, in whole seconds.", field="duration")
    if problem := policies.start_problem(starts_at, now=now):
        raise Invalid(problem, field="starts_at")
    if starts_at is not None and extends is not None:
        raise Invalid("An extension starts when the access would end.", field="starts_at")


def _may_be_extended(
    request_id: uuid.UUID, *, subject: User, entitlement: Entitlement, now: datetime
) -> None:
    """Hold the request that is to be extended. Raises: NotFound, Invalid, Settled."""
    original = recording.locked(request_id)
    if (original.subject_id, original.entitlement_id) != (subject.pk, entitlement.pk):
        raise Invalid("An extension is for the same person and the same access.")
    is_over = original.ends_at is not None and original.ends_at <= now
    if original.state != State.ACTIVE or is_over:
        raise Settled(
            f"{original.reference} is not active, so it can't be extended. Ask anew.",
            code=original.state,
        )


def decide(
    *,
    actor: User,
    request_id: uuid.UUID,
    verdict: str,
    seen_revision: int,
    now: datetime,
    comment: str = "",
    together: int = 1,
) -> AccessRequest:
    """Record one person's approve or deny, bound to the revision that they saw.

    It is one of `together` that the same act is to decide.
    What is due by the clock happens first: a silent level escalates or lapses before any vote.
    Raises: NotFound; Settled when it is over; NotAllowed for whoever may not decide; StaleRevision
    when it changed after they looked; Invalid for a deny without a comment.
    """
    comment = _text(comment, "comment", COMMENT_MOST)
    if verdict not in Decision.Verdict.values:
        raise Invalid("Choose approve or deny.", field="verdict")
    if verdict == Decision.Verdict.DENY and not comment:
        raise Invalid("Say why you deny it, so that the requester learns.", field="comment")
    escalation.advance(request_id, now=now)
    with refused.noted(actor, refused.Action(verdict), request_id, comment, now):
        said = Decision.Verdict(verdict)
        return _decide(actor, request_id, said, seen_revision, comment, now, together)


@transaction.atomic
def _decide(
    actor: User,
    request_id: uuid.UUID,
    verdict: Decision.Verdict,
    seen_revision: int,
    comment: str,
    now: datetime,
    together: int,
) -> AccessRequest:
    extends = reads.extends(request_id)
    if extends is not None:  # its end must not come in between; the older request is held first
        recording.lock(extends)
    record = recording.locked(request_id)
    if record.state != State.PENDING:
        raise Settled(f"This request is {record.state} already.", code=record.state)
    stands = standing.of(subject=record.subject_id, entitlement=record.entitlement_id)
    view = views.load(record, now=now, actor=actor.pk, owner=stands.owner)
    assert view is not None, "a request without a chain is never pending"
    if view.progress.state != "pending":
        raise Settled("This request has lapsed: nobody decided in time.", code="lapsed")
    if (code := view.refusal(actor.pk)) is not None:
        raise NotAllowed(REFUSALS[code], code=code)
    if seen_revision != record.revision or view.progress.escalations != record.escalations:
        raise StaleRevision(
            "The request changed after you opened it. Look at it again, then decide.",
            current=record.revision,
        )
    if verdict == Decision.Verdict.APPROVE:
        _recheck(record, stands)
    vote = Vote(
        actor=actor.pk,
        verdict="approve" if verdict == Decision.Verdict.APPROVE else "deny",
        at=now,
    )
    after = view.with_vote(vote, now=now)
    level = view.level
    assert level is not None
    decision = Decision(
        request_id=request_id,
        revision=record.revision + 1,
        seen_revision=seen_revision,
        level=view.progress.level or 0,
        level_name=record.level_name,
        escalations=record.escalations,
        actor=actor,
        actor_name=actor.get_full_name(),
        verdict=verdict,
        comment=comment,
        asked_at=reads.asked_at(request_id, person=actor.pk),
        together=together,
        occurred_at=now,
    )
    with recording.translated():
        decision.save()
    revision = record.revise(
        event={"approved": Event.APPROVED, "denied": Event.DENIED}.get(
            after.progress.state, Event.VOTED
        ),
        actor=actor,
        now=now,
        comment=comment,
        level=after.progress.level,
        level_name=after.level.name if after.level else "",
        escalations=after.progress.escalations,
        due_at=after.progress.due_at,
        detail={
            "level": record.level,
            "level_name": record.level_name,
            "vote": level.quorum - view.progress.missing + 1,
            "quorum": level.quorum,
        },
    )
    others = view.electorate
    if revision.event == Event.APPROVED:
        revision.target = _target(record, stands)
        revision.approve()
        recording.write(revision)
        _approved(revision, stands=stands, others=others, now=now)
    elif revision.event == Event.DENIED:
        revision.deny()
        recording.write(revision)
        asked.refresh(revision, None, now=now)
        notices.decided(revision, others=others, now=now)
    else:
        recording.write(revision)
        new = asked.refresh(revision, after, now=now)
        notices.ask(revision, after, people=new, now=now)
        if after.progress.level != record.level:
            notices.level_done(revision, others=others - after.electorate, now=now)
            notices.schedule_reminder(revision, after, now=now)
    return revision


def _recheck(record: AccessRequest, stands: standing.Standing) -> None:
    """Refuse an approval that the policy as it stands would not allow. Raises: NotAllowed."""
    refused = stands.refusal(duration=record.duration)
    if refused is not None:
        raise NotAllowed(
            f"Since it was sent, the rules have changed: {refused.reason} Deny it, or let the "
            "requester ask again.",
            code=refused.code,
        )


def _target(record: AccessRequest, stands: standing.Standing) -> dict[str, Any]:
    """Return what a connector needs and what access it is, as pinned by an approval."""
    return leases.pinned(
        stands.target,
        request_id=record.request_id,
        resource=record.resource_name,
        entitlement=record.entitlement_name,
    )


def _approved(
    record: AccessRequest, *, stands: standing.Standing, others: Iterable[int], now: datetime
) -> None:
    asked.refresh(record, None, now=now)
    starts.schedule(record, stands=stands, now=now)
    notices.decided(record, others=set(others), now=now)


@transaction.atomic
def cancel(
    *, actor: User | None, request_id: uuid.UUID, now: datetime, comment: str = ""
) -> AccessRequest:
    """Withdraw a request that is not access yet. `actor` None is the portal itself.

    Raises: NotFound, NotAllowed, Settled (active access is ended, not cancelled), Invalid.
    """
    comment = _text(comment, "comment", COMMENT_MOST)
    record = recording.locked(request_id)
    if actor is not None and not may_cancel(actor, record):
        raise NotAllowed(
            "Only the requester, the subject or an operator may cancel this.", code="not_yours"
        )
    if record.state not in (State.PENDING, State.APPROVED):
        raise Settled(f"This request is {record.state} already.", code=record.state)
    return call_off(record, actor=actor, now=now, comment=comment)


def call_off(
    record: AccessRequest, *, actor: User | None, now: datetime, comment: str
) -> AccessRequest:
    """Write that a request is cancelled, with all that follows. Who may is the caller's business.

    In the caller's transaction, which holds the request, pending or approved.
    """
    request_id = record.request_id
    others = set(Asked.objects.filter(request_id=request_id).values_list("person_id", flat=True))
    revision = record.revise(event=Event.CANCELLED, actor=actor, now=now, comment=comment)
    revision.cancel()
    recording.write(revision)
    asked.refresh(revision, None, now=now)
    _unschedule(record, now=now)
    notices.decided(revision, others=others, now=now)
    return revision


def _unschedule(record: AccessRequest, *, now: datetime) -> None:
    """Drop what was to make the access, and have removed what was made ready for it."""
    if record.state != State.APPROVED:
        return
    about = str(record.request_id)
    for topic, key in [
        ("grant.start", starts.start_key(record.request_id)),
        ("grant.ready", keys.key(record)),
        ("grant.apply", keys.key(record)),
    ]:
        queue.drop_untried(topic=topic, key=key, about=about, now=now)
    if record.extends and starts.is_made_ready(record.request_id):
        queue.put_many([starts.item("grant.cleanup", record, now=now, certain=True)])


def may_cancel(actor: User, record: AccessRequest) -> bool:
    """Return whether this person may withdraw the request."""
    return actor.is_active and (
        actor.pk in (record.requester_id, record.subject_id) or actor.is_operator
    )


def _text(value: str, field: str, most: int) -> str:
    """Return the text without surrounding blanks. Raises: Invalid for NULs and over-long ones."""
    value = value.strip()
    if "\0" in value:
        raise Invalid("The text holds a NUL character. Remove it.", field=field)
    if len(value) > most:
        raise Invalid(
            f"The text has {len(value):,} characters; {most:,} are the most.", field=field
        )
    return value
