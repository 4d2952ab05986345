"""Settings: what a person chooses for themselves, and the way out on a phone."""

from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render

from approvals.portal import views
from approvals.portal.forms import SettingsForm
from approvals.portal.views import PortalRequest
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


def _context(request: PortalRequest, form: SettingsForm) -> dict[str, Any]:
    return {"form": form, "keys": ssh_keys.of(request.user)}
