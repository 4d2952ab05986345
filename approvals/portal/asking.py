"""Asking for access: the form, the preview of who will approve, and sending it."""

import uuid
from datetime import datetime, timedelta
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpResponse, QueryDict
from django.shortcuts import redirect, render

from approvals.directory.models import User
from approvals.domain import durations
from approvals.domain.refusals import NotFound, Refusal
from approvals.portal import repeats, views
from approvals.portal.forms import LATER, NOW, OTHER, AskForm
from approvals.portal.views import PortalRequest
from approvals.selectors import asking, catalogue, clock, people
from approvals.selectors import requests as reads
from approvals.selectors.asking import AccessRequest, Entitlement, Wishes
from approvals.services import requests

#: The field of the form that shows what a service says about its argument.
_FIELDS = {"duration": "other", "starts_at": "starts_at", "reason": "reason", "ticket": "ticket"}


@views.page("GET", "POST")
@repeats.once
def page(request: PortalRequest) -> HttpResponse:
    """Show the form, filled from the link; send it when posted; 400 or 403 with what is wrong."""
    sent = request.method == "POST"
    given = request.POST if sent else request.GET
    wanted = given.get("entitlement", "")
    extended = _other(request, given.get("extends", ""))
    repeated = None if sent or extended else _own(request, given.get("again", ""))
    source = extended or repeated
    if source is not None:
        wanted = str(source.entitlement_id)
    if not wanted and not sent:
        return redirect("catalogue")
    entitlement = _entitlement(wanted)
    now = clock.now()
    if not sent:
        link = _same_again(request.GET, source)
        if repeated is not None and repeated.subject_id != request.user.pk:
            link["for"] = repeated.subject.username
        subject, problem = _subject(request, link.get("for", ""), extended)
        offer = catalogue.offer(entitlement=entitlement, subject=subject)
        wishes = asking.wishes(entitlement=entitlement, offer=offer)
        form = AskForm(_from_link(link, wishes))
        context = _context(request, entitlement, form, subject=subject, now=now, extended=extended)
        # Nothing has been sent yet, so only what the link itself got wrong is shown.
        errors = {"other": context["errors"].get("other")} if request.GET.get("duration") else {}
        context["errors"] = errors | ({"subject": [problem]} if problem else {})
        return render(request, "asking/page.html", context)
    form = AskForm(request.POST)
    subject, problem = _subject(request, request.POST.get("subject", ""), extended)
    if "check" in request.POST:  # without scripts: look at the chain before sending
        context = _context(request, entitlement, form, subject=subject, now=now, extended=extended)
        context["errors"] = {"subject": [problem]} if problem else {}
        return render(request, "asking/page.html", context)
    if problem:
        form.add_error("subject", problem)
    status = 400
    if form.is_valid():
        try:
            record = requests.submit(
                actor=request.user,
                subject=subject,
                entitlement=entitlement,
                duration=form.cleaned_data["duration"],
                reason=form.cleaned_data["reason"],
                ticket=form.cleaned_data["ticket"],
                starts_at=form.start,
                extends=extended.request_id if extended else None,
                now=now,
            )
        except Refusal as refusal:
            form.add_error(_FIELDS.get(getattr(refusal, "field", "")), refusal.message)
            status = refusal.status
        else:
            approved = record.state == "approved"
            messages.success(
                request, "Approved at once." if approved else "Sent. Those who decide are told."
            )
            return redirect("request", request_id=record.request_id)
    context = _context(request, entitlement, form, subject=subject, now=now, extended=extended)
    return render(request, "asking/page.html", context, status=status)


@views.page("POST")
def preview(request: PortalRequest) -> HttpResponse:
    """Return who would approve what the form says now, as the page's own partial."""
    extended = _other(request, request.POST.get("extends", ""))
    wanted = str(extended.entitlement_id) if extended else request.POST.get("entitlement", "")
    entitlement = _entitlement(wanted)
    subject, problem = _subject(request, request.POST.get("subject", ""), extended)
    form = AskForm(request.POST)
    context = _preview(
        request, entitlement, form, subject=subject, now=clock.now(), extended=extended
    )
    return render(request, "asking/_preview.html", context | {"subject_problem": problem})


def _entitlement(wanted: str) -> Entitlement:
    found = catalogue.named(wanted[:250])
    if found is None:
        raise Http404("There is no such thing to ask for.")
    return found


def _other(request: PortalRequest, key: str) -> AccessRequest | None:
    """Return the request to extend or repeat, if any. Raises: NotFound where none is to see."""
    if not key:
        return None
    try:
        request_id = uuid.UUID(key)
    except ValueError:
        raise NotFound from None
    return reads.visible(request_id, to=request.user)


