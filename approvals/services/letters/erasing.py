"""The letter about an erasure that was approved, to all who may withdraw it.

It does not name the person whom it is about in its subject: subjects are kept, and erased later.
"""

import uuid
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings

from approvals.models import User
from approvals.services import wording
from approvals.services.letters.letter import NAME_MOST, SUBJECT_MOST, Fact, Letter, zone
from approvals.services.wording import short


@dataclass(frozen=True, kw_only=True)
class ApprovedCase:
    """An approved erasure for one reader."""

    to: User
    now: datetime
    erasure_id: uuid.UUID
    whose: str
    asked_by: str
    approved_by: str
    reference: str
    due_at: datetime


def approved(case: ApprovedCase) -> Letter:
    """Say who approved what, until when it can be withdrawn, and what to do if nobody did."""
    due = wording.Clock(zone(case.to), case.now).exactly(case.due_at)
    return Letter(
        subject=short("An erasure of a person's content was approved", SUBJECT_MOST),
        eyebrow=f"Erasure · carried out after {due}",
        headline="What a person wrote and what names them is about to be erased",
        facts=(
            Fact("Person", short(case.whose, NAME_MOST)),
            Fact("Asked by", short(case.asked_by, NAME_MOST)),
            Fact("Approved by", short(case.approved_by, NAME_MOST)),
            Fact("Reference", short(case.reference, 200)),
            Fact("Carried out after", due),
        ),
        paragraphs=(
            "If these two know of it, there is nothing to do.",
            "If they don't, withdraw it on its page now, and find out who wrote it: it can't be "
            "undone once it is carried out.",
        ),
        silence="It is carried out by itself at that time.",
        why="You get this because compliance admins and operators may withdraw erasures.",
        action="Open the erasure",
        url=f"{settings.PORTAL_URL}/audit/erasures/{case.erasure_id}/",
    )
