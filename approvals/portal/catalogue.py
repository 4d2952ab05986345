"""The catalogue: what can be asked for, by whom it is decided, how long it may last."""

from collections.abc import Mapping
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

#: How many things one page lists; the others are found by searching.
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
    fragment = views.wants_fragment(request)
    groups = catalogue.groups_of(request.user)
    stars = shelf.favourites(person=request.user)
    tallies = catalogue.tally(query, groups=groups, stars=stars)
    if kind == FAVOURITES:
        rows = catalogue.search(query, among=stars, most=SHOWN)
    else:
        rows = catalogue.search(query, connector=kind, most=SHOWN)
    recent = [] if query or kind else catalogue.recent_of(person=request.user)
    people = {} if query or kind else shelf.suggested(person=request.user)
    missing = {*recent, *people} - {row.pk for row in rows}
    more = catalogue.search("", among=missing, most=len(missing))
    items = _items(request, [*rows, *more], groups=groups, stars=stars)
    everything = tallies
    if query and not fragment:
        everything = catalogue.tally("", groups=groups, stars=stars)
    counts = {row.connector: row.found for row in tallies}
    all_count = sum(counts.values())
    favourites = sum(row.favourites for row in tallies)
    context = {
        "now": clock.now(),
        "q": query,
        "kind": kind,
        "chips": _chips(counts),
        "all_count": all_count,
        "may_count": sum(row.askable for row in everything),
        "items": [items[row.pk] for row in rows],
        "found": (counts | {"": all_count, FAVOURITES: favourites}).get(kind, 0),
        "again": [items[key] for key in recent if key in items],
        "alike": _alike(items, people),
        "favourites": favourites,
    }
    return render(
        request, "catalogue/_results.html" if fragment else "catalogue/page.html", context
    )


def _chips(counts: Mapping[str, int]) -> list[Chip]:
    titles = {key: provisioning.describe(key)[0] for key in counts}
    return [Chip(key, titles[key], counts[key]) for key in sorted(counts, key=titles.__getitem__)]


def _alike(items: Mapping[int, Item], people: Mapping[int, int]) -> list[Item]:
    """Return what people like this one ask for and this one may ask for too, at most three."""
    found = [replace(items[key], people=many) for key, many in people.items() if key in items]
    return [item for item in found if not item.why_not and item.open is None][:3]


def _items(
    request: PortalRequest,
    rows: list[Entitlement],
    *,
    groups: frozenset[str],
    stars: frozenset[int],
) -> dict[int, Item]:
    """Return the rows by their keys, with what this person may do (three queries)."""
    if not rows:
        return {}
    offers = catalogue.offers(rows, groups=groups)
    usual = requests.usual_seconds({row.pk: asking.usual_rule(offers[row.pk]) for row in rows})
    held = {record.entitlement_id: record for record in requests.open_of(subject=request.user)}
    return {
        row.pk: _item(
            row,
            offers[row.pk],
            usual.get(row.pk),
            held.get(row.pk),
            is_favourite=row.pk in stars,
        )
        for row in rows
    }


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
