"""Deciding on several requests with one comment: each decision stands alone, as if made singly.

Each says of how many it was one, so that it shows who decides on much at a stroke.
"""

import uuid
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import NamedTuple

from django.db import DatabaseError

from approvals.domain.refusals import Invalid, Refusal
from approvals.models import AccessRequest, User
from approvals.services import requests

MOST = 50
_UNCERTAIN = (
    "The database did not confirm it. Look at the request: if your decision is not there, decide "
    "again."
)


class Seen(NamedTuple):
    """A request and the revision of it that the person saw."""

    request_id: uuid.UUID
    revision: int


class Outcome(NamedTuple):
    """What came of one decision: the revision that it made, or why it was refused."""

    seen: Seen
    record: AccessRequest | None
    refusal: Refusal | None


def decide(
    *,
    actor: User,
    seen: Sequence[Seen],
    verdict: str,
    comment: str,
    clock: Callable[[], datetime],
) -> list[Outcome]:
    """Decide on each in a transaction of its own, bound to the revision seen; return what came.

    One that is refused hinders no other. `clock` is asked before each: a decision is never dated
    before what happened while the earlier ones were made. Raises: Invalid, with nothing decided,
    for none or more than `MOST`, and for a verdict or comment that would be refused everywhere.
    """
    wanted = list(dict.fromkeys(seen))
    if not wanted:
        raise Invalid("Select at least one request.")
    together = len({each.request_id for each in wanted})
    if together > MOST:
        raise Invalid(f"Decide on at most {MOST} requests at once.")
    found: list[Outcome] = []
    for each in wanted:
        try:
            record = requests.decide(
                actor=actor,
                request_id=each.request_id,
                verdict=verdict,
                seen_revision=each.revision,
                comment=comment,
                together=together,
                now=clock(),
            )
        except Refusal as refusal:
            if isinstance(refusal, Invalid) and refusal.field in ("verdict", "comment"):
                raise  # judged before anything is written, and alike for all: nothing was decided
            found.append(Outcome(each, None, refusal))
        except DatabaseError:
            # What was decided before stands and must be told, so this one is told too.
            found.append(Outcome(each, None, Refusal(_UNCERTAIN, code="unavailable")))
        else:
            found.append(Outcome(each, record, None))
    return found
