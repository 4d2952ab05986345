"""The catalogue: what can be asked for, by whom it is decided, how long it may last."""

from collections import Counter
from dataclasses import dataclass
from datetime import timedelta

from django.http import HttpResponse
from django.shortcuts import render

from approvals.portal import views
from approvals.portal.views import PortalRequest
from approvals.selectors import asking, catalogue, clock, requests
from approvals.selectors.asking import AccessRequest, Entitlement
from approvals.selectors.catalogue import Offer
from approvals.services import provisioning

SHOWN = 200


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


@dataclass(frozen=True)
class Chip:
    """A kind of target to narrow the list to, and how many things it has."""

    key: str
    title: str
    count: int


@views.page("GET")
def page(request: PortalRequest) -> HttpResponse:
    """Show what matches `q` and `kind`; to htmx only the results."""
    query, kind = views.text(request.GET.get("q")), views.text(request.GET.get("kind"))
    found = asking.search(query)
    recent = [] if query or kind else catalogue.recent_of(person=request.user)
    items = _items(request, found)
    again = _items(request, recent, known=items)
    counts = Counter(row.resource.connector for row in found)
    titles = {key: provisioning.describe(key)[0] for key in counts}
    chips = [Chip(key, titles[key], counts[key]) for key in sorted(counts, key=titles.__getitem__)]
    listed = [item for item in items if kind in ("", item.entitlement.resource.connector)]
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
    }
    fragment = views.wants_fragment(request)
    return render(
        request, "catalogue/_results.html" if fragment else "catalogue/page.html", context
    )


def _items(
    request: PortalRequest, rows: list[Entitlement], *, known: list[Item] | None = None
) -> list[Item]:
    """Return the rows with what this person may do; of `known` ones nothing is read again."""
    have = {item.entitlement.pk: item for item in known or []}
    missing = [row for row in rows if row.pk not in have]
    if missing:
        offers = catalogue.offers(missing, subject=request.user)
        usual = requests.usual_seconds(missing)
        held = {record.entitlement_id: record for record in requests.open_of(subject=request.user)}
        for row in missing:
            have[row.pk] = _item(row, offers[row.pk], usual.get(row.pk), held.get(row.pk))
    return [have[row.pk] for row in rows]


def _item(row: Entitlement, offer: Offer, usual: float | None, held: AccessRequest | None) -> Item:
    kind, glyph = provisioning.describe(row.resource.connector)
    return Item(
        entitlement=row,
        kind=row.resource.title or kind,
        glyph=glyph,
        longest=offer.longest,
        usual=asking.at_once(entitlement=row, offer=offer),
        usual_seconds=usual,
        open=held,
        why_not="" if offer.eligible else asking.why_not(entitlement=row, offer=offer),
    )
