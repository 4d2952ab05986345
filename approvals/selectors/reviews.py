"""Access reviews as they stand: what waits for whom, how far a campaign is, how it was decided."""

import uuid
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from django.db import connection
from django.db.models import (
    BooleanField,
    Count,
    Exists,
    F,
    Func,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
)

from approvals.domain.refusals import NotFound
from approvals.domain.states import State
from approvals.models import (
    CurrentRequest,
    Resource,
    ReviewCampaign,
    ReviewDecision,
    ReviewItem,
    ReviewShown,
    User,
)
from approvals.selectors import people

#: Items that a page shows at most.
SHOWN_MOST = 200


def campaign(campaign_id: uuid.UUID) -> ReviewCampaign:
    """Return a campaign's newest revision (one query). Raises: NotFound."""
    rows = ReviewCampaign.objects.filter(campaign_id=campaign_id).order_by("-revision")
    found = rows.select_related("actor").first()
    if found is None:
        raise NotFound("There is no such campaign.")
    return found


def opening(campaign_id: uuid.UUID) -> ReviewCampaign:
    """Return a campaign's first revision (one query)."""
    return ReviewCampaign.objects.select_related("actor").get(campaign_id=campaign_id, revision=1)


def own_share(campaign_id: uuid.UUID, *, persons: Iterable[int]) -> dict[int, int]:
    """Return how many items of a campaign each of these people decided; without who decided none.

    One query.
    """
    rows = ReviewDecision.objects.filter(campaign_id=campaign_id, actor_id__in=list(persons))
    return dict(rows.values_list("actor_id").annotate(Count("id")))


def running() -> QuerySet[ReviewCampaign]:
    """Return the campaigns that are neither signed off nor cancelled."""
    later = ReviewCampaign.objects.filter(campaign_id=OuterRef("campaign_id"), revision__gt=1)
    return ReviewCampaign.objects.filter(~Exists(later), revision=1).order_by("due_at", "id")


def undecided() -> QuerySet[ReviewItem]:
    """Return the items that nothing was decided about, of whatever campaign."""
    decided = ReviewDecision.objects.filter(item_id=OuterRef("item_id"))
    return ReviewItem.objects.filter(~Exists(decided))


def for_person(person: User) -> Q:
    """Return the condition that an item is this person's to decide, whatever has become of it.

    It is its reviewer's. Where there is none, or they are inactive by now, it is for any compliance
    admin but its holder.
    """
    mine = Q(reviewer=person)
    if person.is_compliance:
        mine |= (Q(reviewer=None) | Q(reviewer__is_active=False)) & ~Q(subject=person)
    return mine


def still_asked(campaign_id: uuid.UUID) -> Q:
    """Return the condition that a notice's `person` may decide on something of a campaign."""
    left = undecided().filter(campaign_id=campaign_id)
    unowned = Q(reviewer=None) | Q(reviewer__is_active=False)
    return Q(Exists(left.filter(reviewer=OuterRef("person")))) | Q(
        Exists(left.filter(unowned).exclude(subject=OuterRef("person"))),
        person__in=[person.pk for person in people.compliance()],
    )


def waiting(person: User) -> QuerySet[ReviewItem]:
    """Return the items of running campaigns that this person may decide now.

    Access that has ended meanwhile is left out: nothing is left to decide.
    """
    if not person.is_active:
        return ReviewItem.objects.none()
    return undecided().filter(
        for_person(person), Exists(_holder()), campaign_id__in=running().values("campaign_id")
    )


def waiting_count(*, person: User) -> int:
    """Return how many items wait for this person (one query)."""
    return waiting(person).count()


def may_decide(person: User, item: ReviewItem) -> bool:
    """Return whether this person is the one, or one of those, who judge the item."""
    if not person.is_active or person.pk == item.subject_id:
        return False
    if item.reviewer_id == person.pk:
        return True
    return person.is_compliance and (item.reviewer is None or not item.reviewer.is_active)


class _Prolongs(Func):
    """Whether a request that extends the first prolongs the second, over any number."""

    function = "approvals_prolongs"
    output_field = BooleanField()


def _holder() -> QuerySet[CurrentRequest]:
    """Return the active request that holds an outer item's access, if there still is one.

    An extension is a request of its own. What is active now for the same person and entitlement
    holds the item's access if it is the item's request, or prolongs it; what was asked for anew
    does not.
    """
    pinned = OuterRef("request_id")
    further = Q(extends__isnull=False) & Q(_Prolongs(F("extends"), pinned))
    return CurrentRequest.objects.filter(
        Q(request_id=pinned) | Q(extends=pinned) | further,
        subject=OuterRef("subject"),
        entitlement=OuterRef("entitlement"),
        state=str(State.ACTIVE),
    )


