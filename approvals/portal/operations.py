"""Operations: which processes live, what is wrong, what waits and what fails; retry it.

Compliance may read; operators may have failing work tried again.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import urlencode

from approvals.domain.refusals import Invalid, NotAllowed
from approvals.portal import views
from approvals.portal.views import PortalRequest
from approvals.selectors import clock, failing, lanes, processes
from approvals.services import operations, process_words
from audit.selectors import log as ledger
from audit.selectors import staleness

ROWS = 100
OVER = 5
_TITLES = {
    "beat": "Beat",
    "standby": "Beat, standing by",
    **{lane: f"Worker of {lane}" for lane in processes.QUEUES},
}


@dataclass(frozen=True)
class Process:
    """One line of the list of processes; `name` is empty for one that was never seen."""

    title: str
    name: str = ""
    version: str = ""
    started_at: datetime | None = None
    beat_at: datetime | None = None
    is_alive: bool = False


@dataclass(frozen=True)
class Trouble:
    """An incident with what it means and what to do."""

    incident: processes.Incident
    words: process_words.Words

    @property
    def lasted(self) -> timedelta:
        """Return how long it was open."""
        return (self.incident.closed_at or self.incident.opened_at) - self.incident.opened_at


@views.page("GET")
def page(request: PortalRequest) -> HttpResponse:
    """Show how the portal does; to htmx only what changes, 204 while nothing did."""
    if not request.user.roles:
        raise NotAllowed("This page is for operators and compliance.", code="not_operator")
    now = clock.now()
    target = views.text(request.GET.get("target"))
    after = _read_place(request.GET.get("after"))
    rows = failing.rows(target=target, after=after, limit=ROWS + 1)
    states = processes.states(now=now)
    context: dict[str, Any] = {
        "now": now,
        "processes": _processes(now),
        "undelivered": {_TITLES[kind]: state for kind, state in states.items()
                        if state.startswith("lives")},
        "open": [_trouble(it) for it in processes.open_incidents()],
        "over": [_trouble(it) for it in processes.newest_incidents(limit=OVER)],
        "lanes": lanes.states(now=now),
        "counted_most": lanes.COUNTED_MOST,
        "stale": staleness.stale(now),
        "checkpoint": _checkpoint(),
        "rows": rows[:ROWS],
        "next": _place_text(rows[ROWS - 1].place) if len(rows) > ROWS else "",
        "targets": failing.targets(),
        "target": target,
        "after": after,
    }  # fmt: skip
    seen = _seen(context, now)
    fragment = views.wants_fragment(request)
    if fragment and request.GET.get("seen") == seen:
        return HttpResponse(status=204)
    again = {"target": target, "seen": seen}
    context |= {"polls": after is None, "again": f"{reverse('operations')}?{urlencode(again)}"}
    template = "operations/_live.html" if fragment else "operations/page.html"
    return render(request, template, context)


@views.page("POST")
def retry(request: PortalRequest) -> HttpResponse:
    """Have one piece of failing work tried now; for operators."""
    given = request.POST.get("item", "")
    items = [int(given)] if given.isascii() and given.isdigit() and len(given) < 19 else []
    if operations.try_again(items=items, actor=request.user, now=clock.now()):
        messages.success(request, "It will be tried now.")
    else:
        messages.info(request, "It is being tried already, or it is done.")
    target = views.text(request.POST.get("target"))
    query = f"?{urlencode({'target': target})}" if target else ""
    return redirect(f"{reverse('operations')}{query}")


def _processes(now: datetime) -> list[Process]:
    """Return every process that is known, and a line for each kind that was never seen."""
    rows = [row for row in processes.rows() if row.kind in _TITLES]
    found = [
        Process(
            _TITLES[row.kind],
            row.name,
            row.version,
            row.started_at,
            row.beat_at,
            now - row.beat_at <= settings.WATCH_SILENT,
        )
        for row in rows
    ]
    known = {row.kind for row in rows}
    missing = [kind for kind in _TITLES if kind not in known and kind != processes.STANDBY]
    order = list(_TITLES.values())
    found += [Process(_TITLES[kind]) for kind in missing]
    return sorted(found, key=lambda line: (order.index(line.title), not line.is_alive, line.name))


def _trouble(incident: processes.Incident) -> Trouble:
    return Trouble(incident, process_words.about(incident.kind))


def _checkpoint() -> Any:
    log = ledger.current()
    return ledger.newest_checkpoint(log) if log else None


def _seen(context: dict[str, Any], now: datetime) -> str:
    """Return what tells two states of the page apart; ages are shown anew every minute."""
    parts = [
        f"{now:%H:%M}",
        *(f"{line.title}{line.name}{line.is_alive}" for line in context["processes"]),
        *(str(trouble.incident.pk) for trouble in context["open"] + context["over"]),
        *(f"{lane.due}/{lane.failing}" for lane in context["lanes"]),
        *(f"{row.id}#{row.attempts}#{row.being_tried}" for row in context["rows"]),
        str(context["stale"] is None),
        str(context["undelivered"]),
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _place_text(place: failing.Place) -> str:
    return f"{place.rank}~{place.at.isoformat()}~{place.id}"


def _read_place(value: str | None) -> failing.Place | None:
    """Return the place of a link, None without one. Raises: Invalid."""
    if not value:
        return None
    try:
        rank, at, key = value.split("~")
        place = failing.Place(int(rank), datetime.fromisoformat(at), int(key))
        if place.at.tzinfo is None or not 0 <= place.rank <= 9 or not 0 <= place.id < 2**63:
            raise ValueError(value)
    except ValueError as error:
        raise Invalid("This link to the next rows is broken. Start from the first page.") from error
    return place
