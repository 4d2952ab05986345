"""Ending everything of one person: whose, what that is, why, and once more whether it is meant."""

from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.http import urlencode

from approvals.directory.models import User
from approvals.domain.refusals import Invalid, NotAllowed, Refusal
from approvals.portal import repeats, views
from approvals.portal.views import PortalRequest
from approvals.selectors import clock, people
from approvals.selectors import requests as reads
from approvals.services import grants


@views.page("GET", "POST")
@repeats.once
def page(request: PortalRequest) -> HttpResponse:
    """Show what a person holds and waits for, and end it when posted; 4xx with what is wrong.

    The login name is typed once more to confirm, so that a wrong click ends nothing.
    """
    if not request.user.roles:
        raise NotAllowed("This is for compliance and operators.", code="not_compliance")
    given = request.POST if request.method == "POST" else request.GET
    login = views.text(given.get("person"))
    person = people.of_login(login) if login else None
    problem = f"Nobody has the login name or e-mail address “{login}”." if login else ""
    context: dict[str, Any] = {"login": login, "problem": "" if person else problem}
    status = 200
    if request.method == "POST":
        try:
            done = _end(request, person)
        except Refusal as refusal:
            context["refusal"], status = refusal, refusal.status
        else:
            messages.success(request, done)
            return redirect(f"{request.path}?{urlencode({'person': login})}")
    if person is not None:
        context |= {"person": person, "rows": reads.open_of(subject=person)}
    context |= {"reason": request.POST.get("reason", ""), "now": clock.now()}
    return render(request, "reports/end_all.html", context, status=status)


def _end(request: PortalRequest, person: User | None) -> str:
    """End everything and say what that was. Raises: Refusal."""
    if person is None:
        raise Invalid("Name the person whose access is to end.", field="person")
    if views.text(request.POST.get("confirm")).lower() != person.get_username().lower():
        raise Invalid(
            f"Type {person.get_username()} into the last field to confirm it.", field="confirm"
        )
    found = grants.end_all(
        person=person, actor=request.user, reason=request.POST.get("reason", ""), now=clock.now()
    )
    if not (found.ended or found.cancelled):
        return f"{person.get_full_name()} had nothing to end."
    return (
        f"{len(found.ended)} of {person.get_full_name()}'s accesses are being removed, "
        f"{len(found.cancelled)} requests are cancelled."
    )
