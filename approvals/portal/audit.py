"""The audit search: the whole history, newest first, for compliance and operators."""

from datetime import datetime, timedelta
from typing import Any

from django.http import HttpResponse
from django.shortcuts import render
from django.urls import NoReverseMatch, reverse
from django.utils.http import urlencode

from approvals.domain.refusals import Invalid
from approvals.portal import ledger, reports, views
from approvals.portal.views import PortalRequest
from approvals.selectors import clock, history, reporting
from approvals.selectors.history_entries import Entry
from approvals.selectors.history_sources import SOURCES, Position

PERIODS = {"7": "Last 7 days", "90": "Last 90 days", "all": "All time"}
DEFAULT_PERIOD = "90"


@views.page("GET")
def page(request: PortalRequest) -> HttpResponse:
    """Show what happened and matches `q`, of the kinds and the period that are chosen."""
    reports.allowed(request)
    text = views.text(request.GET.get("q"))
    kind = request.GET.get("kind", "")
    period = request.GET.get("period", "") or ("all" if not text else DEFAULT_PERIOD)
    now = clock.now()
    chosen = {"q": text, "kind": kind, "period": request.GET.get("period", "")}
    context: dict[str, Any] = {"text": text, "now": now, "chosen": chosen}
    context |= {
        "kinds": _choices(chosen, "kind", {"": "Everything"} | history.KINDS, kind),
        "periods": _choices(chosen, "period", PERIODS, period),
    }
    status = 200
    try:
        if kind not in {"", *history.KINDS}:
            raise Invalid("There is no such kind of entry.", field="kind")
        if period not in PERIODS:
            raise Invalid("There is no such period.", field="period")
        since = None if period == "all" else now - timedelta(days=int(period))
        kinds = frozenset({kind} if kind else ())
        understood = reporting.understand(text, since=since, kinds=kinds)
        before = _read_position(request.GET.get("before"))
        found = history.find(criteria=understood.criteria, before=before)
        context |= {
            "understood": understood.phrases,
            "entries": [(entry, _link(request, entry)) for entry in found.entries],
            "before": before,
            "newest": urlencode({key: value for key, value in chosen.items() if value}),
            "older": urlencode(chosen | {"before": _position_text(found.next)})
            if found.next
            else "",
        }
    except Invalid as refusal:
        context["refusal"] = refusal
        status = refusal.status
    fragment = views.wants_fragment(request)
    if not fragment:
        context |= ledger.overview(now=now)
    return render(
        request, "audit/_results.html" if fragment else "audit/page.html", context, status=status
    )


def _choices(
    chosen: dict[str, str], key: str, names: dict[str, str], current: str
) -> list[tuple[str, str, bool]]:
    """Return (query, title, is chosen) of each chip; the other choices stay as they are."""
    return [
        (
            urlencode({k: v for k, v in (chosen | {key: value}).items() if v}),
            title,
            value == current,
        )
        for value, title in names.items()
    ]


def _link(request: PortalRequest, entry: Entry) -> str:
    """Return where to look further: the request's page, or the record or history in the admin."""
    if entry.request_id is not None:
        return reverse("request", args=[entry.request_id])
    if entry.campaign_id is not None:
        return reverse("review", args=[entry.campaign_id])
    if entry.erasure_id is not None:
        return reverse("erasure", args=[entry.erasure_id])
    if not request.user.is_operator:
        return ""
    if entry.is_record:
        return reverse(f"admin:approvals_{entry.kind}_change", args=[entry.object_id])
    try:
        return reverse(f"admin:approvals_{entry.kind}_history", args=[entry.object_id])
    except NoReverseMatch:
        return ""


def _position_text(position: Position | None) -> str:
    if position is None:
        return ""
    return f"{position.at.isoformat()}~{position.rank}~{position.id}"


def _read_position(value: str | None) -> Position | None:
    """Return the position of a link. Raises: Invalid."""
    if not value:
        return None
    try:
        at, rank, key = value.split("~")
        position = Position(datetime.fromisoformat(at), int(rank), int(key))
    except ValueError as error:
        raise Invalid("This link to older entries is broken. Start from the newest.") from error
    if (
        position.at.tzinfo is None
        or position.rank not in range(len(SOURCES))
        or not (0 <= position.id < 2**63)
    ):
        raise Invalid("This link to older entries is broken. Start from the newest.")
    return position
