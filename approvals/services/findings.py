"""What people do about findings: have a target looked at now, say why an access may stay."""

from datetime import datetime

from django.db import transaction

from approvals.domain.drift import Kind
from approvals.domain.refusals import Invalid, NotAllowed, NotFound, Settled
from approvals.models import Finding, Observation, Resource, User
from approvals.outbox import queue
from approvals.selectors import drift as reads
from approvals.services.requests import COMMENT_MOST


def may_see(actor: User) -> bool:
    """Return whether this person sees what targets hold."""
    return bool(actor.is_active and actor.roles)


@transaction.atomic
def look_now(*, actor: User, resource_id: int, now: datetime) -> Resource:
    """Have a target looked at as soon as a worker is free. Raises: NotAllowed, NotFound."""
    if not (actor.is_active and actor.is_operator):
        raise NotAllowed("Only operators have targets looked at.", code="not_operator")
    resource = reads.resource(resource_id)
    if resource is None:
        raise NotFound("There is no such resource in use.")
    Observation.objects.update_or_create(resource=resource, defaults={"next_at": now})
    transaction.on_commit(lambda: queue.wake("targets"))
    return resource


@transaction.atomic
def keep(*, actor: User, finding_id: int, reason: str, now: datetime) -> Finding:
    """Note why access that the portal never granted may stay, who says so and when.

    Raises: NotAllowed; NotFound; Settled when it is over; Invalid.
    """
    if not may_see(actor):
        raise NotAllowed("Only operators and compliance may do this.", code="not_compliance")
    finding = reads.finding(finding_id)
    if finding is None or finding.confirmed_at is None:
        raise NotFound("There is no such finding.")
    if finding.kind not in (Kind.STANDING, Kind.UNMATCHED):
        raise Invalid("Only access that the portal never granted can be kept.")
    if finding.resolved_at is not None:
        raise Settled("It is gone from the target by now.", code="resolved")
    reason = reason.strip()
    if not reason or "\0" in reason or len(reason) > COMMENT_MOST:
        raise Invalid(
            f"Say why it may stay, in at most {COMMENT_MOST:,} ordinary characters.", field="reason"
        )
    finding.kept_by, finding.kept_at, finding.kept_because = actor, now, reason
    finding.save(update_fields=["kept_by", "kept_at", "kept_because"])
    return finding
