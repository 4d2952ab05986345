"""Reports for compliance and operators: figures, the reports as pages, the reports as files."""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

from django.conf import settings
from django.http import FileResponse, HttpResponse, JsonResponse, StreamingHttpResponse
from django.shortcuts import render
from django.utils import timezone

from approvals.domain.refusals import Invalid, NotAllowed
from approvals.portal import reports_shelf, views
from approvals.portal.reports_form import Form
from approvals.portal.views import PortalRequest
from approvals.reports import (
    approver_patterns,
    charts,
    counting,
    documents,
    figures,
    files,
    frame,
    registry,
    spreadsheets,
)
from approvals.reports.frame import Filters, Report
from approvals.selectors import clock
from audit.selectors import state

ROWS = 50
#: A verification each night, and what it may be late.
CHECKED_WITHIN = timedelta(hours=26)
#: What of a file's facts is its query, and is recorded as such.
_QUERY = ("from", "to", "until", "as_of", "since", "timezone", "resource", "person")


def allowed(request: PortalRequest) -> None:
    """Let compliance and operators through. Raises: NotAllowed."""
    if not request.user.roles:
        raise NotAllowed(
            "Reports and the audit log are for compliance and operators. Your own requests are "
            "under My access.",
            code="not_compliance",
        )


@views.page("GET")
def index(request: PortalRequest) -> HttpResponse:
    """Show the figures of a period and every report.

    With `?counts=1` every report has its row count, as far as that is quick (`counting`): the page
    asks for the list with them once it is there.
    """
    allowed(request)
    now = clock.now()
    form = Form(request, now=now, without=frozenset({"person"}))
    context: dict[str, Any] = {"form": form, "now": now}
    fragment = views.wants_fragment(request) and form.filters is not None
    if form.filters is not None:
        is_counted = request.GET.get("counts") == "1"
        context["is_counted"] = is_counted
        counts = counting.quickly(registry.REPORTS, form.filters) if is_counted else {}
        context["reports"] = [(report, counts.get(report.id)) for report in registry.REPORTS]
        if not fragment:
            context |= _dashboard(form.filters, now=now) | reports_shelf.shelf(request)
    template = "reports/_list.html" if fragment else "reports/index.html"
    with timezone.override(form.zone):
        return render(request, template, context, status=form.status)


def _dashboard(filters: Filters, *, now: datetime) -> dict[str, Any]:
    found = figures.compute(filters, now=now, stuck_after=settings.STUCK_AFTER)
    return {
        "figures": found,
        "chart": figures.chart(filters),
        "lags": figures.lags(filters),
        "conspicuous": approver_patterns.standing_out(filters),
        "ledger": state.current(),
        "verified": (verified := state.last_verification()),
        "unchecked": verified is not None and now - verified.finished_at > CHECKED_WITHIN,
    }


@views.page("GET")
def page(request: PortalRequest, name: str) -> HttpResponse:
    """Show one report as a table, by keyset, with its figures and chart above the first rows."""
    allowed(request)
    return show(request, registry.report(name))


def show(request: PortalRequest, report: Report, *, refusal: Invalid | None = None) -> HttpResponse:
    """Return the page of a report; with a refusal also what was sent to save it, and why not."""
    now = clock.now()
    form = Form(request, now=now, report=report, data=request.POST if refusal else None)
    after = views.read_cursor(request.GET.get("after"))
    context: dict[str, Any] = {
        "report": report,
        "form": form,
        "now": now,
        "after": after,
        "refusal": refusal,
        "given": {name: request.POST.get(name, "") for name in ("name", "period")},
        "save_periods": reports_shelf.PERIODS,
    }
    fragment = views.wants_fragment(request)
    if form.filters is not None:
        rows = report.page(form.filters, after=after, limit=ROWS + 1)
        shown = [column for column in report.columns if not column.wide]
        context |= {
            "columns": shown,
            "rows": [(row.request_id, list(_shown(report, row))) for row in rows[:ROWS]],
            "next": views.cursor_text(rows[ROWS - 1].cursor) if len(rows) > ROWS else "",
            "count": report.count(form.filters) if after is None else None,
        }
        if after is None and not fragment:
            context |= {
                "report_figures": report.figures(form.filters),
                "chart": charts.of(report, form.filters),
                "pdf_most": documents.ROWS_MOST,
            }
    template = "reports/_table.html" if fragment else "reports/page.html"
    status = refusal.status if refusal else form.status
    with timezone.override(form.zone):
        return render(request, template, context, status=status)


