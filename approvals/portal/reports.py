"""Reports for compliance and operators: figures, the reports as pages, the reports as files."""

import re
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import Any
from urllib.parse import quote

from django.conf import settings
from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.http import urlencode

from approvals.domain.refusals import Invalid, NotAllowed
from approvals.portal import views
from approvals.portal.views import PortalRequest
from approvals.reports import figures, files, frame, registry
from approvals.reports.frame import Filters, Report
from approvals.selectors import clock, reporting, sentences

ROWS = 50
_QUERY = ("from", "to", "timezone", "resource", "person")
EARLIEST, LATEST = date(2000, 1, 1), date(2100, 12, 31)


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
    """Show the figures of a period and every report with its row count."""
    allowed(request)
    form = _Form(request, of_person=False)
    now = clock.now()
    context: dict[str, Any] = {"form": form, "now": now}
    if form.filters is not None:
        found = figures.compute(form.filters, now=now, stuck_after=settings.STUCK_AFTER)
        context |= {
            "figures": found,
            "worst_lag": sentences.short(found.worst_lag),
            "chart": figures.chart(form.filters),
            "reports": [(report, report.count(form.filters)) for report in registry.REPORTS],
        }
    return render(request, "reports/index.html", context, status=form.status)


@views.page("GET")
def page(request: PortalRequest, name: str) -> HttpResponse:
    """Show one report as a table, by keyset."""
    allowed(request)
    report = registry.report(name)
    form = _Form(request)
    after = views.read_cursor(request.GET.get("after"))
    context: dict[str, Any] = {"report": report, "form": form, "now": clock.now(), "after": after}
    if form.filters is not None:
        rows = report.page(form.filters, after=after, limit=ROWS + 1)
        shown = [column for column in report.columns if not column.wide]
        context |= {
            "columns": shown,
            "rows": [(row.request_id, list(_shown(report, row))) for row in rows[:ROWS]],
            "next": views.cursor_text(rows[ROWS - 1].cursor) if len(rows) > ROWS else "",
            "count": report.count(form.filters) if after is None else None,
        }
    fragment = views.wants_fragment(request)
    template = "reports/_table.html" if fragment else "reports/page.html"
    return render(request, template, context, status=form.status)


@views.page("GET")
def csv(request: PortalRequest, name: str) -> HttpResponse:
    """Send a report as CSV, as of one moment; with `?metadata=1` what it is about, as JSON.

    Every download is recorded before it is sent. The file is pure CSV: what it is about, the number
    of its rows, the record of its download and the ledger's newest checkpoint are in its name and
    in the answer's `X-Report-` and `X-Ledger-` headers.
    """
    allowed(request)
    report = registry.report(name)
    filters = _Form(request).valid()
    facts = _facts(request, report, filters)
    if request.GET.get("metadata") == "1" or request.method == "HEAD":
        return JsonResponse(facts | {"rows": report.count(filters)})
    query = {key: str(facts[key]) for key in _QUERY if facts[key]}
    file = files.csv(report, filters, actor=request.user, query=query, now=clock.now())
    facts |= {"rows": file.export.rows, "download": file.export.uid}
    response = StreamingHttpResponse(file, content_type="text/csv; charset=utf-8; header=present")
    stem = "_".join(
        [report.id, filters.first.isoformat(), filters.last.isoformat(),
         re.sub(r"[^A-Za-z0-9+-]", "-", facts["timezone"]), f"{facts['rows']}-rows",
         f"checkpoint-{file.export.checkpoint_size or 0}", str(file.export.uid)]
    )  # fmt: skip
    response["Content-Disposition"] = f'attachment; filename="{stem}.csv"'
    for key, value in facts.items():
        header = f"X-Report-{key.replace('_', '-').title()}"
        response[header] = quote(str(value), safe=" /:,.+@=-")
    response["X-Ledger-Checkpoint"] = quote(file.export.checkpoint, safe=" /:.-")
    return response  # type: ignore[return-value]


def _facts(request: PortalRequest, report: Report, filters: Filters) -> dict[str, Any]:
    return {
        "id": report.id,
        "title": report.title,
        "controls": ", ".join(report.controls),
        "from": filters.first.isoformat(),
        "to": filters.last.isoformat(),
        "timezone": str(filters.zone),
        "resource": filters.resource_name,
        "person": filters.person_login,
        "generated_by": request.user.username,
        "generated_at": clock.now().astimezone(filters.zone).isoformat(timespec="milliseconds"),
    }


def _shown(report: Report, row: frame.Row) -> Iterator[tuple[frame.Column, Any]]:
    for column, cell in zip(report.columns, row.cells, strict=True):
        if not column.wide:
            yield column, cell


class _Form:
    """The filters as they were typed, what is wrong with them, and the filters if nothing is."""

    def __init__(self, request: PortalRequest, *, of_person: bool = True) -> None:
        today = timezone.localdate()
        get = request.GET
        self.first = (
            views.text(get.get("from"))
            or (today - timedelta(days=frame.DEFAULT_DAYS - 1)).isoformat()
        )
        self.last = views.text(get.get("to")) or today.isoformat()
        self.resource = views.text(get.get("resource"))
        self.person = views.text(get.get("person")) if of_person else ""
        self.errors: dict[str, str] = {}
        self.filters: Filters | None = None
        self.resources = reporting.resource_names()
        try:
            self.filters = self._read()
        except Invalid as error:
            self.errors[error.field] = error.message

    @property
    def status(self) -> int:
        """Return 400 where something is wrong."""
        return 400 if self.errors else 200

    @property
    def query(self) -> str:
        """Return the filters for links."""
        chosen = {
            "from": self.first, "to": self.last, "resource": self.resource, "person": self.person
        }  # fmt: skip
        return urlencode({key: value for key, value in chosen.items() if value})

    def valid(self) -> Filters:
        """Return the filters. Raises: Invalid."""
        return self.filters or self._read()

    def _read(self) -> Filters:
        first, last = _day(self.first, "from"), _day(self.last, "to")
        if last < first:
            raise Invalid("The period ends before it begins.", field="to")
        resource = reporting.resource(self.resource) if self.resource else None
        if self.resource and resource is None:
            raise Invalid("There is no resource of that name.", field="resource")
        person = reporting.person(self.person) if self.person else None
        if self.person and person is None:
            raise Invalid("Nobody signs in by that name.", field="person")
        return Filters(
            first=first,
            last=last,
            zone=timezone.get_current_timezone(),
            resource_id=resource.pk if resource else None,
            resource_name=resource.name if resource else "",
            person_id=person.pk if person else None,
            person_login=person.username if person else "",
        )


def _day(value: str, field: str) -> date:
    try:
        day = datetime.strptime(value, "%Y-%m-%d").date()
    except ValueError as error:
        raise Invalid("Write the day as 2026-11-24.", field=field) from error
    if not EARLIEST <= day <= LATEST:
        raise Invalid("Choose a day between 2000 and 2100.", field=field)
    return day
