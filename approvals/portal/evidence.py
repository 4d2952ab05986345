"""The evidence pack: a form that says what will be in it, and the archive."""

from typing import Any
from urllib.parse import quote

from django.http import FileResponse, HttpResponse
from django.shortcuts import render
from django.utils import timezone

from approvals.domain.refusals import Invalid
from approvals.portal import reports, views
from approvals.portal.reports_form import Form
from approvals.portal.views import PortalRequest
from approvals.reports import evidence, registry, sampling
from approvals.reports.evidence import Order
from approvals.reports.frame import Filters, Report
from approvals.selectors import clock


@views.page("GET", "POST")
def page(request: PortalRequest) -> HttpResponse:
    """Show what a pack can hold; a POST makes it and sends it, recorded as a download."""
    reports.allowed(request)
    now = clock.now()
    posted = request.POST if request.method == "POST" else None
    form = Form(request, now=now, data=posted)
    names = _names(request)
    size, seed = _typed(request, "size"), _typed(request, "seed")
    if posted is not None and form.filters is not None:
        try:
            order = _order(form.filters, names, size=size, seed=seed)
        except Invalid as error:
            form.errors[error.field] = error.message
        else:
            return _send(request, order, now=now)
    context: dict[str, Any] = {
        "form": form,
        "now": now,
        "reports": [(report, report.id in names) for report in registry.REPORTS],
        "size": size or sampling.SIZE,
        "size_most": sampling.SIZE_MOST,
        "seed": seed or evidence.new_seed(),
        "seed_most": sampling.SEED_MOST,
    }
    with timezone.override(form.zone):
        return render(request, "reports/evidence.html", context, status=form.status)


def _names(request: PortalRequest) -> frozenset[str]:
    """Return the reports that are ticked; all of them on a form that was not sent yet."""
    if request.method == "POST":
        return frozenset(request.POST.getlist("report"))
    return frozenset(report.id for report in registry.REPORTS)


def _typed(request: PortalRequest, key: str) -> str:
    return views.text(request.POST.get(key) or request.GET.get(key))


def _order(filters: Filters, names: frozenset[str], *, size: str, seed: str) -> Order:
    """Return the order for a pack. Raises: Invalid."""
    chosen: tuple[Report, ...] = tuple(it for it in registry.REPORTS if it.id in names)
    if not chosen:
        raise Invalid("Choose one report at least.", field="report")
    if not (size.isascii() and size.isdigit() and 1 <= int(size[:9]) <= sampling.SIZE_MOST):
        raise Invalid(f"Choose a number from 1 to {sampling.SIZE_MOST}.", field="size")
    if not sampling.SEED.fullmatch(seed):
        raise Invalid(
            f"Write a seed of 1 to {sampling.SEED_MOST} letters, digits and . _ - only.",
            field="seed",
        )
    query = {
        "from": filters.first.isoformat(),
        "to": filters.last.isoformat(),
        "timezone": str(filters.zone),
        "resource": filters.resource_name,
        "person": filters.person_login,
        "reports": ", ".join(report.id for report in chosen),
        "sample": size,
        "seed": seed,
    }
    return Order(
        chosen, filters, seed, int(size), {key: value for key, value in query.items() if value}
    )


def _send(request: PortalRequest, order: Order, *, now: Any) -> HttpResponse:
    pack = evidence.make(order, actor=request.user, now=now)
    response = FileResponse(pack.file, content_type="application/zip")
    response["Content-Disposition"] = f'attachment; filename="{pack.name}"'
    response["X-Report-Download"] = str(pack.export.uid)
    response["X-Ledger-Checkpoint"] = quote(pack.export.checkpoint, safe=" /:.-")
    response["X-Content-Type-Options"] = "nosniff"
    return response  # type: ignore[return-value]
