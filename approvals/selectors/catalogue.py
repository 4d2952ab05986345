"""What can be asked for, by whom, for how long, and why not."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import Any, NamedTuple

from django.db.models import Count, F, Func, JSONField, Q, QuerySet

from approvals.domain import policy as policies
from approvals.models import Entitlement, Group, Policy, User


@dataclass(frozen=True)
class Offer:
    """An entitlement as its current policy offers it to one person."""

    policy: policies.Policy | None
    policy_record: Any  # the newest history row of the policy
    groups: frozenset[str]
    retired: bool

    @property
    def eligible(self) -> bool:
        """Return whether the person may ask for it at all."""
        return not self.retired and policies.eligible(self.policy, self.groups)

    @property
    def longest(self) -> timedelta | None:
        """Return the longest duration that the person may ask for."""
        return policies.longest_for(self.policy, self.groups)


def groups_of(person: User | int) -> frozenset[str]:
    """Return the names of a person's directory groups (one query)."""
    pk = person if isinstance(person, int) else person.pk
    return frozenset(Group.objects.filter(members__person=pk).values_list("name", flat=True))


@lru_cache(maxsize=512)
def parsed(history_id: int) -> policies.Policy:
    """Return the policy of a history row."""
    # A history row never changes, so what was parsed of it stays true.
    row = Policy.history.model.objects.only("document").get(history_id=history_id)
    return policies.parse(row.document)


def newest_record(policy_id: int) -> Any:
    """Return the newest history row of a policy, which is what a request pins (one query)."""
    return (
        Policy.history.filter(id=policy_id)
        .only("history_id", "name", "version", "id")
        .latest("history_id")
    )


def offer(*, entitlement: Entitlement, subject: User | int) -> Offer:
    """Return what the current policy offers `subject` (at most four queries)."""
    record = newest_record(entitlement.policy_id) if entitlement.policy_id else None
    return Offer(
        policy=parsed(record.history_id) if record else None,
        policy_record=record,
        groups=groups_of(subject),
        retired=entitlement.is_retired or entitlement.resource.is_retired,
    )


def entitlement(pk: int) -> Entitlement | None:
    """Return an entitlement with its resource and policy, retired or not (one query)."""
    return Entitlement.objects.select_related("resource__owner", "policy").filter(pk=pk).first()


class Tally(NamedTuple):
    """How many things of one connector a search finds, and what the person has to do with them."""

    connector: str
    found: int
    favourites: int
    askable: int
    """Those that they may ask for."""


class _GroupsOfRules(Func):
    """The groups that a policy's rules name, as a JSON array."""

    template = "jsonb_path_query_array(%(expressions)s, '$.rules[*].groups[*]')"
    output_field = JSONField()


def search(
    text: str, *, connector: str = "", among: Collection[int] | None = None, most: int
) -> list[Entitlement]:
    """Return the first by name that are not retired and match every word of `text` (one query).

    Only those of the connector, and with these keys, where such are given.
    """
    rows = _matching(text)
    if connector:
        rows = rows.filter(resource__connector=connector)
    if among is not None:
        rows = rows.filter(pk__in=among)
    return list(rows.select_related("resource__owner").order_by("resource__name", "name")[:most])


def tally(text: str, *, groups: frozenset[str], stars: frozenset[int]) -> list[Tally]:
    """Return for each connector what the search finds, for members of `groups` (one query).

    Everything is counted, however much of it a page shows; `stars` are the person's favourites.
    """
    rows = (
        _matching(text)
        .values("resource__connector")
        .annotate(
            found=Count("pk"),
            favourites=Count("pk", filter=Q(pk__in=stars)),
            askable=Count("pk", filter=Q(policy__in=_open_to(groups))),
        )
        .values_list("resource__connector", "found", "favourites", "askable")
    )
    return [Tally(*row) for row in rows]


def _open_to(groups: frozenset[str]) -> Any:
    """Return the subquery of policies under which `groups` may ask, as `policies.eligible` says."""
    named = Policy.objects.alias(able=_GroupsOfRules(F("document")))
    return named.filter(
        Q(document__rules__contains=[{"everyone": True}]) | Q(able__has_any_keys=sorted(groups))
    ).values("pk")


def _matching(text: str) -> QuerySet[Entitlement]:
    rows = Entitlement.objects.filter(is_retired=False, resource__is_retired=False)
    for word in text.split()[:8]:
        rows = rows.filter(
            Q(name__icontains=word)
            | Q(resource__name__icontains=word)
            | Q(resource__title__icontains=word)
            | Q(description__icontains=word)
            | Q(keywords__icontains=word)
        )
    return rows


def offers(rows: list[Entitlement], *, groups: frozenset[str]) -> dict[int, Offer]:
    """Return the offer of each entitlement to members of `groups` (one query for all of them)."""
    policy_ids = {row.policy_id for row in rows if row.policy_id}
    newest = {
        record.id: record
        for record in Policy.history.filter(id__in=policy_ids)
        .order_by("id", "-history_id")
        .distinct("id")
        .only("history_id", "name", "version", "id")
    }
    found: dict[int, Offer] = {}
    for row in rows:
        record = newest.get(row.policy_id) if row.policy_id else None
        found[row.pk] = Offer(
            policy=parsed(record.history_id) if record else None,
            policy_record=record,
            groups=groups,
            retired=row.is_retired or row.resource.is_retired,
        )
    return found


def recent_of(*, person: User, limit: int = 3) -> list[int]:
    """Return the keys of what the person asked for last, newest first, each once (one query)."""
    rows = Entitlement.objects.raw(
        """
        SELECT e.id FROM (
            SELECT entitlement_id, max(submitted_at) AS newest FROM (
                SELECT entitlement_id, submitted_at FROM approvals_currentrequest
                WHERE subject_id = %s ORDER BY submitted_at DESC LIMIT 50) latest
            GROUP BY entitlement_id) recent
        JOIN approvals_entitlement e ON e.id = recent.entitlement_id
        WHERE NOT e.is_retired ORDER BY newest DESC LIMIT %s
        """,
        [person.pk, limit],
    )
    return [row.pk for row in rows]


def named(text: str) -> Entitlement | None:
    """Return the entitlement of an id or of `resource/entitlement`, retired or not (one query)."""
    if text.isascii() and text.isdigit() and len(text) < 19:
        return entitlement(int(text))
    resource, _, name = text.partition("/")
    if not name or "\0" in text:
        return None
    rows = Entitlement.objects.select_related("resource__owner", "policy")
    return rows.filter(resource__name__iexact=resource, name__iexact=name).first()
