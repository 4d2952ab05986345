"""What the subject needs from a target and only they may see, and their own SSH keys."""

import uuid

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache

from approvals.domain.refusals import Invalid, NotFound, Refusal
from approvals.portal import settings, views
from approvals.portal.views import PortalRequest
from approvals.selectors import requests as reads
from approvals.services import handover, ssh_keys


@never_cache
@views.page("POST")
def show(request: PortalRequest, request_id: uuid.UUID) -> HttpResponse:
    """Show what the target gave for the subject; secrets among it are never shown again."""
    record = reads.visible(request_id, to=request.user)
    try:
        shown = handover.take(actor=request.user, request_id=request_id)
    except NotFound:
        raise
    except Refusal as refusal:
        messages.error(request, refusal.message)
        return redirect("request", request_id=request_id)
    return render(request, "request/credentials.html", {"record": record, "shown": shown})


@views.page("POST")
def add_key(request: PortalRequest) -> HttpResponse:
    """Add an SSH key of one's own; otherwise show the settings with it and what is wrong."""
    text = request.POST.get("text", "")
    try:
        key = ssh_keys.add(actor=request.user, text=text)
    except Invalid as refusal:
        if refusal.code == "private_key":
            text = ""  # of no use here, and secret: it is not sent around once more
        context = settings.context(request) | {"key_text": text, "key_error": refusal.message}
        return render(request, "settings/page.html", context, status=refusal.status)
    messages.success(request, f"The key {key.fingerprint} is added.")
    return redirect("settings")


@views.page("POST")
def remove_key(request: PortalRequest, key_id: int) -> HttpResponse:
    """Remove an SSH key of one's own."""
    ssh_keys.remove(actor=request.user, key_id=key_id)
    messages.success(request, "The key is removed.")
    return redirect("settings")
