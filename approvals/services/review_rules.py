"""Who runs and sees access reviews, and what may be written in them."""

from approvals.domain.refusals import Invalid, NotAllowed
from approvals.models import User

REASON_MOST = 1_000


def may_run(actor: User) -> bool:
    """Return whether this person opens, signs off and cancels campaigns."""
    return bool(actor.is_active and actor.is_compliance)


def may_see(actor: User) -> bool:
    """Return whether this person sees every campaign."""
    return bool(actor.is_active and actor.roles)


def only_compliance(actor: User) -> None:
    """Let compliance through. Raises: NotAllowed."""
    if not may_run(actor):
        raise NotAllowed("Access reviews are run by compliance.", code="not_compliance")


def text(value: str, field: str, most: int, missing: str = "") -> str:
    """Return what was written, without blanks around it. Raises: Invalid."""
    value = value.strip()
    if missing and not value:
        raise Invalid(missing, field=field)
    if "\0" in value or len(value) > most:
        raise Invalid(f"Use at most {most:,} ordinary characters.", field=field)
    return value