@views.page("GET")
def csv(request: PortalRequest, name: str) -> HttpResponse:
    """Send a report as CSV, as of one moment; with `?metadata=1` what it is about, as JSON.

    Every download is recorded before it is sent. The file is pure CSV: what it is about, the number
    of its rows, the record of its download and the ledger's newest checkpoint are in its name and
    in the answer's `X-Report-` and `X-Ledger-` headers. `?cover=1` puts them into its first rows,
    for people: such a file begins with the mark by which spreadsheets know UTF-8.
    """
    report, filters, about = _asked(request, name)
    if about is not None:
        return about
    now = clock.now()
    cover = request.GET.get("cover") == "1"
    file = files.csv(
        report,
        filters,
        actor=request.user,
        query=_query(request, report, filters),
        now=now,
        cover=cover,
    )
    header = "absent" if cover else "present"  # in the first line, as RFC 4180 means it
    response = StreamingHttpResponse(file, content_type=f"text/csv; charset=utf-8; header={header}")
    _label(response, report, filters, file.facts, suffix="csv")
    return response  # type: ignore[return-value]


@views.page("GET")
def xlsx(request: PortalRequest, name: str) -> HttpResponse:
    """Send a report as a workbook, recorded as any download. Refuses what no sheet can hold."""
    report, filters, about = _asked(request, name)
    if about is not None:
        return about
    query = _query(request, report, filters)
    taken, file = spreadsheets.make(
        report, filters, actor=request.user, query=query, now=clock.now()
    )
    response = FileResponse(file, content_type=spreadsheets.CONTENT_TYPE)
    _label(response, report, filters, taken.facts, suffix="xlsx")
    return response  # type: ignore[return-value]


@views.page("GET")
def pdf(request: PortalRequest, name: str) -> HttpResponse:
    """Send a report as a PDF, recorded as any download. Refuses what is too long to read."""
    report, filters, about = _asked(request, name)
    if about is not None:
        return about
    query = _query(request, report, filters)
    taken, made = documents.make(report, filters, actor=request.user, query=query, now=clock.now())
    response = HttpResponse(made, content_type=documents.CONTENT_TYPE)
    _label(response, report, filters, taken.facts, suffix="pdf")
    return response


def _asked(request: PortalRequest, name: str) -> tuple[Report, Filters, JsonResponse | None]:
    """Return what is asked for; where only looking is meant, also the answer to that.

    Raises: NotAllowed, NotFound, Invalid.
    """
    allowed(request)
    report = registry.report(name)
    form = Form(request, now=clock.now(), report=report)
    filters = form.valid()
    if request.GET.get("metadata") != "1" and request.method != "HEAD":
        return report, filters, None
    known = files.facts(report, filters, actor=request.user, now=clock.now())
    return report, filters, JsonResponse(known | {"rows": report.count(filters)})


def _query(request: PortalRequest, report: Report, filters: Filters) -> dict[str, str]:
    known = files.facts(report, filters, actor=request.user, now=clock.now())
    return {key: str(known[key]) for key in _QUERY if known.get(key)}


def _label(
    response: Any, report: Report, filters: Filters, facts: Mapping[str, Any], *, suffix: str
) -> None:
    """Say in a file's name and headers what it is about."""
    checkpoint = str(facts["checkpoint"])
    name = files.name(report, filters, facts, suffix=suffix)
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    for key, value in facts.items():
        if key != "checkpoint":
            header = f"X-Report-{key.replace('_', '-').title()}"
            response[header] = quote(str(value), safe=" /:,.+@=-")
    response["X-Ledger-Checkpoint"] = quote(checkpoint, safe=" /:.-")
    response["X-Content-Type-Options"] = "nosniff"


def _shown(report: Report, row: frame.Row) -> Iterator[tuple[frame.Column, Any]]:
    for column, cell in zip(report.columns, row.cells, strict=True):
        if not column.wide:
            yield column, cell
