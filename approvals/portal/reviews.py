"""Access reviews: what waits for this person, and for compliance the campaigns themselves."""

import uuid
from datetime import date, datetime, time, timedelta
from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone

from approvals.domain.refusals import Invalid, NotAllowed, NotFound, Refusal
from approvals.portal import views
from approvals.portal.views import PortalRequest
from approvals.selectors import clock
from approvals.selectors import reviews as reads
from approvals.services import review_opening, review_rules, reviews

#: What the form offers to group by.
BY = {"person": "By person", "access": "By access"}
DEFAULT_DAYS = 14


@views.page("GET")
def page(request: PortalRequest) -> HttpResponse:
    """List what waits for this person, and the campaigns for whoever may see them."""
    return _show(request)


@views.page("POST")
def decide(request: PortalRequest) -> HttpResponse:
    """Keep or remove what was chosen, with one reason; 4xx with what is wrong."""
    verdict, reason = request.POST.get("verdict", ""), request.POST.get("reason", "")
    chosen = request.POST.getlist("item")
    try:
        found = reviews.decide(
            actor=request.user, items=_keys(chosen), verdict=verdict, reason=reason, now=clock.now()
        )
    except NotFound:
        raise
    except Refusal as refusal:
        return _show(request, refusal=refusal, chosen=chosen, reason=reason)
    messages.success(request, _said(found, verdict))
    return redirect(f"{reverse('reviews')}?by={_by(request)}")


def _keys(chosen: list[str]) -> set[uuid.UUID]:
    try:
        return {uuid.UUID(key) for key in chosen}
    except ValueError as error:
        raise Invalid("Choose what the page offers.", field="items") from error


def _said(found: reviews.Decided, verdict: str) -> str:
    count = len(found.decisions)
    parts = []
    if count:
        names = f"{count} access{'es' if count != 1 else ''}"
        end = "is" if count == 1 else "are"
        parts.append(f"{names} {end} kept." if verdict == "keep" else f"{names} {end} ending now.")
    if found.gone:
        parts.append(f"{len(found.gone)} had ended already; that is recorded.")
    return " ".join(parts)


@views.page("POST")
def start(request: PortalRequest) -> HttpResponse:
    """Open a campaign, for compliance; 4xx with what is wrong."""
    given = {key: request.POST.get(key, "") for key in ("name", "due", *_CHOICES, "resource")}
    now = clock.now()
    if not review_rules.may_run(request.user):
        raise NotAllowed("Access reviews are run by compliance.", code="not_compliance")
    try:
        made = review_opening.open_campaign(
            actor=request.user,
            name=given["name"],
            due_at=_due(given["due"]),
            scope=given["scope"],
            resource=next((r for r in reads.resources() if r.name == given["resource"]), None),
            risk=given["risk"],
            reviewers=given["reviewers"],
            on_silence=given["on_silence"],
            now=now,
        )
    except Refusal as refusal:
        return _show(request, start_refusal=refusal, given=given)
    plural = "" if made.items == 1 else "es"
    messages.success(request, f"Opened: {made.items} access{plural} to review.")
    return redirect("review", campaign_id=made.campaign_id)


_CHOICES = ("scope", "risk", "reviewers", "on_silence")


def _due(text: str) -> datetime:
    """Return the end of the day that was chosen, in the person's timezone. Raises: Invalid."""
    try:
        chosen = date.fromisoformat(text)
        following = chosen + timedelta(days=1)
    except (ValueError, OverflowError) as error:
        raise Invalid("Choose the day by which it is due.", field="due_at") from error
    return timezone.make_aware(datetime.combine(following, time()))


def _by(request: PortalRequest) -> str:
    given = request.POST if request.method == "POST" else request.GET
    by = given.get("by", "")
    return by if by in BY else "person"