def live(item_ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, uuid.UUID]:
    """Return the active request that holds each item's access; items that ended are left out.

    One query, none for no items.
    """
    rows = ReviewItem.objects.filter(item_id__in=list(item_ids))
    found = rows.values_list("item_id", Subquery(_holder().values("request_id")))
    return {item_id: holder for item_id, holder in found if holder}


class Held(NamedTuple):
    """An active request: when it ends by itself, and why it was asked for."""

    request_id: uuid.UUID
    ends_at: datetime | None
    reason: str


def held(request_ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, Held]:
    """Return what a reviewer should know of active requests (one query)."""
    rows = CurrentRequest.objects.filter(request_id__in=list(request_ids))
    found = rows.values_list("request_id", "record__ends_at", "record__reason")
    return {key: Held(key, ends_at, reason) for key, ends_at, reason in found}


def active(campaign: ReviewCampaign) -> QuerySet[CurrentRequest]:
    """Return the active access that a campaign of this scope is about, with all it names."""
    rows = CurrentRequest.objects.filter(state=str(State.ACTIVE)).select_related(
        "record", "subject__manager", "entitlement__resource__owner"
    )
    if campaign.scope == ReviewCampaign.Scope.RESOURCE:
        rows = rows.filter(entitlement__resource=campaign.resource_id)
    elif campaign.scope == ReviewCampaign.Scope.RISK:
        rows = rows.filter(entitlement__risk=campaign.risk)
    return rows.order_by("subject__username", "request_id")


def items(item_ids: Collection[uuid.UUID]) -> list[ReviewItem]:
    """Return these items in one order for everybody. Raises: NotFound when one is missing."""
    found = list(
        ReviewItem.objects.filter(item_id__in=item_ids).select_related("reviewer").order_by("id")
    )
    if len(found) != len(set(item_ids)):
        raise NotFound("There is no such item.")
    return found


def first_shown(item_ids: Collection[uuid.UUID], *, to: User) -> Mapping[uuid.UUID, datetime]:
    """Return when each item was first shown to this person (one query)."""
    rows = ReviewShown.objects.filter(item_id__in=item_ids, person=to)
    return dict(rows.values_list("item_id", "occurred_at"))


def resources() -> list[Resource]:
    """Return the resources in use, by name."""
    return list(Resource.objects.filter(is_retired=False).order_by("name"))


@dataclass
class Group:
    """Items that a page lists under one heading; each with the request that holds it now."""

    title: str
    items: list[tuple[ReviewItem, Held]] = field(default_factory=list)


def board(person: User, *, by: str) -> tuple[list[Group], int]:
    """Return what waits for a person, by `person` or by `access`, and how many items that is.

    At most SHOWN_MOST are in the groups (three queries, and the count where there are more). What
    ends between them is neither shown nor counted.
    """
    rows = waiting(person)
    access = ["resource_name", "entitlement_name"]
    order = [*access, "subject_name"] if by == "access" else ["subject_name", *access]
    shown = list(rows.select_related("subject").order_by(*order, "id")[:SHOWN_MOST])
    count = len(shown) if len(shown) < SHOWN_MOST else rows.count()
    holders = live(item.item_id for item in shown)
    now_held = held(holders.values())
    groups: dict[object, Group] = {}
    for item in shown:
        holder = now_held.get(holders[item.item_id]) if item.item_id in holders else None
        if holder is None:
            count -= 1
            continue
        key: object = item.entitlement_id if by == "access" else item.subject_id
        title = item.access_name if by == "access" else item.subject_name
        group = groups.setdefault(key, Group(title))
        group.items.append((item, holder))
    return list(groups.values()), count


class Progress(NamedTuple):
    """A campaign with how far it is."""

    campaign: ReviewCampaign
    kept: int
    removed: int
    gone: int
    unreviewed: int

    @property
    def decided(self) -> int:
        """Return how many items are decided."""
        return self.kept + self.removed + self.gone + self.unreviewed

    @property
    def left(self) -> int:
        """Return how many items are not."""
        return self.campaign.items - self.decided

    @property
    def percent(self) -> int:
        """Return the whole percents that are decided."""
        return 100 * self.decided // self.campaign.items if self.campaign.items else 100


_VERDICTS = """
SELECT campaign_id, count(*) FILTER (WHERE verdict = 'keep'),
    count(*) FILTER (WHERE verdict = 'remove'), count(*) FILTER (WHERE verdict = 'gone'),
    count(*) FILTER (WHERE verdict = 'unreviewed')
FROM approvals_reviewdecision WHERE campaign_id = ANY(%s) GROUP BY campaign_id
"""


