"""Handing over: who may decide on a pending request gives their place on it to another person.

A handover is a record beside the revisions. It makes none: no page that somebody has open becomes
stale by it, and no clock starts anew.
"""

import uuid
from datetime import datetime

from django.db import transaction

from approvals.domain import handing_over as domain
from approvals.domain.refusals import Invalid, NotAllowed, Settled, StaleRevision
from approvals.domain.states import State
from approvals.models import RequestHandover, User
from approvals.models.handing_over import COMMENT_MOST
from approvals.selectors import chains
from approvals.services import asked, escalation, notice_centre, notices, recording, refused
from approvals.services.requests import REFUSALS


def hand_over(
    *,
    actor: User,
    request_id: uuid.UUID,
    to: User,
    comment: str,
    seen_revision: int,
    now: datetime,
) -> RequestHandover:
    """Give the actor's place at the open level to `to`, who is asked from now on, and told why.

    Only who may decide now may hand over; what is due by the clock happens first. Raises: NotFound;
    Settled when it is over; NotAllowed for who may not decide; StaleRevision when it changed after
    they looked; Invalid without a reason, for who can't take it, or after the tenth.
    """
    comment = _reason(comment)
    escalation.advance(request_id, now=now)
    with refused.noted(actor, refused.Action.HAND_OVER, request_id, comment, now):
        return _hand_over(actor, request_id, to, comment, seen_revision, now)


@transaction.atomic
def _hand_over(
    actor: User, request_id: uuid.UUID, to: User, comment: str, seen_revision: int, now: datetime
) -> RequestHandover:
    record = recording.locked(request_id)
    if record.state != State.PENDING:
        raise Settled(f"This request is {record.state} already.", code=record.state)
    view = chains.load(record, now=now, actor=actor.pk, also=to.pk)
    assert view is not None, "a request without a chain is never pending"
    if view.progress.state != "pending":
        raise Settled("This request has lapsed: nobody decided in time.", code="lapsed")
    if (code := view.refusal(actor.pk)) is not None:
        raise NotAllowed(REFUSALS[code], code=code)
    if seen_revision != record.revision or view.progress.escalations != record.escalations:
        raise StaleRevision(
            "The request changed after you opened it. Look at it again, then hand it over.",
            current=record.revision,
        )
    if (code := view.no_taker(giver=actor.pk, taker=to.pk, at=now)) is not None:
        raise Invalid(_why(code, actor, to), field="to", code=code)
    place = view.giving(actor.pk)
    assert record.level is not None, "a pending request has an open level"
    made = RequestHandover(
        request_id=request_id,
        number=len(view.handovers) + 1,
        level=record.level,
        level_name=record.level_name,
        giver=actor,
        giver_name=actor.get_full_name(),
        taker=to,
        taker_name=to.get_full_name(),
        place_id=place,
        place_name=view.names[place],
        comment=comment,
        occurred_at=now,
    )
    made.save()
    after = chains.load(record, now=now)
    assert after is not None
    new = asked.refresh(record, after, now=now)
    notice_centre.settle(request_id, now=now)
    notices.handed_over(record, after, people=new, number=made.number, now=now)
    return made


def _reason(comment: str) -> str:
    """Return the reason without surrounding blanks. Raises: Invalid."""
    comment = comment.strip()
    if not comment:
        raise Invalid("Say why you hand it over. It stays on the record.", field="why")
    if "\0" in comment:
        raise Invalid("The reason holds a NUL character. Remove it.", field="why")
    if len(comment) > COMMENT_MOST:
        raise Invalid(
            f"The reason has {len(comment):,} characters; {COMMENT_MOST:,} are the most.",
            field="why",
        )
    return comment


def _why(code: str, actor: User, to: User) -> str:
    """Return in a sentence why `to` can't take it."""
    name = to.get_full_name()
    return {
        "too_many": f"This request was handed over {domain.MOST} times, and no more is possible."
        " Decide on it, or let it escalate.",
        "taker_concerned": f"{name} asks for this access or gets it, and can't decide on it.",
        "taker_inactive": f"{name}’s account is not active.",
        "taker_voted": f"{name} has voted on this request. One person has one vote.",
        "taker_asked": "You have it already."
        if to.pk == actor.pk
        else f"{name} is asked already. One person has one vote.",
        "taker_gave": f"{name} gave away their own place on this request, so they can't take"
        " another’s.",
    }[code]
