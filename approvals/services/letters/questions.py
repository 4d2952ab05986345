"""Letters about questions: an approver asks something, or somebody was answered."""

from approvals.services.letters.letter import DECIDES_NOTHING, NAME_MOST, Case, Fact, Letter
from approvals.services.wording import short

QUESTION_MOST = 300


def question(case: Case) -> Letter:
    """Ask the requester or the subject for an answer, before the level's time is over."""
    assert case.exchange is not None
    who = short(case.exchange.message.actor_name, NAME_MOST)
    due_at = case.record.due_at
    due = f"{case.clock.at(due_at)}, {case.clock.away(due_at)}" if due_at else ""
    return Letter(
        subject=f"{who} asks you about {case.access}",
        eyebrow=f"A question before the decision{f' · the clock runs until {due}' if due else ''}",
        headline=f"{who} has a question about {_request(case)}",
        quote=case.exchange.message.text,
        quoted=f"{who} asks",
        paragraphs=("Answer on the page of the request. Questions and answers stay with it.",),
        silence="The question stops no clock: unanswered, it escalates or lapses as it would.",
        why=case.why,
        action="Answer",
        url=f"{case.page}#questions",
    )


def answer(case: Case) -> Letter:
    """Say what was answered to who asked, and to the others who may decide."""
    assert case.exchange is not None
    message, asked = case.exchange.message, case.exchange.question
    who = short(message.actor_name, NAME_MOST)
    own = asked.actor_id == case.to.pk
    return Letter(
        subject=f"{who} answers about {case.access}",
        eyebrow="An answer to your question" if own else "An answer to a question of another",
        headline=f"{who} has answered {'you' if own else short(asked.actor_name, NAME_MOST)} about "
        f"{case.requester}'s request for {case.access}",
        quote=message.text,
        quoted=f"{who} answers",
        facts=(Fact("The question", short(asked.text, QUESTION_MOST)),),
        paragraphs=("The request still waits for a decision.",),
        why="You get this because you asked."
        if own
        else "You get this because you may decide on this request.",
        action="Read and decide",
        url=case.inbox,
        url_note=DECIDES_NOTHING,
    )


def _request(case: Case) -> str:
    return (
        f"{case.request[0].lower()}{case.request[1:]}"
        if case.request[:5] == "Your "
        else case.request
    )