def _show(
    request: PortalRequest,
    *,
    refusal: Refusal | None = None,
    chosen: list[str] | None = None,
    reason: str = "",
    start_refusal: Refusal | None = None,
    given: dict[str, str] | None = None,
) -> HttpResponse:
    now = clock.now()
    by = _by(request)
    groups, count = reads.board(request.user, by=by)
    reviews.show(
        actor=request.user, items=[row for group in groups for row, _ in group.items], now=now
    )
    context: dict[str, Any] = {
        "groups": groups,
        "waiting": count,
        "most": reads.SHOWN_MOST,
        "by": by,
        "ways": BY.items(),
        "refusal": refusal,
        "chosen": chosen or [],
        "reason": reason,
        "reason_most": review_rules.REASON_MOST,
        "now": now,
    }
    if review_rules.may_see(request.user):
        context["campaigns"] = reads.newest()
        context["may_see"] = True
    if review_rules.may_run(request.user):
        due = (timezone.localtime(now) + timedelta(days=DEFAULT_DAYS)).date().isoformat()
        context |= {
            "may_run": True,
            "start_refusal": start_refusal,
            "resources": reads.resources(),
            "given": given
            or {"due": due, "scope": "all", "reviewers": "manager", "on_silence": "remove"},
        }
    problem = refusal or start_refusal
    return render(request, "reviews/page.html", context, status=problem.status if problem else 200)


@views.page("GET")
def campaign(request: PortalRequest, campaign_id: uuid.UUID) -> HttpResponse:
    """Show a campaign: how far it is, who decided what, and how carefully."""
    return _campaign(request, campaign_id)


@views.page("POST")
def sign_off(request: PortalRequest, campaign_id: uuid.UUID) -> HttpResponse:
    """Sign a campaign off, for compliance; 4xx with what is wrong."""
    try:
        reviews.sign_off(
            actor=request.user,
            campaign_id=campaign_id,
            comment=request.POST.get("comment", ""),
            now=clock.now(),
        )
    except (NotAllowed, NotFound):
        raise
    except Refusal as refusal:
        return _campaign(request, campaign_id, refusal=refusal, act="sign_off")
    messages.success(request, "Signed off. It is in the ledger, and can't be changed any more.")
    return redirect("review", campaign_id=campaign_id)


@views.page("POST")
def cancel(request: PortalRequest, campaign_id: uuid.UUID) -> HttpResponse:
    """Close a campaign without its sign-off, for compliance; 4xx with what is wrong."""
    try:
        reviews.cancel(
            actor=request.user,
            campaign_id=campaign_id,
            reason=request.POST.get("comment", ""),
            now=clock.now(),
        )
    except (NotAllowed, NotFound):
        raise
    except Refusal as refusal:
        return _campaign(request, campaign_id, refusal=refusal, act="cancel")
    messages.success(request, "Cancelled. What was decided stays decided.")
    return redirect("review", campaign_id=campaign_id)


def _campaign(
    request: PortalRequest,
    campaign_id: uuid.UUID,
    *,
    refusal: Refusal | None = None,
    act: str = "",
) -> HttpResponse:
    """Show it; with what was refused of which act, whose form keeps what was written."""
    if not review_rules.may_see(request.user):
        raise NotAllowed("This is for compliance and operators.", code="not_compliance")
    newest = reads.campaign(campaign_id)
    (progress,) = reads.progress([newest])
    context: dict[str, Any] = {
        "campaign": newest,
        "opening": reads.opening(campaign_id),
        "progress": progress,
        "signals": reads.signals(campaign_id),
        "reviewers": reads.reviewers(campaign_id),
        "lines": reads.lines(campaign_id),
        "most": reads.SHOWN_MOST,
        "may_run": review_rules.may_run(request.user),
        "refusal": refusal,
        "act": act,
        "comment": request.POST.get("comment", ""),
        "reason_most": review_rules.REASON_MOST,
        "now": clock.now(),
    }
    status = refusal.status if refusal else 200
    return render(request, "reviews/campaign.html", context, status=status)
