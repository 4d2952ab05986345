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
        return render(request, "settings/page.html", context(request, form), status=400)
    return render(request, "settings/page.html", context(request))


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
    shown = context(request) | {"notices": form}
    return render(request, "settings/page.html", shown, status=400)


def context(request: PortalRequest, form: SettingsForm | None = None) -> dict[str, Any]:
    """Return what the page shows: what is chosen, or the `form` of the timezone as it was sent."""
    form = form or SettingsForm(initial={"timezone": request.user.timezone})
    notices = NoticesForm(initial=NoticesForm.of(noticing.chosen(request.user)))
    return {"form": form, "keys": ssh_keys.of(request.user), "notices": notices}
