"""Questions back: an approver asks before deciding, who asked for the access answers.

Messages are records beside the revisions. They change nothing about the request: no page that
somebody has open becomes stale by one, and no clock stops for one.
"""

import uuid
from datetime import datetime

from django.db import transaction

from approvals.domain.refusals import Invalid, NotAllowed, Settled
from approvals.domain.states import State
from approvals.models import AccessRequest, RequestMessage, User
from approvals.models.message import TEXT_MOST
from approvals.selectors import chains, questions
from approvals.services import escalation, notice_centre, notices, recording

_REFUSALS = {
    "self_decision": "You ask for this access yourself; questions come from those who decide.",
    "inactive": "Your account is not active, so you can't ask anything.",
    "already_voted": "You have voted on this request already. Ask before you decide.",
    "not_an_approver": "You are not among those who may decide on this request now.",
}
_QUESTION, _ANSWER = RequestMessage.Kind.QUESTION, RequestMessage.Kind.ANSWER


def ask(*, actor: User, request_id: uuid.UUID, text: str, now: datetime) -> RequestMessage:
    """Put a question to the requester and the subject of a pending request, and tell them.

    Only who may decide now may ask; what is due by the clock happens first. Raises: NotFound;
    Settled when it is over; NotAllowed; Invalid without a text or when there were many already.
    """
    text = _text(text, "question", "Write what you want to know.")
    escalation.advance(request_id, now=now)
    return _ask(actor, request_id, text, now)


@transaction.atomic
def _ask(actor: User, request_id: uuid.UUID, text: str, now: datetime) -> RequestMessage:
    record, view = _pending(request_id, actor, now)
    if (code := view.refusal(actor.pk)) is not None:
        raise NotAllowed(_REFUSALS[code], code=code)
    before = questions.messages(request_id)
    if len(before) >= questions.MESSAGES_MOST - 1:
        raise Invalid(
            f"There are {len(before)} messages on this request; no more can be asked. Talk to"
            f" {record.requester_name}, or decide.",
            field="question",
            code="too_many",
        )
    message = _write(record, actor, before, text, now)
    notices.question(record, number=message.number, now=now)
    return message


def answer(
    *, actor: User, request_id: uuid.UUID, question: int, text: str, now: datetime
) -> RequestMessage:
    """Answer a question about a pending request; whoever is asked to decide is told.

    Only the requester and the subject answer; what is due by the clock happens first. Raises:
    NotFound; Settled when it is over; NotAllowed; Invalid without a text, for no question of this
    request, or when there were many answers already.
    """
    text = _text(text, "answer", "Write your answer.")
    escalation.advance(request_id, now=now)
    return _answer(actor, request_id, question, text, now)


@transaction.atomic
def _answer(
    actor: User, request_id: uuid.UUID, question: int, text: str, now: datetime
) -> RequestMessage:
    record, view = _pending(request_id, actor, now)
    if not questions.may_answer(actor, record):
        raise NotAllowed(
            "Only who asked for the access, or gets it, answers questions.", code="not_yours"
        )
    before = questions.messages(request_id)
    asked = next((row for row in before if row.number == question and row.kind == _QUESTION), None)
    if asked is None:
        raise Invalid("There is no such question on this request.", field="answer")
    given = sum(row.answers == question for row in before)
    if given >= questions.ANSWERS_MOST or len(before) >= questions.MESSAGES_MOST:
        raise Invalid(
            f"This question has {given} answers, and the request {len(before)} messages; it takes"
            " no more. Talk to who asked.",
            field="answer",
            code="too_many",
        )
    message = _write(record, actor, before, text, now, answers=question)
    notice_centre.settle_questions(request_id, number=question, now=now)
    notices.answer(
        record,
        number=message.number,
        people=({asked.actor_id} | view.electorate) - {actor.pk},
        now=now,
    )
    return message


def _pending(
    request_id: uuid.UUID, actor: User, now: datetime
) -> tuple[AccessRequest, chains.ChainView]:
    """Hold a pending request and return it with its chain. Raises: NotFound, Settled."""
    record = recording.locked(request_id)
    if record.state != State.PENDING:
        raise Settled(f"This request is {record.state} already.", code=record.state)
    view = chains.load(record, now=now, actor=actor.pk)
    assert view is not None, "a request without a chain is never pending"
    if view.progress.state != "pending":
        raise Settled("This request has lapsed: nobody decided in time.", code="lapsed")
    return record, view


def _write(
    record: AccessRequest,
    actor: User,
    before: list[RequestMessage],
    text: str,
    now: datetime,
    *,
    answers: int | None = None,
) -> RequestMessage:
    message = RequestMessage(
        request_id=record.request_id,
        number=len(before) + 1,
        kind=_QUESTION if answers is None else _ANSWER,
        answers=answers,
        actor=actor,
        actor_name=actor.get_full_name(),
        text=text,
        occurred_at=now,
    )
    message.save()
    return message


def _text(value: str, field: str, missing: str) -> str:
    """Return the text without surrounding blanks. Raises: Invalid."""
    value = value.strip()
    if not value:
        raise Invalid(missing, field=field)
    if "\0" in value:
        raise Invalid("The text holds a NUL character. Remove it.", field=field)
    if len(value) > TEXT_MOST:
        raise Invalid(
            f"The text has {len(value):,} characters; {TEXT_MOST:,} are the most.", field=field
        )
    return value
