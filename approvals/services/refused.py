"""Attempts to decide that the rules refused become records.

Source: NIST SP 800-53 AC-5; auditors ask for attempts at approving one's own access.
"""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from django.db import IntegrityError, transaction
from django.db.models import Max

from approvals.domain.refusals import NotAllowed
from approvals.models import RefusedAttempt, User
from approvals.models.refused import COMMENT_MOST, MOST

Action = RefusedAttempt.Action

#: The refusals of `NotAllowed` that are about who decides, not about what was asked for.
RULES = frozenset(
    {"self_decision", "own_access", "already_voted", "not_an_approver", "not_yours", "inactive"}
)


@contextmanager
def noted(
    actor: User, action: Action, request_id: uuid.UUID, comment: str, now: datetime
) -> Iterator[None]:
    """Record that a rule refused what happens inside, which must have undone itself by then.

    The refusal goes on to the caller. A person's first `MOST` attempts on a request are kept.
    """
    try:
        yield
    except NotAllowed as refusal:
        if refusal.code in RULES:
            _note(actor, action, request_id, refusal, comment, now)
        raise


def _note(
    actor: User,
    action: Action,
    request_id: uuid.UUID,
    refusal: NotAllowed,
    comment: str,
    now: datetime,
) -> None:
    before = RefusedAttempt.objects.filter(request_id=request_id, actor=actor)
    number = (before.aggregate(last=Max("number"))["last"] or 0) + 1
    if number > MOST:
        return
    made = RefusedAttempt(
        request_id=request_id,
        actor=actor,
        actor_name=actor.get_full_name(),
        number=number,
        action=action,
        code=refusal.code,
        rule=refusal.message[:300],
        comment=comment.replace("\0", "")[:COMMENT_MOST],
        occurred_at=now,
    )
    try:
        with transaction.atomic():
            made.save()
    except IntegrityError:  # the same moment's other attempt has the number, and tells it all
        return
