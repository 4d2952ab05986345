"""Handing over, as the inbox and a request's page offer it: what is typed, and what came of it."""

import uuid
from dataclasses import dataclass

from django.http import HttpResponse
from django.shortcuts import render

from approvals.domain.refusals import Invalid, NotFound, Refusal
from approvals.domain.states import State
from approvals.portal import views
from approvals.portal.views import PortalRequest
from approvals.selectors import chains, clock, people
from approvals.selectors import requests as reads
from approvals.selectors.handing_over import RequestHandover
from approvals.services import passing

LOGIN_MOST = 254


@dataclass
class Passing:
    """What was typed into the form, and why it was refused."""

    to: str = ""
    why: str = ""
    refusal: Refusal | None = None

    @property
    def to_error(self) -> str:
        """Return what is wrong with the person, if that is what was refused."""
        return self._about("to")

    @property
    def why_error(self) -> str:
        """Return what is wrong with the reason, if that is what was refused."""
        return self._about("why")

    def _about(self, field: str) -> str:
        refusal = self.refusal
        return refusal.message if isinstance(refusal, Invalid) and refusal.field == field else ""


def hand_over(
    request: PortalRequest, request_id: uuid.UUID, *, seen_revision: int
) -> tuple[Passing, RequestHandover | None]:
    """Do what the form asks for; return what was typed, and the handover unless it was refused.

    Raises: NotFound.
    """
    typed = Passing(request.POST.get("to", ""), request.POST.get("why", ""))
    login = typed.to.strip()
    to = None if "\0" in login or len(login) > LOGIN_MOST else people.by_login(login)
    try:
        if to is None:
            raise Invalid(
                "Nobody active has this login name or e-mail address."
                if login
                else "Write who is to decide instead of you.",
                field="to",
            )
        made = passing.hand_over(
            actor=request.user,
            request_id=request_id,
            to=to,
            comment=typed.why,
            seen_revision=seen_revision,
            now=clock.now(),
        )
    except NotFound:
        raise
    except Refusal as refusal:
        typed.refusal = refusal
        return typed, None
    return typed, made


@views.page("GET")
def takers(request: PortalRequest, request_id: uuid.UUID) -> HttpResponse:
    """Suggest who might decide instead, by what is typed; nobody to whoever may not decide now."""
    record = reads.visible(request_id, to=request.user)
    view = None
    if record.state == State.PENDING:
        view = chains.load(record, now=clock.now(), actor=request.user.pk)
    if view is None or view.refusal(request.user.pk) is not None:
        return render(request, "inbox/_takers.html", {"people": []})
    without = {record.requester_id, record.subject_id, request.user.pk, *view.electorate}
    found = people.suggest(views.text(request.GET.get("to")), without=without)
    return render(request, "inbox/_takers.html", {"people": found})


def said(made: RequestHandover) -> str:
    """Return what happened, as one sentence."""
    return f"Handed over. {made.taker_name} is asked now and told why; you may read on."
