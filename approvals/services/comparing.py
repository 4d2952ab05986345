"""One observation against the grants: reads both sides and hands them to `domain.drift`."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from approvals.domain import drift
from approvals.domain.drift import Known, Seen, Stage
from approvals.domain.states import FINAL, State
from approvals.models import Entitlement, Resource
from approvals.selectors import drift as reads
from approvals.selectors.drift import Grant
from approvals.services.observing import Accesses, Sight

#: What has changed this shortly before an observation may be on its way at the target still.
MARGIN = timedelta(seconds=10)
_STATES = {State.ACTIVE: Stage.LIVE, State.REVOKING: Stage.MOVING}


@dataclass(frozen=True)
class View:
    """What an observation found, who is called what, and whether credentials are each grant's."""

    comparison: drift.Comparison
    people: dict[str, int]
    per_request: bool


def compare(
    *,
    resource: Resource,
    entitlements: Sequence[Entitlement],
    sight: Sight,
    busy: set[str],
    began: datetime,
    now: datetime,
) -> View:
    """Return how what was seen differs from what was granted, for one observation.

    It began at `began` and has ended by `now`; `busy` are the leases that had work when it began.
    What has changed since shortly before, or is under way, is never a difference.
    """
    accesses = Accesses(resource.connector)
    today = {row.pk: row for row in entitlements}
    by_name = {row.name: row for row in entitlements}
    moving = set(busy)
    touched: set[uuid.UUID] = set()

    def stage(row: Grant) -> Stage | None:
        changed = row.recorded_at >= began - MARGIN or row.request_id in touched
        if row.state == State.APPROVED:  # not at the target, unless it is being made
            return Stage.MOVING if changed or row.lease in moving else None
        if changed or row.lease in moving:
            return Stage.MOVING
        if row.state in FINAL:
            return None if row.stays else Stage.ENDED
        if row.ends_at is not None and row.ends_at <= now + MARGIN:
            return Stage.MOVING
        return _STATES[State(row.state)]

    def known(row: Grant, at: Stage) -> Known:
        login = row.target["login"]
        mine = today.get(row.entitlement_id)

        def key(name: str) -> str:
            if row.target["connector"] != resource.connector:
                return f"elsewhere:{row.request_id}"
            return accesses.pinned(
                row.target, login=name, resource=row.resource_name, entitlement=row.entitlement_name
            )

        email = row.target.get("email") or login
        others = {login.casefold(), email, email.casefold()} - {login}
        access = key(login)
        name = mine.name if mine else f"{row.resource_name} · {row.entitlement_name}"
        return Known(
            request_id=row.request_id,
            login=login,
            entitlement=name,
            access=access,
            also=frozenset(map(key, others)),
            stage=at,
            is_observed=mine is not None
            and name in sight.observed
            and accesses.at(resource, mine, login=login) == access,
        )

    def seen(login: str, name: str) -> Seen:
        folded = login.casefold()
        also = [] if folded == login else [accesses.at(resource, by_name[name], login=folded)]
        access = accesses.at(resource, by_name[name], login=login)
        return Seen(login=login, entitlement=name, access=access, also=frozenset(also))

    def all_known(rows: Sequence[Grant]) -> list[Known]:
        # After the grants were read: what has begun meanwhile must not be missed.
        moving.update(reads.under_way())
        touched.update(reads.touched_since((row.request_id for row in rows), since=began - MARGIN))
        stages = ((row, stage(row)) for row in rows)
        return [known(row, at) for row, at in stages if at is not None]

    held = [seen(*pair) for pair in sight.held]
    own = reads.open_grants(resource)
    grants = all_known(own)
    # Only what these don't explain may be another resource's, or left over.
    names = {row.login.casefold() for row in drift.unexplained(seen=held, known=grants)}
    others = [
        *reads.open_elsewhere(resource, names=names),
        *reads.past_grants(connector=resource.connector, names=names),
    ]
    who = reads.people_called(names) | {
        row.target["login"].casefold(): row.subject_id
        for row in (*reversed(others), *reversed(own))
    }
    comparison = drift.compare(
        seen=held,
        known=[*grants, *all_known(others)],
        names=who.keys(),
        observed=sight.observed,
    )
    return View(comparison, who, accesses.per_request)
