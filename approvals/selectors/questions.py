"""Questions about requests and what was answered, as pages show them."""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import Exists, OuterRef, QuerySet
from django.db.models.functions import JSONObject

from approvals.domain.states import State
from approvals.models import AccessRequest, RequestMessage, User
from audit.selectors import erasures

__all__ = ["RequestMessage", "Said"]

#: Messages of one request at most; the last one can only be an answer.
MESSAGES_MOST = 20
#: Answers to one question at most.
ANSWERS_MOST = 5

#: Whether a question is open on what `approvals_asked a` is about; null where there is none.
OPEN_SQL = """
(SELECT bool_or(NOT EXISTS (SELECT FROM approvals_requestmessage n
                            WHERE n.request_id = m.request_id AND n.answers = m.number))
 FROM approvals_requestmessage m WHERE m.request_id = a.request_id AND m.kind = 'question')
"""
_COLUMNS = ("number", "kind", "answers", "actor_id", "actor_name", "text", "occurred_at")
_QUESTION, _ANSWER = RequestMessage.Kind.QUESTION, RequestMessage.Kind.ANSWER


@dataclass(frozen=True, slots=True)
class Said:
    """A message as it is shown. `leaf` is the entry that erased its words, where one did."""

    number: int
    actor_id: int
    who: str
    text: str
    at: datetime
    is_erased: bool
    leaf: int | None


@dataclass(frozen=True, slots=True)
class Question(Said):
    """A question with its answers, oldest first."""

    answers: tuple[Said, ...] = ()

    @property
    def takes_answers(self) -> bool:
        """Return whether there is room for another answer."""
        return len(self.answers) < ANSWERS_MOST


@dataclass(frozen=True)
class Conversation:
    """What was asked about a request and answered. `is_open` while it is pending."""

    questions: tuple[Question, ...]
    count: int
    is_open: bool

    @property
    def takes_questions(self) -> bool:
        """Return whether there is room for a question and its answer."""
        return self.is_open and self.count < MESSAGES_MOST - 1

    @property
    def takes_messages(self) -> bool:
        """Return whether there is room for an answer."""
        return self.is_open and self.count < MESSAGES_MOST

    @property
    def unanswered(self) -> int:
        """Return how many questions wait for an answer."""
        return sum(not each.answers for each in self.questions) if self.is_open else 0


def messages(request_id: uuid.UUID) -> list[RequestMessage]:
    """Return a request's messages in their order (one query)."""
    return list(RequestMessage.objects.filter(request_id=request_id).order_by("number"))


def inline() -> ArraySubquery:
    """Return a request's messages as a column of its row, for `from_column`: it spares a query."""
    rows = RequestMessage.objects.filter(request_id=OuterRef("request_id")).order_by("number")
    return ArraySubquery(rows.values(_=JSONObject(**{name: name for name in _COLUMNS})))


def from_column(request_id: uuid.UUID, found: Iterable[dict[str, Any]]) -> list[RequestMessage]:
    """Return the messages that the column `inline()` holds."""
    return [
        RequestMessage(
            request_id=request_id,
            **each | {"occurred_at": datetime.fromisoformat(each["occurred_at"])},
        )
        for each in found
    ]


def conversation(record: AccessRequest, found: Sequence[RequestMessage]) -> Conversation:
    """Return the messages of a request as they are shown (a query where one was erased)."""
    erased = [_object_id(row) for row in found if erasures.ERASED in (row.text, row.actor_name)]
    by = erasures.of_many(RequestMessage.ledger_name, erased)
    said = {row.number: _said(row, by.get(_object_id(row), {}).get("text")) for row in found}
    answers: dict[int, list[Said]] = {}
    for row in found:
        if row.answers is not None:
            answers.setdefault(row.answers, []).append(said[row.number])
    questions = tuple(
        Question(
            **{name: getattr(said[row.number], name) for name in Said.__slots__},
            answers=tuple(answers.get(row.number, ())),
        )
        for row in found
        if row.kind == _QUESTION
    )
    return Conversation(questions, len(found), record.state == State.PENDING)


def _object_id(row: RequestMessage) -> str:
    return f"{row.request_id}.{row.number}"


def _said(row: RequestMessage, leaf: int | None) -> Said:
    return Said(
        number=row.number,
        actor_id=row.actor_id,
        who="" if row.actor_name == erasures.ERASED else row.actor_name,
        text=row.text,
        at=row.occurred_at,
        is_erased=row.text == erasures.ERASED,
        leaf=leaf,
    )


def _open_questions() -> QuerySet[RequestMessage]:
    """Return the questions that nobody has answered, of requests in any state."""
    answers = RequestMessage.objects.filter(
        request_id=OuterRef("request_id"), kind=_ANSWER, answers=OuterRef("number")
    )
    return RequestMessage.objects.filter(~Exists(answers), kind=_QUESTION)


def open_numbers(request_id: uuid.UUID) -> list[int]:
    """Return the numbers of a request's questions that wait for an answer (one query)."""
    rows = _open_questions().filter(request_id=request_id).order_by("number")
    return list(rows.values_list("number", flat=True))


def askers(records: Iterable[AccessRequest]) -> dict[uuid.UUID, str]:
    """Return who waits for an answer on each pending one of the requests (one query at most)."""
    pending = [record.request_id for record in records if record.state == State.PENDING]
    if not pending:
        return {}
    found: dict[uuid.UUID, list[str]] = {}
    rows = _open_questions().filter(request_id__in=pending).order_by("number")
    for request_id, name in rows.values_list("request_id", "actor_name"):
        names = found.setdefault(request_id, [])
        if name not in names:
            names.append(name)
    return {request_id: " and ".join(names) for request_id, names in found.items()}


def answered(ids: Iterable[uuid.UUID]) -> dict[tuple[uuid.UUID, int], str]:
    """Return who answered first, by request and number of the question (one query)."""
    rows = RequestMessage.objects.filter(request_id__in=set(ids), kind=_ANSWER)
    found = rows.order_by("-number").values_list("request_id", "answers", "actor_name")
    return {(request_id, number): name for request_id, number, name in found if number}


def first_name(record: AccessRequest) -> str:
    """Return how who asked for the access is called in a button: the first of their names."""
    name: str = record.requester_name
    return name.split()[0] if name.split() else name


def may_answer(person: User, record: AccessRequest) -> bool:
    """Return whether this person answers questions about the request."""
    return person.is_active and person.pk in (record.requester_id, record.subject_id)
