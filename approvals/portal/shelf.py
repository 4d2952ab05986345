"""What people keep for themselves: saved views of the inbox, favourites of the catalogue."""

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse

from approvals.domain.refusals import Invalid, NotFound
from approvals.portal import inbox, views
from approvals.portal.views import PortalRequest
from approvals.selectors import catalogue, clock
from approvals.services import shelf

#: The lists of the catalogue in which the same entitlement may stand.
PLACES = ("found", "again", "alike")


@views.page("POST")
def save_view(request: PortalRequest) -> HttpResponse:
    """Keep the inbox's filters under a name, and go back to them; otherwise show both again."""
    sieve, name = inbox.sieve_of(request.POST.get("sieve", "")), request.POST.get("name", "")
    try:
        view = shelf.save_view(actor=request.user, name=name, query=sieve.values, now=clock.now())
    except Invalid as refusal:
        return inbox.unnamed(request, by=sieve, name=name, refusal=refusal)
    messages.success(request, f"Saved as “{view.name}”.")
    return redirect(reverse("inbox") + (f"?{sieve.query}" if sieve else ""))


@views.page("POST")
def remove_view(request: PortalRequest, view_id: int) -> HttpResponse:
    """Forget a saved view. Raises: NotFound, for those of others too."""
    shelf.remove_view(actor=request.user, view_id=view_id)
    messages.success(request, "The view is removed.")
    return redirect("inbox")


@views.page("POST")
def star(request: PortalRequest) -> HttpResponse:
    """Make an entitlement a favourite, or not one with `on=0`; htmx gets the button back."""
    entitlement = catalogue.named(request.POST.get("entitlement", "")[:250])
    if entitlement is None:
        raise NotFound("There is no such thing to ask for.")
    wanted = request.POST.get("on") != "0"
    if wanted:
        shelf.star(actor=request.user, entitlement=entitlement, now=clock.now())
    else:
        shelf.unstar(actor=request.user, entitlement=entitlement)
    if views.wants_fragment(request):
        place = request.POST.get("place", "")
        context = {
            "entitlement": entitlement,
            "is_favourite": wanted,
            "place": place if place in PLACES else PLACES[0],
        }
        return render(request, "catalogue/_star.html", context)
    return redirect("catalogue")
