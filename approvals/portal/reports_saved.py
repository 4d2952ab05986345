"""Saved reports: saving one, its page with schedule and runs, and what its owner does with it."""

from collections.abc import Callable, Mapping
from typing import Any

from django.contrib import messages
from django.http import HttpResponse, QueryDict
from django.shortcuts import redirect, render

from approvals.domain.periods import MONTH_DAY_MOST, Frequency
from approvals.domain.refusals import Invalid, NotFound, Refusal
from approvals.portal import reports, views
from approvals.portal.reports_form import Form
from approvals.portal.reports_shelf import TONES, WEEKDAYS, rhythm, title_of
from approvals.portal.views import PortalRequest
from approvals.reports import registry, saved, schedules
from approvals.reports.schedules import Terms
from approvals.selectors import clock
from approvals.selectors import report_schedules as reads


@views.page("POST")
def save(request: PortalRequest, name: str) -> HttpResponse:
    """Keep a report with the filters it was shown with; a refusal shows what was typed again."""
    reports.allowed(request)
    report = registry.report(name)
    now = clock.now()
    form = Form(request, now=now, report=report, data=request.POST)
    try:
        made = saved.save(
            actor=request.user,
            name=views.text(request.POST.get("name")),
            report=report,
            period=request.POST.get("period", ""),
            filters=form.valid(),
            now=now,
        )
    except Invalid as refusal:
        return reports.show(request, report, refusal=refusal)
    messages.success(request, f"Saved as “{made.name}”.")
    return redirect("saved_report", made.pk)


@views.page("GET", "POST")
def page(request: PortalRequest, saved_id: int) -> HttpResponse:
    """Show a saved report with its schedule and runs; take the form of the schedule."""
    reports.allowed(request)
    if request.method != "POST":
        return _page(request, saved_id)
    try:
        schedule = schedules.put(
            actor=request.user, saved_id=saved_id, terms=_terms(request.POST), now=clock.now()
        )
    except Invalid as refusal:
        return _page(request, saved_id, refusal=refusal)
    if schedule.is_paused:
        messages.success(request, "The schedule is changed. It is still paused.")
    else:
        messages.success(request, f"Scheduled: {rhythm(schedule)}.")
    return redirect("saved_report", saved_id)


def _terms(data: QueryDict) -> Terms:
    return Terms(
        frequency=data.get("frequency", ""),
        weekday=_number(data.get("weekday")),
        month_day=_number(data.get("month_day")),
        hour=_number(data.get("hour")),
        format=data.get("format", ""),
        recipients=tuple(
            number
            for text in data.getlist("recipients")[: schedules.RECIPIENTS_MOST + 1]
            if (number := _number(text)) is not None
        ),
    )


def _number(text: str | None) -> int | None:
    """Return a number of at most nine digits, None for anything else."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 10 else None


def _page(
    request: PortalRequest,
    saved_id: int,
    *,
    refusal: Invalid | None = None,
    name_refusal: Invalid | None = None,
) -> HttpResponse:
    """Return the page; with a refusal of the schedule or the name what was sent of it, and why."""
    now = clock.now()
    found, schedule = schedules.visible(actor=request.user, saved_id=saved_id)
    is_owner = found.person_id == request.user.pk
    given: Mapping[str, Any] = {"frequency": "weekly", "weekday": 0, "month_day": 1, "hour": 8,
                                "format": "csv", "recipients": [request.user.pk]}  # fmt: skip
    if refusal is not None:
        given = vars(_terms(request.POST))
    elif schedule is not None:
        given = {name: getattr(schedule, name) for name in given}
    readers = reads.readers()
    recipients = set(schedule.recipients if schedule else ())
    context = {
        "saved": found,
        "title": title_of(found.report),
        "period": saved.period_of(found.query),
        "link": saved.opened(report=found.report, query=found.query, now=now),
        "schedule": schedule,
        "rhythm": rhythm(schedule) if schedule else "",
        "runs": [(run, TONES[run.newest.event]) for run in reads.runs(schedule.uid)]
        if schedule
        else [],
        "runs_most": reads.RUNS_SHOWN,
        "is_owner": is_owner,
        "given": given,
        "refusal": refusal,
        "name": request.POST.get("name", "") if name_refusal else found.name,
        "name_refusal": name_refusal,
        "readers": readers,
        "recipients": [person for person in readers if person.pk in recipients],
        "frequencies": [(str(each), each.value.capitalize()) for each in Frequency],
        "formats": schedules.FORMATS,
        "weekdays": list(enumerate(WEEKDAYS)),
        "month_days": range(1, MONTH_DAY_MOST + 1),
        "hours": [(hour, f"{hour:02}:00") for hour in range(24)],
        "now": now,
    }
    wrong = refusal or name_refusal
    status = wrong.status if wrong else 200
    return render(request, "reports/saved.html", context, status=status)


@views.page("POST")
def rename(request: PortalRequest, saved_id: int) -> HttpResponse:
    """Give a saved report of one's own another name; a refusal shows what was typed again."""
    reports.allowed(request)
    name = views.text(request.POST.get("name"))
    try:
        made = saved.rename(actor=request.user, saved_id=saved_id, name=name, now=clock.now())
    except Invalid as refusal:
        return _page(request, saved_id, name_refusal=refusal)
    messages.success(request, f"It is called “{made.name}” now.")
    return redirect("saved_report", saved_id)


@views.page("POST")
def remove(request: PortalRequest, saved_id: int) -> HttpResponse:
    """Remove a saved report of one's own, with its schedule. Raises: NotFound."""
    reports.allowed(request)
    schedules.forget(actor=request.user, saved_id=saved_id)
    messages.success(request, "The saved report is removed.")
    return redirect("reports")


@views.page("POST")
def change(request: PortalRequest, saved_id: int, what: str) -> HttpResponse:
    """Pause, resume, run or remove a schedule. Raises: NotFound, NotAllowed."""
    reports.allowed(request)
    actor, now = request.user, clock.now()

    def call() -> str:
        if what == "pause":
            schedules.pause(actor=actor, saved_id=saved_id)
            return "The schedule is paused."
        if what == "resume":
            schedules.resume(actor=actor, saved_id=saved_id, now=now)
            return "The schedule runs again from its next moment."
        if what == "run":
            schedules.run_now(actor=actor, saved_id=saved_id, now=now)
            return "It runs now. The mails come in a moment."
        if what == "unschedule":
            schedules.remove(actor=actor, saved_id=saved_id)
            return "The schedule is removed. Its runs stay on record."
        raise NotFound("There is nothing like that to do.")

    return _told(request, saved_id, call)


def _told(request: PortalRequest, saved_id: int, call: Callable[[], str]) -> HttpResponse:
    """Do it and say so, or say why not, on the page of the saved report."""
    try:
        messages.success(request, call())
    except NotFound:
        raise
    except Refusal as refusal:
        if refusal.status == 403:
            raise
        messages.error(request, refusal.message)
    try:
        schedules.visible(actor=request.user, saved_id=saved_id)
    except NotFound:  # compliance has removed the schedule, and sees no more of what is another's
        return redirect("reports")
    return redirect("saved_report", saved_id)
