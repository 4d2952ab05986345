"""Saved reports: a report and its filters under a name, for one person, and what they mean when.

They are a person's own, no records, and go with them. Where one is scheduled, its schedule says the
same as it does, in the same transaction, so that the schedule's history tells what was sent.
"""

import zoneinfo
from collections.abc import Mapping
from datetime import date, datetime

from django.conf import settings
from django.db import transaction
from django.urls import reverse
from django.utils.http import urlencode

from approvals.domain import periods
from approvals.domain.periods import Period
from approvals.domain.refusals import Invalid, NotFound
from approvals.models import ReportSchedule, SavedReport, User
from approvals.reports import frame, registry
from approvals.reports.frame import Filters, Report
from approvals.selectors import reporting

NAME_MOST = 60
SAVED_MOST = 50


@transaction.atomic
def save(
    *, actor: User, name: str, report: Report, period: str, filters: Filters, now: datetime
) -> SavedReport:
    """Keep a report with its filters under a name.

    Reports of one moment are as of the run, and look back to the first day of the period where they
    look back; the days of `filters` count for a fixed period alone.
    Raises: Invalid without a name, for one that is taken, a wrong period, or one too many.
    """
    name = _name(name)
    if report.as_of and not report.since:
        period = Period.MOMENT
    elif period not in set(Period) - {Period.MOMENT}:
        raise Invalid("Choose a period.", field="period")
    query = {"period": str(period)} | texts(report, filters)
    if period != Period.FIXED:
        query = {key: text for key, text in query.items() if key not in ("from", "to", "at")}
    User.objects.select_for_update().only("pk").get(pk=actor.pk)  # two at once count each other
    mine = SavedReport.objects.filter(person=actor)
    if mine.filter(name=name).exists():
        raise Invalid(f"You have a saved report “{name}” already.", field="name")
    if mine.count() >= SAVED_MOST:
        raise Invalid(f"You have {SAVED_MOST} saved reports already. Remove one first.")
    return SavedReport.objects.create(
        person=actor, name=name, report=report.id, query=query, created_at=now
    )


@transaction.atomic
def rename(*, actor: User, saved_id: int, name: str, now: datetime) -> SavedReport:
    """Give one of the person's saved reports, and its schedule, another name.

    Raises: NotFound, Invalid.
    """
    saved = own(actor=actor, saved_id=saved_id)
    name = _name(name)
    if SavedReport.objects.filter(person=actor, name=name).exclude(pk=saved.pk).exists():
        raise Invalid(f"You have a saved report “{name}” already.", field="name")
    saved.name = name
    saved.save(update_fields=["name"])
    schedule = ReportSchedule.objects.select_for_update().filter(saved=saved).first()
    if schedule is not None and schedule.name != name:
        schedule.name = name
        schedule._history_user = actor  # type: ignore[attr-defined]
        schedule.save()
    return saved


def own(*, actor: User, saved_id: int) -> SavedReport:
    """Return one of the person's own, locked. Raises: NotFound."""
    saved = SavedReport.objects.select_for_update().filter(pk=saved_id, person=actor).first()
    if saved is None:
        raise NotFound("You have no such saved report.")
    return saved


def _name(name: str) -> str:
    name = " ".join(name.split())
    if not name or "\0" in name or len(name) > NAME_MOST:
        raise Invalid(f"Give the report a name of at most {NAME_MOST} characters.", field="name")
    return name


def filters_at(*, report: Report, query: Mapping[str, str], at: datetime) -> Filters:
    """Return what a saved report is about at a moment. Raises: Invalid where a name is no more."""
    zone = _zone(query.get("timezone", ""))
    first, last = _days(query, today=at.astimezone(zone).date())
    chosen = _filters(query, first, last, zone)
    if chosen.start > at and (report.since or not report.as_of):
        raise Invalid("That period has not begun.", field="from")
    return frame.at(chosen, at if report.as_of else min(chosen.end, at))


def texts(report: Report, filters: Filters) -> dict[str, str]:
    """Return fixed filters as texts, as links and runs have them; `filters_of` reads them."""
    found = {
        "from": filters.first.isoformat(),
        "to": filters.last.isoformat(),
        "at": filters.moment.isoformat(),
        "timezone": str(filters.zone),
        "resource": filters.resource_name,
        "person": filters.person_login,
    }
    left = report.without
    return {key: text for key, text in found.items() if text and key not in left}


def filters_of(fixed: Mapping[str, str]) -> Filters:
    """Return the filters that `texts` gave. Raises: Invalid where a name is no more."""
    try:
        first, last = date.fromisoformat(fixed["from"]), date.fromisoformat(fixed["to"])
        at = datetime.fromisoformat(fixed["at"])
    except (KeyError, ValueError) as error:
        raise Invalid("What this run was about is not known any more.") from error
    return frame.at(_filters(fixed, first, last, _zone(fixed.get("timezone", ""))), at)


def _filters(query: Mapping[str, str], first: date, last: date, zone: zoneinfo.ZoneInfo) -> Filters:
    resource = reporting.resource(query["resource"]) if query.get("resource") else None
    if query.get("resource") and resource is None:
        raise Invalid(f"There is no resource “{query['resource']}” any more.", field="resource")
    person = reporting.person(query["person"]) if query.get("person") else None
    if query.get("person") and person is None:
        raise Invalid(f"Nobody signs in as “{query['person']}” any more.", field="person")
    return Filters(
        first=first,
        last=last,
        zone=zone,
        resource_id=resource.pk if resource else None,
        resource_name=resource.name if resource else "",
        person_id=person.pk if person else None,
        person_login=person.username if person else "",
    )


def _days(query: Mapping[str, str], *, today: date) -> tuple[date, date]:
    period = Period(query["period"])
    if period is not Period.FIXED:
        return periods.days(period, today=today)
    return date.fromisoformat(query["from"]), date.fromisoformat(query["to"])


def _zone(name: str) -> zoneinfo.ZoneInfo:
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError) as error:
        raise Invalid(f"There is no timezone “{name}”.", field="timezone") from error


def period_of(query: Mapping[str, str]) -> str:
    """Return a saved report's period as people read it."""
    if query["period"] == Period.FIXED:
        return f"{query['from']} – {query['to']}"
    return periods.TITLES[Period(query["period"])]


def opened(*, report: str, query: Mapping[str, str], now: datetime) -> str:
    """Return the path of the page that shows a saved report as it is now; asks no database."""
    zone = _zone(query.get("timezone", ""))
    first, last = _days(query, today=now.astimezone(zone).date())
    kept = {key: query[key] for key in ("timezone", "resource", "person") if query.get(key)}
    days = {"from": first.isoformat(), "to": last.isoformat()}
    return f"{reverse('report', args=[report])}?{urlencode(days | kept)}"


def address(*, report: str, fixed: Mapping[str, str]) -> str:
    """Return the whole address of the page that makes a report with these fixed filters."""
    names: tuple[str, ...] = ("from", "to", "timezone", "resource", "person")
    if registry.report(report).as_of:
        names = ("at", *names)
    query = {name: fixed[name] for name in names if name in fixed}
    return f"{settings.PORTAL_URL}{reverse('report', args=[report])}?{urlencode(query)}"
