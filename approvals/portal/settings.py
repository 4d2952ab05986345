"""Settings: what a person chooses for themselves, and the way out on a phone."""

from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render

from approvals.domain.refusals import Invalid
from approvals.portal import views
from approvals.portal.forms import SettingsForm
from approvals.portal.notice_forms import NoticesForm
from approvals.portal.views import PortalRequest
from approvals.selectors import clock, noticing
from approvals.services import preferences, ssh_keys


@views.page("GET", "POST")
def page(request: PortalRequest) -> HttpResponse:
    """Show the settings; save them when posted, 400 with what is wrong."""
    if request.method == "POST":
        form = SettingsForm(request.POST)
        if form.is_valid():
            preferences.set_timezone(actor=request.user, name=form.cleaned_data["timezone"])
            messages.success(request, "Saved.")
            return redirect("settings")
        return render(request, "settings/page.html", _context(request, form), status=400)
    form = SettingsForm(initial={"timezone": request.user.timezone})
    return render(request, "settings/page.html", _context(request, form))


@views.page("POST")
def notices(request: PortalRequest) -> HttpResponse:
    """Save how notices reach the person; 400 with what is wrong."""
    form = NoticesForm(request.POST)
    if form.is_valid():
        try:
            preferences.set_notices(actor=request.user, now=clock.now(), **form.chosen)
        except Invalid as refusal:
            form.refuse(refusal)
        else:
            messages.success(request, "Saved.")
            return redirect("settings")
    plain = SettingsForm(initial={"timezone": request.user.timezone})
    context = _context(request, plain) | {"notices": form}
    return render(request, "settings/page.html", context, status=400)


def _context(request: PortalRequest, form: SettingsForm) -> dict[str, Any]:
    notices = NoticesForm(initial=NoticesForm.of(noticing.chosen(request.user)))
    return {"form": form, "keys": ssh_keys.of(request.user), "notices": notices}
