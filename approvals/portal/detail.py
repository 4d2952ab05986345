"""One request: its history, its facts, who decides next, how to use it, how to end it."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render

from approvals.domain.refusals import Invalid, NotFound, Refusal
from approvals.domain.states import State
from approvals.portal import passing, proofs, repeats, views
from approvals.portal.views import PortalRequest
from approvals.selectors import chains, clock, due, timeline
from approvals.selectors import questions as asked
from approvals.selectors import requests as reads
from approvals.selectors.timeline import AccessRequest
from approvals.services import (
    grants,
    handover,
    notice_centre,
    provisioning,
    questions,
    requests,
)
from audit.selectors import erasures


@dataclass
class Typed:
    """A text that was not sent: a question (`to` is 0) or an answer to one, and what is wrong."""

    text: str
    to: int = 0
    error: str = ""


@views.page("GET")
def page(request: PortalRequest, request_id: uuid.UUID) -> HttpResponse:
    """Show the request to whom it concerns; 404 for everybody else.

    What told them about it is read by that.
    """
    record = reads.visible(request_id, to=request.user)
    context = _context(request, record)
    history: timeline.History = context["history"]
    # A link that is only looked at reads nothing.
    if request.method == "GET" and request.user.pk in history.unread_by:
        notice_centre.read_about(request_id, actor=request.user, now=history.now)
    return render(request, "request/page.html", context)


@views.page("GET")
def status(request: PortalRequest, request_id: uuid.UUID) -> HttpResponse:
    """Return what of the page changes by itself; 204 while it is as the page has it."""
    record = reads.visible(request_id, to=request.user)
    mark = timeline.mark(request_id, revision=record.revision)
    if request.GET.get("seen") == mark:
        return HttpResponse(status=204)
    return render(request, "request/_live.html", _context(request, record, mark=mark))


@views.page("POST")
@repeats.once
def cancel(request: PortalRequest, request_id: uuid.UUID) -> HttpResponse:
    """Withdraw a request that is not access yet; otherwise show it and say why not."""
    record = reads.visible(request_id, to=request.user)
    try:
        requests.cancel(
            actor=request.user,
            request_id=request_id,
            comment=request.POST.get("comment", ""),
            now=clock.now(),
        )
    except NotFound:
        raise
    except Refusal as refusal:
        return _refused(request, record, refusal)
    messages.success(request, f"{record.access_name} is cancelled.")
    return _back(request, request_id)


@views.page("POST")
@repeats.once
def end(request: PortalRequest, request_id: uuid.UUID) -> HttpResponse:
    """End active access before its time; otherwise show the request and say why not."""
    record = reads.visible(request_id, to=request.user)
    try:
        grants.end(
            actor=request.user,
            request_id=request_id,
            comment=request.POST.get("comment", "").strip(),
            now=clock.now(),
        )
    except NotFound:
        raise
    except Refusal as refusal:
        return _refused(request, record, refusal)
    messages.success(
        request, f"{record.access_name} is being removed; it is gone once the target confirms it."
    )
    return _back(request, request_id)


@views.page("POST")
@repeats.once
def ask(request: PortalRequest, request_id: uuid.UUID) -> HttpResponse:
    """Put a question to who asked for the access; a refusal shows what was typed again."""
    record = reads.visible(request_id, to=request.user)
    typed = Typed(request.POST.get("question", ""))
    try:
        questions.ask(actor=request.user, request_id=request_id, text=typed.text, now=clock.now())
    except NotFound:
        raise
    except Refusal as refusal:
        return _refused(request, record, refusal, typed=typed)
    messages.success(request, "Your question is sent. You are told when it is answered.")
    return redirect("request", request_id=request_id)


@views.page("POST")
@repeats.once
def answer(request: PortalRequest, request_id: uuid.UUID) -> HttpResponse:
    """Answer a question of an approver; a refusal shows what was typed again."""
    record = reads.visible(request_id, to=request.user)
    number = request.POST.get("question", "")
    is_number = number.isascii() and number.isdigit() and len(number) <= 4
    typed = Typed(request.POST.get("answer", ""), to=int(number) if is_number else -1)
    try:
        questions.answer(
            actor=request.user,
            request_id=request_id,
            question=typed.to,
            text=typed.text,
            now=clock.now(),
        )
    except NotFound:
        raise
    except Refusal as refusal:
        return _refused(request, record, refusal, typed=typed)
    messages.success(request, "Your answer is sent to those who decide.")
    return redirect("request", request_id=request_id)


@views.page("POST")
@repeats.once
def hand_over(request: PortalRequest, request_id: uuid.UUID) -> HttpResponse:
    """Give the person's place to another; a refusal shows what was typed again."""
    record = reads.visible(request_id, to=request.user)
    seen = request.POST.get("seen_revision", "")
    is_number = seen.isascii() and seen.isdigit() and len(seen) <= 9
    typed, made = passing.hand_over(
        request, request_id, seen_revision=int(seen) if is_number else 0
    )
    if made is not None:
        messages.success(request, passing.said(made))
        return redirect("request", request_id=request_id)
    assert typed.refusal is not None
    record = reads.current(record.request_id)
    context = _context(request, record) | {"passing": typed}
    if not (typed.to_error or typed.why_error) or not context["may_decide"]:
        context["refusal"] = typed.refusal
    return render(request, "request/page.html", context, status=typed.refusal.status)