def _own(request: PortalRequest, key: str) -> AccessRequest | None:
    """Return the request to repeat, if any. Raises: NotFound where it was not by or for them."""
    found = _other(request, key)
    if found is not None and request.user.pk not in (found.requester_id, found.subject_id):
        raise NotFound
    return found


def _same_again(link: QueryDict, source: AccessRequest | None) -> QueryDict:
    """Return the link with what an earlier request said, where the link says nothing."""
    if source is None:
        return link
    again = QueryDict(mutable=True)
    again["reason"], again["ticket"] = source.reason, source.ticket
    again["duration"] = durations.words(source.duration)
    for name in link:
        again[name] = str(link[name])
    return again


def _subject(
    request: PortalRequest, login: str, extended: AccessRequest | None
) -> tuple[User, str]:
    """Return for whom it is, and what is wrong with the name that was given."""
    if extended is not None:
        return extended.subject, ""
    login = login.strip()
    if not login:
        return request.user, ""
    found = None if "\0" in login or len(login) > 254 else people.by_login(login)
    if found is None:
        return request.user, "Nobody active has this login name or e-mail address."
    return found, ""


def _from_link(link: QueryDict, wishes: Wishes) -> dict[str, str]:
    """Return the form's values that a link stands for; what can't be read goes to `other`."""
    data = {
        "reason": link.get("reason", "")[:2_000],
        "ticket": link.get("ticket", "")[:100],
        "subject": link.get("for", "")[:254],
        "when": NOW,
        "length": _default(wishes),
    }
    if asked := link.get("duration", "")[: durations.TEXT_MOST]:
        try:
            length = durations.parse(asked)
        except durations.DurationError:
            length = None
        if length in wishes.lengths and length is not None:
            data["length"] = str(int(length.total_seconds()))
        else:
            data |= {"length": OTHER, "other": asked}
    if start := link.get("starts_at", "")[:30]:
        data |= {"when": LATER, "starts_at": start}
    return data


def _default(wishes: Wishes) -> str:
    """Return an hour, or what is nearest below it, in seconds."""
    if not wishes.lengths:
        return OTHER
    short = [length for length in wishes.lengths if length <= timedelta(hours=1)]
    return str(int((short or wishes.lengths[:1])[-1].total_seconds()))


def _context(
    request: PortalRequest,
    entitlement: Entitlement,
    form: AskForm,
    *,
    subject: User,
    now: datetime,
    extended: AccessRequest | None,
) -> dict[str, Any]:
    """Return what the page shows: the form's values and errors, and the preview."""
    context = _preview(request, entitlement, form, subject=subject, now=now, extended=extended)
    wishes = context["wishes"]
    length = form.data.get("length", "")
    offered = {str(int(item.total_seconds())) for item in wishes.lengths}
    return context | {
        "form": form,
        "errors": form.errors,
        "general": form.non_field_errors(),
        "values": {name: form.data.get(name, "") for name in form.fields},
        "length": OTHER if form.data.get("other") or length not in offered else length,
        "later": form.data.get("when") == LATER or bool(form.data.get("starts_at")),
        "lengths": [(str(int(item.total_seconds())), item) for item in wishes.lengths],
    }


def _preview(
    request: PortalRequest,
    entitlement: Entitlement,
    form: AskForm,
    *,
    subject: User,
    now: datetime,
    extended: AccessRequest | None,
) -> dict[str, Any]:
    offer = catalogue.offer(entitlement=entitlement, subject=subject)
    duration = form.chosen
    found = None
    if duration is not None:
        found = asking.preview(
            entitlement=entitlement,
            offer=offer,
            subject=subject,
            requester=request.user,
            duration=duration,
            starts_at=form.start,
            now=now,
            extends=extended.request_id if extended else None,
        )
    return {
        "extended": extended,
        "entitlement": entitlement,
        "subject": subject,
        "wishes": asking.wishes(entitlement=entitlement, offer=offer),
        "why_not": asking.why_not(
            entitlement=entitlement, offer=offer, own=subject.pk == request.user.pk
        ),
        "preview": found,
        "duration": duration,
        "duration_problem": form.errors.get("other"),
        "start_problem": form.errors.get("starts_at"),
        "usual_seconds": _usual(entitlement, found, extends=extended is not None),
        "is_preview": True,
        "now": now,
    }


def _usual(
    entitlement: Entitlement, found: asking.Preview | None, *, extends: bool
) -> float | None:
    """Return how long approval under the rule of the preview usually takes, in seconds."""
    if found is None or found.chain is None:
        return None
    return reads.usual_seconds({entitlement.pk: found.rule_name}, extends=extends).get(
        entitlement.pk
    )
