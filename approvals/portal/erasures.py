"""Erasures of a person's content: the list, the form that asks, the second person's page."""

import uuid

from django import forms
from django.conf import settings
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render

from approvals.domain import durations
from approvals.domain.refusals import Invalid, NotFound, Refusal
from approvals.portal import views
from approvals.portal.views import PortalRequest
from approvals.selectors import clock, personal
from approvals.services import erasure as erasing
from audit.selectors import erasures


class ErasureForm(forms.Form):
    """Whose content, by which law, and where the request is filed."""

    login = forms.CharField(label="Person", help_text="Login name or e-mail address.")
    ground = forms.ChoiceField(label="Legal ground", choices=erasures.Erasure.Ground.choices)
    reference = forms.CharField(
        label="Reference",
        max_length=erasing.REFERENCE_MOST,
        help_text="Where the request is filed, such as a case number. No names: this text stays.",
    )


_ACTS = {"approve": erasing.approve, "refuse": erasing.refuse, "withdraw": erasing.withdraw}
_SAID = {
    "refuse": "Refused.",
    "withdraw": "Withdrawn. An operator can let them sign in again.",
}


def _approved() -> str:
    wait = settings.ERASURE_WAIT
    if not wait:
        return "Approved. It is carried out within seconds; until then they can't sign in."
    return (
        f"Approved. It is carried out in {durations.words(wait)} unless somebody withdraws it. "
        "They can't sign in meanwhile."
    )


@views.page("GET", "POST")
def page(request: PortalRequest) -> HttpResponse:
    """List erasures, and ask for one when posted; 4xx with what is wrong."""
    erasing.allowed(request.user)
    form = ErasureForm(request.POST if request.method == "POST" else None)
    status = 200
    if request.method == "POST":
        status = 400
        if form.is_valid():
            try:
                made = erasing.ask(actor=request.user, now=clock.now(), **form.cleaned_data)
            except Refusal as refusal:
                status = refusal.status
                form.add_error(refusal.field or None if isinstance(refusal, Invalid) else None,
                               refusal.message)  # fmt: skip
            else:
                messages.success(request, "Asked. Somebody else must agree to it.")
                return redirect("erasure", erasure_id=made.erasure_id)
    rows = erasures.newest()
    names = personal.names(row.person_id for row in rows)
    context = {
        "form": form,
        "now": clock.now(),
        "rows": [(row, names.get(row.person_id, "nobody")) for row in rows],
    }
    return render(request, "audit/erasures.html", context, status=status)


@views.page("GET")
def detail(request: PortalRequest, erasure_id: uuid.UUID) -> HttpResponse:
    """Show one erasure: what it would take, what stands in its way, and who decided."""
    return _show(request, erasure_id)


@views.page("POST")
def decide(request: PortalRequest, erasure_id: uuid.UUID) -> HttpResponse:
    """Approve or refuse as the second person, or withdraw; otherwise show the page and say why."""
    erasing.allowed(request.user)
    verdict = request.POST.get("verdict", "")
    comment = request.POST.get("comment", "")
    try:
        if verdict not in _ACTS:
            raise Invalid("Choose approve, refuse or withdraw.", field="verdict")
        _ACTS[verdict](actor=request.user, erasure_id=erasure_id, comment=comment, now=clock.now())
    except NotFound:
        raise
    except Refusal as refusal:
        return _show(request, erasure_id, refusal)
    messages.success(request, _SAID.get(verdict) or _approved())
    return redirect("erasure", erasure_id=erasure_id)


def _show(
    request: PortalRequest, erasure_id: uuid.UUID, refusal: Refusal | None = None
) -> HttpResponse:
    erasing.allowed(request.user)
    revisions = erasures.one(erasure_id)
    if not revisions:
        raise NotFound("There is no such erasure.")
    newest = revisions[-1]
    waits = newest.event in (newest.Event.ASKED, newest.Event.APPROVED)
    found = personal.find(newest.person_id) if waits else None
    context = {
        "erasure": newest,
        "revisions": revisions,
        "name": personal.names([newest.person_id]).get(newest.person_id, "nobody"),
        "found": found,
        "may_decide": newest.event == newest.Event.ASKED
        and erasing.may_decide(request.user, newest),
        "may_withdraw": newest.event == newest.Event.APPROVED
        or (newest.event == newest.Event.ASKED and newest.asked_by == request.user.uid),
        "objections": erasing.stands(newest, now=clock.now())
        if newest.event == newest.Event.APPROVED
        else [],
        "due_at": erasing.due_at(newest),
        "refusal": refusal,
        "comment": request.POST.get("comment", ""),
        "now": clock.now(),
    }
    status = refusal.status if refusal else 200
    return render(request, "audit/erasure.html", context, status=status)