def _back(request: PortalRequest, request_id: uuid.UUID) -> HttpResponse:
    """Return to where the button was: My access or the request's own page, nowhere else."""
    if request.POST.get("back") == "my_access":
        return redirect("my_access")
    return redirect("request", request_id=request_id)


def _refused(
    request: PortalRequest, record: AccessRequest, refusal: Refusal, typed: Typed | None = None
) -> HttpResponse:
    """Show the request as it stands by now, with the refusal, its status, and what was typed.

    What is wrong with a text stands beside its field, where there is one still.
    """
    record = reads.current(record.request_id)
    context = _context(request, record) | {"refusal": refusal, "typed": typed}
    if typed is not None and isinstance(refusal, Invalid) and _has_field(context, typed):
        typed.error = refusal.message
        del context["refusal"]
    return render(request, "request/page.html", context, status=refusal.status)


def _has_field(context: dict[str, Any], typed: Typed) -> bool:
    """Return whether the page has the form that the text was typed in."""
    found: asked.Conversation = context["conversation"]
    if typed.to == 0:
        return bool(context["may_decide"]) and found.takes_questions
    fields = {each.number for each in found.questions if each.takes_answers}
    return bool(context["may_answer"]) and found.takes_messages and typed.to in fields


def _erased(record: AccessRequest, history: timeline.History) -> Mapping[str, int | None]:
    """Return which fields were erased, and by which entry (a query only where one was)."""
    texts = {record.reason, record.ticket, *(line.quote for line in history.lines)}
    if erasures.ERASED not in texts:
        return {}
    return erasures.of("request", str(record.request_id))


def _context(
    request: PortalRequest, record: AccessRequest, *, mark: str | None = None
) -> dict[str, Any]:
    """Return everything that the page shows (with the frame at most twelve queries)."""
    user = request.user
    history = timeline.load(record)
    pending, active = record.state == State.PENDING, record.state == State.ACTIVE
    view = chains.load(record, now=history.now) if pending else None
    own = user.pk in (record.requester_id, record.subject_id)
    connector = record.target.get("connector", "") if record.target else ""
    return {
        "now": history.now,
        "history": history,
        "view": view,
        "own": own,
        "may_decide": view is not None and view.refusal(user.pk) is None,
        "may_cancel": record.state in (State.PENDING, State.APPROVED)
        and requests.may_cancel(user, record),
        "starts_at": due.start_of(record.request_id) if record.state == State.APPROVED else None,
        "may_end": active and grants.may_end(user, record),
        "may_extend": active and own and not any(row.is_open for row in history.extensions),
        "steps": provisioning.how_to_connect(record)
        if active and user.pk == record.subject_id
        else [],
        "handed": active
        and user.pk == record.subject_id
        and handover.waits(request_id=record.request_id),
        "ends_at_target": active and provisioning.ends_at_target(connector),
        "seen": mark or history.mark(record.revision),
        "polls": record.is_open,
        "conversation": asked.conversation(record, history.messages),
        "may_answer": asked.may_answer(user, record),
        "first_name": asked.first_name(record),
        "erased": _erased(record, history),
    } | proofs.context(request, record)