def progress(campaigns: Iterable[ReviewCampaign]) -> list[Progress]:
    """Return how far these campaigns are (one query)."""
    rows = list(campaigns)
    with connection.cursor() as cursor:
        cursor.execute(_VERDICTS, [[row.campaign_id for row in rows]])
        counts = {key: tuple(values) for key, *values in cursor.fetchall()}
    return [Progress(row, *counts.get(row.campaign_id, (0, 0, 0, 0))) for row in rows]


def newest(*, limit: int = 50) -> list[Progress]:
    """Return the newest campaigns as they stand, the running ones first (two queries)."""
    later = ReviewCampaign.objects.filter(campaign_id=OuterRef("campaign_id"), revision__gt=1)
    rows = ReviewCampaign.objects.filter(~Exists(later) | Q(revision=2))
    found = rows.order_by("revision", "-opened_at", "-id")[:limit]
    return progress(found)


class Signals(NamedTuple):
    """What tells a rubber stamp from a review, over what people decided.

    `people` decided, `kept` of it was kept; `largest` is the largest number decided at one stroke.
    """

    people: int
    kept: int
    median_seconds: float | None
    largest: int

    @property
    def share_kept(self) -> int | None:
        """Return the whole percents that were kept; None where people decided nothing."""
        return 100 * self.kept // self.people if self.people else None


class Reviewer(NamedTuple):
    """One person's decisions in a campaign, and what is left to them."""

    name: str
    decided: int
    kept: int
    removed: int
    median_seconds: float | None
    largest: int
    left: int

    @property
    def kept_everything(self) -> bool:
        """Return whether they decided more than one thing, and kept all of it."""
        return self.decided > 1 and self.kept == self.decided


_SIGNALS = """
SELECT count(*), count(*) FILTER (WHERE verdict = 'keep'),
    percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds), coalesce(max(together), 0)
FROM approvals_reviewdecision WHERE campaign_id = %s AND actor_id IS NOT NULL
"""
_REVIEWERS = """
SELECT coalesce(nullif(u.name, ''), u.username, 'Compliance'), coalesce(d.decided, 0),
    coalesce(d.kept, 0), coalesce(d.decided, 0) - coalesce(d.kept, 0), d.median,
    coalesce(d.largest, 0), coalesce(i.open, 0)
FROM (SELECT actor_id AS person, count(*) AS decided,
        count(*) FILTER (WHERE verdict = 'keep') AS kept, max(together) AS largest,
        percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds) AS median
      FROM approvals_reviewdecision WHERE campaign_id = %(id)s AND actor_id IS NOT NULL
      GROUP BY actor_id) d
FULL JOIN (SELECT i.reviewer_id AS person, count(*) FILTER (WHERE x.id IS NULL) AS open
      FROM approvals_reviewitem i
      LEFT JOIN approvals_reviewdecision x ON x.item_id = i.item_id
      WHERE i.campaign_id = %(id)s GROUP BY i.reviewer_id) i ON i.person = d.person
LEFT JOIN approvals_user u ON u.id = coalesce(d.person, i.person)
ORDER BY 7 DESC, 2 DESC, 1
"""


def signals(campaign_id: uuid.UUID) -> Signals:
    """Return the signals of a whole campaign (one query)."""
    with connection.cursor() as cursor:
        cursor.execute(_SIGNALS, [campaign_id])
        return Signals(*cursor.fetchone())


def reviewers(campaign_id: uuid.UUID) -> list[Reviewer]:
    """Return the campaign's reviewers, those with most left first (one query)."""
    with connection.cursor() as cursor:
        cursor.execute(_REVIEWERS, {"id": campaign_id})
        return [Reviewer(*row) for row in cursor.fetchall()]


class Line(NamedTuple):
    """One item of a campaign with what was decided about it, if anything."""

    item: ReviewItem
    decision: ReviewDecision | None


def lines(campaign_id: uuid.UUID) -> list[Line]:
    """Return a campaign's items, undecided ones first, at most SHOWN_MOST (two queries)."""
    decided = ReviewDecision.objects.filter(item_id=OuterRef("item_id"))
    rows = list(
        ReviewItem.objects.filter(campaign_id=campaign_id)
        .annotate(is_decided=Exists(decided))
        .order_by("is_decided", "subject_name", "id")[:SHOWN_MOST]
    )
    found: dict[uuid.UUID, Any] = {
        row.item_id: row
        for row in ReviewDecision.objects.filter(item_id__in=[row.item_id for row in rows])
    }
    return [Line(row, found.get(row.item_id)) for row in rows]
