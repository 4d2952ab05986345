"""The catalogue: what can be asked for, by whom it is decided, how long it may last."""

from collections import Counter
from dataclasses import dataclass, replace
from datetime import timedelta

from django.http import HttpResponse
from django.shortcuts import render

from approvals.portal import views
from approvals.portal.views import PortalRequest
from approvals.selectors import asking, catalogue, clock, requests, shelf
from approvals.selectors.asking import AccessRequest, Entitlement
from approvals.selectors.catalogue import Offer
from approvals.services import provisioning

SHOWN = 200
#: The chip beside the kinds of targets.
FAVOURITES = "favourites"


@dataclass(frozen=True)
class Item:
    """One thing that can be asked for, as this person sees it."""

    entitlement: Entitlement
    kind: str
    glyph: str
    longest: timedelta | None
    usual: str
    usual_seconds: float | None
    open: AccessRequest | None
    why_not: str
    is_favourite: bool
    people: int = 0
    """How many people like this one ask for it, where it is suggested for that."""


@dataclass(frozen=True)
class Chip:
    """A kind of target to narrow the list to, and how many things it has."""

    key: str
    title: str
    count: int


@views.page("GET")
def page(request: PortalRequest) -> HttpResponse:
    """Show what matches `q` and `kind` (or `favourites`); to htmx only the results."""
    query, kind = views.text(request.GET.get("q")), views.text(request.GET.get("kind"))
    found = asking.search(query)
    recent = [] if query or kind else catalogue.recent_of(person=request.user)
    stars = shelf.favourites(person=request.user)
    items = _items(request, found, stars=stars)
    again = _items(request, recent, stars=stars, known=items)
    alike = [] if query or kind else _suggested(request, stars=stars, known=items)
    counts = Counter(row.resource.connector for row in found)
    titles = {key: provisioning.describe(key)[0] for key in counts}
    chips = [Chip(key, titles[key], counts[key]) for key in sorted(counts, key=titles.__getitem__)]
    listed = [item for item in items if kind in ("", item.entitlement.resource.connector)]
    if kind == FAVOURITES:
        listed = [item for item in items if item.is_favourite]
    context = {
        "now": clock.now(),
        "q": query,
        "kind": kind,
        "chips": chips,
        "all_count": len(found),
        "may_count": sum(not item.why_not for item in items),
        "items": listed[:SHOWN],
        "found": len(listed),
        "again": again,
        "alike": alike,
        "favourites": sum(item.is_favourite for item in items),
    }
    fragment = views.wants_fragment(request)
    return render(
        request, "catalogue/_results.html" if fragment else "catalogue/page.html", context
    )


def _suggested(request: PortalRequest, *, stars: frozenset[int], known: list[Item]) -> list[Item]:
    """Return what people like this one ask for and this one may ask for too, at most three."""
    counted = shelf.suggested(person=request.user)
    found = _items(request, [row for row, _ in counted], stars=stars, known=known)
    pairs = zip(found, counted, strict=True)
    return [
        replace(item, people=people)
        for item, (_, people) in pairs
        if not item.why_not and item.open is None
    ][:3]


def _items(
    request: PortalRequest,
    rows: list[Entitlement],
    *,
    stars: frozenset[int],
    known: list[Item] | None = None,
) -> list[Item]:
    """Return the rows with what this person may do; of `known` ones nothing is read again."""
    have = {item.entitlement.pk: item for item in known or []}
    missing = [row for row in rows if row.pk not in have]
    if missing:
        offers = catalogue.offers(missing, subject=request.user)
        usual = requests.usual_seconds(
            {row.pk: asking.usual_rule(offers[row.pk]) for row in missing}
        )
        held = {record.entitlement_id: record for record in requests.open_of(subject=request.user)}
        for row in missing:
            have[row.pk] = _item(
                row,
                offers[row.pk],
                usual.get(row.pk),
                held.get(row.pk),
                is_favourite=row.pk in stars,
            )
    return [have[row.pk] for row in rows]


def _item(
    row: Entitlement,
    offer: Offer,
    usual: float | None,
    held: AccessRequest | None,
    *,
    is_favourite: bool,
) -> Item:
    kind, glyph = provisioning.describe(row.resource.connector)
    return Item(
        entitlement=row,
        kind=row.resource.title or kind,
        glyph=glyph,
        longest=offer.longest,
        usual=asking.at_once(entitlement=row, offer=offer),
        usual_seconds=usual,
        open=held,
        why_not="" if offer.eligible else asking.why_not(entitlement=row, offer=offer, own=True),
        is_favourite=is_favourite,
    )
