"""What each notice says, once, for its text and its HTML form.

A letter is about one request for one person: what it is about, what to do next and by when, what
happens if they do nothing. Which notices exist is `notices`; sending them is `notifications`.
"""

from collections.abc import Callable
from dataclasses import replace

from approvals.services.letters import access, asking, deciding, questions
from approvals.services.letters.letter import SUBJECT_MOST, Case, Fact, Letter, zone
from approvals.services.wording import short

__all__ = ["KINDS", "Case", "Fact", "Letter", "write", "zone"]

_KINDS: dict[str, Callable[[Case], Letter]] = {
    "approval_needed": deciding.your_turn,
    "reminder": deciding.your_turn,
    "escalated": deciding.your_turn,
    "settled": deciding.settled,
    "level_done": deciding.level_done,
    "question": questions.question,
    "answer": questions.answer,
    "moved_on": asking.moved_on,
    "decided": asking.decided,
    "active": access.active,
    "ends_soon": access.ends_soon,
    "ended": access.ended,
    "failed": access.failed,
    "stuck": access.stuck,
    "leftover": access.leftover,
    "missing": access.missing,
}
KINDS = tuple(_KINDS)


def write(case: Case) -> Letter:
    """Return the letter of the case's kind. Raises: KeyError for a kind that there is not."""
    letter = _KINDS[case.kind](case)
    return replace(letter, subject=short(letter.subject, SUBJECT_MOST))
