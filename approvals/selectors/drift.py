"""What is compared with a target, and what came of it: grants, findings, observations."""

import uuid
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from django.db import connection
from django.db.models import Exists, OuterRef, Q, QuerySet, Value
from django.db.models.expressions import RawSQL
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import Coalesce, Lower

from approvals.domain.states import FINAL, LIVE, State
from approvals.models import (
    AccessRequest,
    CurrentRequest,
    Entitlement,
    Finding,
    GrantEvent,
    Observation,
    OutboxItem,
    Resource,
    User,
)
from approvals.models.request import reference
from approvals.selectors import leases

KINDS = tuple(Finding.Kind.choices)
#: Findings that the page shows at most.
SHOWN_MOST = 200


@dataclass(frozen=True, slots=True)
class Grant:
    """What a comparison needs to know of a request's newest revision."""

    request_id: uuid.UUID
    subject_id: int
    entitlement_id: int
    state: str
    target: dict[str, Any]
    resource_name: str
    entitlement_name: str
    ends_at: datetime | None
    recorded_at: datetime
    lease: str
    stays: bool
    """The removal was confirmed, and the target said that a standing access stays."""


_COLUMNS = (
    "request_id", "subject_id", "entitlement_id", "state", "target", "resource_name",
    "entitlement_name", "ends_at", "recorded_at",
)  # fmt: skip
#: Rows that are fetched at a time: there may be a hundred thousand grants, and a target is looked
#: at by a process that others share.
_CHUNK = 1_000


def _grants(rows: Iterable[dict[str, Any]]) -> list[Grant]:
    found = []
    for row in rows:
        receipt = row.pop("detail", {}).get("receipt")
        row.pop("pinned", None)
        stays = isinstance(receipt, dict) and receipt.get("granted") is True
        pinned = row["target"].get("lease")
        lease = str(pinned or f"grant:{row['subject_id']}:{row['entitlement_id']}")
        found.append(Grant(**row, lease=lease, stays=stays and row["state"] in FINAL))
    return found


def open_grants(resource: Resource) -> list[Grant]:
    """Return the approved, active and ending grants of a resource, the newest first (one query)."""
    newest = _open().filter(entitlement__resource=resource)
    return _newest_first(AccessRequest.objects.filter(pk__in=newest.values("record_id")))


def open_elsewhere(resource: Resource, *, names: Collection[str]) -> list[Grant]:
    """Return such grants of these names (case-folded) at other resources of the same connector.

    Two resources may lead to the same access. One query at most.
    """
    if not names:
        return []
    newest = (
        _open()
        .filter(entitlement__resource__connector=resource.connector)
        .exclude(entitlement__resource=resource)
    )
    rows = AccessRequest.objects.filter(pk__in=newest.values("record_id"))
    return _newest_first(_of_names(rows, names))


def _open() -> QuerySet[CurrentRequest]:
    return CurrentRequest.objects.filter(state__in=[str(State.APPROVED), *map(str, LIVE)])


def _newest_first(rows: QuerySet[AccessRequest]) -> list[Grant]:
    return _grants(rows.order_by("-id").values(*_COLUMNS).iterator(_CHUNK))


def _of_names(rows: QuerySet[AccessRequest], names: Collection[str]) -> QuerySet[AccessRequest]:
    return rows.annotate(
        called=Lower(KeyTextTransform("login", "target")),
        mailed=Lower(KeyTextTransform("email", "target")),
    ).filter(Q(called__in=_among(names)) | Q(mailed__in=_among(names)))


def _among(names: Collection[str]) -> RawSQL:
    """Return these as one parameter: a target may name more people than a statement takes."""
    return RawSQL("SELECT unnest(%s::text[])", [list(names)])


def past_grants(*, connector: str, names: Collection[str]) -> list[Grant]:
    """Return the grants of these names (case-folded) that are over, the newest first (one query).

    The newest of each access. Of requests that never became active only those that the target had
    confirmed, or of which a failed try may have made access all the same.
    """
    if not names:
        return []
    made = GrantEvent.objects.filter(
        Q(kind=GrantEvent.Kind.GRANTED)
        | Q(kind=GrantEvent.Kind.GRANT_FAILED, detail__maybe_made=True),
        request_id=OuterRef("request_id"),
    )
    newest = CurrentRequest.objects.filter(
        state__in=[str(state) for state in FINAL], entitlement__resource__connector=connector
    )
    rows = (
        _of_names(AccessRequest.objects.filter(pk__in=newest.values("record_id")), names)
        .annotate(pinned=KeyTextTransform("lease", "target"))
        .filter(Q(activated_at__isnull=False) | Exists(made))
        .order_by("pinned", "entitlement_id", "subject_id", "-id")
        .distinct("pinned", "entitlement_id", "subject_id")
    )
    return sorted(
        _grants(rows.values(*_COLUMNS, "detail", "pinned")),
        key=lambda row: row.recorded_at,
        reverse=True,
    )


