"""What follows when the directory or the catalogue changes, whoever changed it and however.

Triggers in the database write `directory.changed` into the outbox, so that no route (admin, SCIM,
shell, SQL) can forget it: the index of who is asked follows, leavers lose their access, retired
things end.
"""

import uuid
from collections.abc import Iterable
from datetime import datetime

from approvals.domain.refusals import NotFound, Settled
from approvals.domain.states import EndReason, State
from approvals.models import CurrentRequest, Entitlement, User
from approvals.selectors import requests as reads
from approvals.services import asked, grants, requests

#: Keys that one statement names: it takes 65,535 parameters, and an import may touch everybody.
_CHUNK = 10_000


def changed(*, keys: Iterable[str], now: datetime) -> None:
    """Bring everything in line with the directory keys that changed; safe to repeat."""
    found = sorted(set(keys))
    for first in range(0, len(found), _CHUNK):
        _changed(set(found[first : first + _CHUNK]), now=now)


def _changed(found: set[str], *, now: datetime) -> None:
    leavers = User.objects.filter(pk__in=_numbers(found, "p"), is_active=False)
    for person in leavers:
        settle_leaver(person, now=now)
    retired = Entitlement.objects.filter(pk__in=_numbers(found, "e")).filter(
        is_retired=True
    ) | Entitlement.objects.filter(pk__in=_numbers(found, "r")).filter(resource__is_retired=True)
    for entitlement in retired.distinct():
        settle_retired(entitlement, now=now)
    asked.follow(found, now=now)


def settle_leaver(person: User, *, now: datetime) -> int:
    """End the active access of a person who left and cancel what is pending; return how many."""
    open_requests = CurrentRequest.objects.filter(
        subject=person, state__in=[State.PENDING, State.APPROVED, State.ACTIVE]
    )
    return _settle(
        open_requests.values_list("request_id", "state"),
        reason=EndReason.LEFT,
        comment=f"{person.get_full_name()} is not active any more.",
        now=now,
    )


def settle_retired(entitlement: Entitlement, *, now: datetime) -> int:
    """Cancel what is pending and end what is active for a retired entitlement."""
    open_requests = CurrentRequest.objects.filter(
        entitlement=entitlement, state__in=[State.PENDING, State.APPROVED, State.ACTIVE]
    )
    return _settle(
        open_requests.values_list("request_id", "state"),
        reason=EndReason.RETIRED,
        comment=f"{entitlement} is retired.",
        now=now,
    )


def _settle(
    rows: Iterable[tuple[uuid.UUID, str]], *, reason: EndReason, comment: str, now: datetime
) -> int:
    count = 0
    for request_id, state in list(rows):
        for _ in range(4):  # it can move only from pending over approved to active meanwhile
            try:
                if state == State.ACTIVE:
                    grants.end(
                        actor=None, request_id=request_id, reason=reason, comment=comment, now=now
                    )
                else:
                    requests.cancel(actor=None, request_id=request_id, comment=comment, now=now)
                count += 1
                break
            except NotFound:
                break
            except Settled:
                state = reads.current(request_id).state
                if state not in (State.PENDING, State.APPROVED, State.ACTIVE):
                    break
    return count


def _numbers(keys: Iterable[str], kind: str) -> list[int]:
    return [int(key[2:]) for key in keys if key.startswith(f"{kind}:") and key[2:].isdigit()]
