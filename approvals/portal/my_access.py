"""My access: what a person holds now and what they asked for."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from django.http import HttpResponse
from django.shortcuts import render

from approvals.domain.states import WAITING, State
from approvals.portal import views
from approvals.portal.views import PortalRequest
from approvals.selectors import clock, questions, requests, waiting
from approvals.selectors.requests import Cursor
from approvals.selectors.waiting import AccessRequest, WaitingOn
from approvals.services import provisioning

ROWS = 25


@dataclass(frozen=True)
class Card:
    """Access that is there, will be, or is about to be gone; `kind` names the target."""

    record: AccessRequest
    kind: str
    extension: AccessRequest | None = None
    """What is to prolong it and waits: there is no other beside it."""
    follows: AccessRequest | None = None
    """What it goes on from."""


@dataclass(frozen=True)
class Row:
    """One line of My requests."""

    record: AccessRequest
    waiting: WaitingOn | None
    asked_by: str
    """Who waits for an answer of the person."""


@views.page("GET")
def page(request: PortalRequest) -> HttpResponse:
    """Show the person's access and requests; to htmx only what changes, 204 while nothing did."""
    before = views.read_cursor(request.GET.get("before"))
    now = clock.now()
    opened = requests.open_of(subject=request.user)
    extensions = {record.extends: record for record in opened if record.state in WAITING}
    by_id = {record.request_id: record for record in opened}
    held = [
        Card(
            record,
            _kind(record),
            extensions.get(record.request_id),
            by_id.get(record.extends) if record.extends else None,
        )
        for record in sorted(opened, key=lambda record: record.state == State.APPROVED)
        if record.state != State.PENDING
    ]
    records = requests.mine(person=request.user, before=before, limit=ROWS + 1)
    more, records = len(records) > ROWS, records[:ROWS]
    waits = waiting.of(records, viewer=request.user.pk)
    askers = questions.askers(records)
    rows = [
        Row(record, waits.get(record.request_id), askers.get(record.request_id, ""))
        for record in records
    ]
    seen = _seen([card.record for card in held] + records, askers.values())
    fragment = views.wants_fragment(request)
    if fragment and request.GET.get("seen") == seen:
        return HttpResponse(status=204)
    context = {
        "now": now,
        "cards": held,
        "rows": rows,
        "before": before,
        "older": views.cursor_text(Cursor(records[-1].submitted_at, records[-1].request_id))
        if more
        else "",
        "seen": seen,
        "polls": before is None
        and any(record.is_open for record in [*(card.record for card in held), *records]),
    }
    template = "my_access/_live.html" if fragment else "my_access/page.html"
    return render(request, template, context)


def _kind(record: AccessRequest) -> str:
    """Return what the target is called: its own title, or its connector's."""
    resource = record.entitlement.resource
    return resource.title or provisioning.describe(resource.connector)[0]


def _seen(records: list[AccessRequest], askers: Iterable[str]) -> str:
    """Return what tells two states of the page apart."""
    text = ",".join([*(f"{record.request_id}#{record.revision}" for record in records), *askers])
    return hashlib.sha256(text.encode()).hexdigest()[:16]