def under_way() -> set[str]:
    """Return the leases that have work waiting or being done at their targets (one query)."""
    return set(OutboxItem.objects.exclude(key="").values_list("key", flat=True))


def is_busy(lease: str) -> bool:
    """Return whether this lease has work waiting or being done at its target (one query)."""
    return bool(lease) and OutboxItem.objects.filter(key=lease).exists()


_TOUCHED = """
SELECT DISTINCT e.request_id FROM approvals_grantevent e
WHERE e.request_id = ANY(%s::uuid[]) AND e.recorded_at >= %s AND e.kind = ANY(%s::text[])
"""


def touched_since(ids: Iterable[uuid.UUID], *, since: datetime) -> set[uuid.UUID]:
    """Return the requests of which anything was tried at a target since then (one query)."""
    kinds = [GrantEvent.Kind.GRANTED, GrantEvent.Kind.REMOVED,
             GrantEvent.Kind.GRANT_FAILED, GrantEvent.Kind.REMOVE_FAILED]  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute(_TOUCHED, [list(set(ids)), since, [str(kind) for kind in kinds]])
        return {request_id for (request_id,) in cursor.fetchall()}


def may_be_removed(record: AccessRequest) -> bool:
    """Return whether nobody holds what an ended request had, and nothing is under way for it.

    True as long as the request and its lease are held. Three queries.
    """
    if record.state not in FINAL or is_busy(leases.key(record)) or leases.covers([record]):
        return False
    return not CurrentRequest.objects.filter(
        subject=record.subject_id,
        entitlement=record.entitlement_id,
        state__in=[str(state) for state in LIVE],
    ).exists()


def may_be_made_again(record: AccessRequest, *, now: datetime) -> bool:
    """Return whether the request is active and has time left, and nothing is under way for it.

    True as long as the request and its lease are held (one query).
    """
    if record.state != State.ACTIVE or record.ends_at is None or record.ends_at <= now:
        return False
    return not is_busy(leases.key(record))


def people_called(names: Collection[str]) -> dict[str, int]:
    """Return who has these login names or e-mail addresses, by the case-folded name (one query)."""
    rows = (
        User.objects.annotate(called=Lower("username"), mailed=Lower("email"))
        .filter(Q(called__in=_among(names)) | Q(mailed__in=_among(names)))
        .values_list("pk", "called", "mailed")
    )
    found: dict[str, int] = {}
    for pk, called, mailed in rows:
        if mailed:
            found.setdefault(mailed, pk)
        found[called] = pk
    return found


def _observed() -> Any:
    """Return the resources that are looked at: those in use, and retired ones with findings."""
    unresolved = Finding.objects.filter(resource=OuterRef("pk"), resolved_at__isnull=True)
    return Resource.objects.filter(Q(is_retired=False) | Exists(unresolved))


def resource(resource_id: int) -> Resource | None:
    """Return a resource that is looked at, None for any other (one query)."""
    found: Resource | None = _observed().filter(pk=resource_id).first()
    return found


def entitlements(resource: Resource) -> list[Entitlement]:
    """Return the entitlements of a resource, retired ones too (one query)."""
    return list(Entitlement.objects.filter(resource=resource).order_by("name"))


def due(*, now: datetime) -> dict[int, datetime]:
    """Return the resources whose next observation is due, and since when (one query).

    The longest overdue first. Those that are not known yet are due since now.
    """
    rows = _observed().annotate(since=Coalesce("observation__next_at", Value(now)))
    return dict(rows.filter(since__lte=now).order_by("since", "pk").values_list("pk", "since"))


def open_findings(resource: Resource) -> list[Finding]:
    """Return the findings of a resource that are not over, with their entitlements (one query)."""
    rows = Finding.objects.filter(resource=resource, resolved_at__isnull=True)
    return list(rows.select_related("entitlement"))


def finding(finding_id: int) -> Finding | None:
    """Return one finding (one query)."""
    return Finding.objects.filter(pk=finding_id).first()


