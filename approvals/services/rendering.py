"""Letters as text and as HTML, for whatever channel takes them."""

import textwrap
from collections.abc import Sequence

from django.conf import settings
from django.template.loader import render_to_string

from approvals.models import User
from approvals.services import letters, wording

_TEXT_WIDTH = 72


def render(letter: letters.Letter, *, to: User, reference: str) -> tuple[str, str]:
    """Return the letter as text and as HTML."""
    quote = wording.clean(letter.quote)
    context = {
        "letter": letter,
        "quote": quote,
        "zone": str(letters.zone(to)),
        "reference": reference,
        "portal_url": settings.PORTAL_URL,
    }
    lines = {
        "quote_lines": _quoted(quote),
        "fact_lines": _aligned(letter.facts),
        "step_lines": [(label, text.splitlines()) for label, text in letter.steps],
        "wrapped": [_wrapped(text) for text in letter.paragraphs],
    }
    text = render_to_string("mail/letter.txt", context | lines)
    return text.strip() + "\n", render_to_string("mail/letter.html", context)


def _wrapped(text: str, first: str = "", rest: str = "") -> str:
    """Return the text in lines of mail; words that are longer, such as addresses, stay whole."""
    return textwrap.fill(
        text,
        _TEXT_WIDTH,
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _quoted(text: str) -> list[str]:
    """Return what somebody wrote with a mark before every line, so that it can't pass as ours."""
    return [_wrapped(line, "> ", "> ") if line.strip() else ">" for line in text.splitlines()]


def _aligned(facts: Sequence[letters.Fact]) -> list[str]:
    width = max((len(fact.label) for fact in facts), default=0) + 2
    return [
        _wrapped(fact.value, f"{fact.label}:".ljust(width + 1), " " * (width + 1)) for fact in facts
    ]
