"""What targets hold beside what was granted: the newest looks, what differs, what was done."""

from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import urlencode

from approvals.domain.refusals import NotAllowed, NotFound, Refusal
from approvals.portal import views
from approvals.portal.views import PortalRequest
from approvals.selectors import clock, processes
from approvals.selectors import drift as reads
from approvals.services import findings

#: What each kind means, for the page.
MEANINGS = {
    "leftover": "Ended in the portal, and still or again at the target",
    "missing": "Active in the portal, and not at the target",
    "standing": "At the target, and never granted by the portal",
    "unmatched": "At the target, under a name that the portal knows nobody by",
}


@views.page("GET")
def page(request: PortalRequest) -> HttpResponse:
    """List each target's newest look and the findings, by resource and kind; `?over=1` the past."""
    return _show(request)


@views.page("POST")
def look(request: PortalRequest, resource_id: int) -> HttpResponse:
    """Have a target looked at as soon as a worker is free, for operators."""
    found = findings.look_now(actor=request.user, resource_id=resource_id, now=clock.now())
    messages.success(request, f"{found.name} is looked at as soon as a worker is free.")
    return redirect("drift")


@views.page("POST")
def keep(request: PortalRequest, finding_id: int) -> HttpResponse:
    """Note why an access that the portal never granted may stay; 4xx with what is wrong."""
    reason = request.POST.get("reason", "")
    try:
        found = findings.keep(
            actor=request.user, finding_id=finding_id, reason=reason, now=clock.now()
        )
    except (NotAllowed, NotFound):
        raise
    except Refusal as refusal:
        return _show(request, refusal=refusal, keeping=finding_id, reason=reason)
    messages.success(request, f"Kept: {found.login} may stay, and the reason stands beside it.")
    return redirect(f"{_address(request)}#finding-{found.pk}")


def _address(request: PortalRequest) -> str:
    chosen = {key: views.text(request.POST.get(key)) for key in ("resource", "kind")}
    query = urlencode({key: value for key, value in chosen.items() if value})
    return f"{reverse('drift')}?{query}" if query else reverse("drift")


def _show(
    request: PortalRequest,
    *,
    refusal: Refusal | None = None,
    keeping: int = 0,
    reason: str = "",
) -> HttpResponse:
    if not findings.may_see(request.user):
        raise NotAllowed("This is for compliance and operators.", code="not_compliance")
    given = request.POST if request.method == "POST" else request.GET
    resource, kind = views.text(given.get("resource")), views.text(given.get("kind"))
    over = given.get("over") == "1"
    looks, now = reads.looks(), clock.now()
    context: dict[str, Any] = {
        "looks": looks,
        "unseen": {row.target for row in processes.unseen(now=now)},
        "rows": [
            (row, MEANINGS.get(row.finding.kind, ""))
            for row in reads.findings(resource=resource, kind=kind, over=over)
        ],
        "most": reads.SHOWN_MOST,
        "kinds": reads.KINDS,
        "resource": resource,
        "kind": kind,
        "over": over,
        "refusal": refusal,
        "keeping": keeping,
        "reason": reason,
        "now": now,
    }
    status = refusal.status if refusal else 200
    return render(request, "drift/page.html", context, status=status)