def is_repaired(record: AccessRequest) -> bool:
    """Return whether what differs at this request's target is repaired by itself (one query)."""
    return Resource.objects.filter(
        entitlements=record.entitlement_id, drift_policy="repair"
    ).exists()


# -- what can't be observed

_UNSEEN = """
SELECT r.name, o.error, coalesce(o.succeeded_at, first.seen_at)
FROM approvals_observation o JOIN approvals_resource r ON r.id = o.resource_id
CROSS JOIN LATERAL (SELECT min(h.history_date) AS seen_at FROM approvals_historicalresource h
                    WHERE h.id = r.id) first
WHERE o.error <> '' AND NOT r.is_retired AND (o.succeeded_at IS NOT NULL OR NOT o.permanent)
  AND coalesce(o.succeeded_at, first.seen_at) <= %s
ORDER BY 3, 1
"""


class Unseen(NamedTuple):
    """A target that can't be observed for long, why, and since when nothing is known of it."""

    target: str
    error: str
    since: datetime


def unseen(*, since: datetime) -> list[Unseen]:
    """Return the targets in use of which no look since then told anything, the longest first.

    Those that never can be observed, by their nature, are left out. One query.
    """
    with connection.cursor() as cursor:
        cursor.execute(_UNSEEN, [since])
        return [Unseen(*row) for row in cursor.fetchall()]


# -- the page


@dataclass(frozen=True)
class Look:
    """One resource and what the newest look at its target said."""

    resource: Resource
    observation: Observation | None
    counts: dict[str, int]

    @property
    def state(self) -> str:
        """Return new, looking, blind, failed, differs or same."""
        seen = self.observation
        if seen is None or seen.started_at is None:
            return "new"
        if seen.finished_at is None or seen.finished_at < seen.started_at:
            return "looking"
        if seen.error:
            return "blind" if seen.permanent else "failed"
        return "differs" if sum(self.counts.values()) else "same"

    @property
    def summary(self) -> str:
        """Return how many findings of which kind stand: `1 left over, 2 standing`."""
        counted = ((title, self.counts.get(key, 0)) for key, title in KINDS)
        return ", ".join(f"{count:,} {title.lower()}" for title, count in counted if count)


@dataclass(frozen=True)
class Row:
    """A finding as the page shows it, with what its repair failed for last."""

    finding: Finding
    error: str = ""

    @property
    def reference(self) -> str:
        """Return the short name of the request that it is about, or nothing."""
        return reference(self.finding.request_id) if self.finding.request_id else ""

    @property
    def is_standing(self) -> bool:
        """Return whether the portal never granted it, so that somebody may say why it is there."""
        return self.finding.kind in (Finding.Kind.STANDING, Finding.Kind.UNMATCHED)


_COUNTS = """
SELECT resource_id, kind, count(*) FROM approvals_finding
WHERE resolved_at IS NULL AND confirmed_at IS NOT NULL GROUP BY 1, 2
"""


def looks() -> list[Look]:
    """Return what is looked at, each with its newest observation, by name (two queries)."""
    with connection.cursor() as cursor:
        cursor.execute(_COUNTS)
        counts: dict[int, dict[str, int]] = {}
        for pk, kind, count in cursor.fetchall():
            counts.setdefault(pk, {})[kind] = count
    rows = _observed().select_related("observation", "owner")
    return [
        Look(row, getattr(row, "observation", None), counts.get(row.pk, {}))
        for row in rows.order_by("name")
    ]


def findings(*, resource: str = "", kind: str = "", over: bool = False) -> Sequence[Row]:
    """Return confirmed findings, the newest first: those that stand, or those that are over.

    Two queries.
    """
    rows = Finding.objects.filter(confirmed_at__isnull=False, resolved_at__isnull=not over)
    if resource:
        rows = rows.filter(resource__name=resource)
    if kind:
        rows = rows.filter(kind=kind)
    rows = rows.select_related("resource", "entitlement__resource", "person", "kept_by")
    shown = list(rows.order_by("-first_seen_at", "-id")[:SHOWN_MOST])
    failing = _failing({str(row.request_id) for row in shown if row.repairs})
    return [Row(row, failing.get(str(row.request_id), "")) for row in shown]


def _failing(ids: set[str]) -> dict[str, str]:
    """Return the last error of the repairs that are tried again (one query where there are any)."""
    if not ids:
        return {}
    rows = OutboxItem.objects.filter(
        topic__in=["grant.cleanup", "grant.ready"],
        payload__request_id__in=ids,
        first_failed_at__isnull=False,
    )
    return dict(rows.values_list("payload__request_id", "last_error"))
