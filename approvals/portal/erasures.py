"""Erasures of a person's content: the list, the form that asks, the second person's page."""

import uuid

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render

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
    """Approve or refuse as the second person; otherwise show the page and say why not."""
    erasing.allowed(request.user)
    verdict = request.POST.get("verdict", "")
    comment = request.POST.get("comment", "")
    try:
        if verdict not in {"approve", "refuse"}:
            raise Invalid("Choose approve or refuse.", field="verdict")
        act = erasing.approve if verdict == "approve" else erasing.refuse
        act(actor=request.user, erasure_id=erasure_id, comment=comment, now=clock.now())
    except NotFound:
        raise
    except Refusal as refusal:
        return _show(request, erasure_id, refusal)
    messages.success(
        request,
        "Approved. It is carried out within seconds; until then they can't sign in."
        if verdict == "approve"
        else "Refused.",
    )
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
        "refusal": refusal,
        "comment": request.POST.get("comment", ""),
        "now": clock.now(),
    }
    status = refusal.status if refusal else 200
    return render(request, "audit/erasure.html", context, status=status)
