"""Schedules of saved reports: who may change them, and how their planned moments become runs.

A run begins once for a planned moment: its record, the work of sending it and the schedule's next
moment are one transaction, under the schedule's lock. What is sent is `sending`.
"""

import zoneinfo
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog
from django.db import transaction

from approvals.domain.periods import MONTH_DAY_MOST, Frequency, Rule
from approvals.domain.refusals import Invalid, NotAllowed, NotFound, Refusal, Settled
from approvals.models import ReportRun, ReportSchedule, SavedReport, User
from approvals.outbox import queue
from approvals.reports import registry, saved
from approvals.selectors import report_schedules as reads

log = structlog.get_logger(__name__)

TOPIC, LANE = "report.run", "notices"
RECIPIENTS_MOST = 50
FORMATS = ReportSchedule.Format.choices


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What a schedule is to be, as it was typed. `recipients` are the numbers of people."""

    frequency: str
    weekday: int | None
    month_day: int | None
    hour: int | None
    format: str
    recipients: tuple[int, ...]


@transaction.atomic
def put(*, actor: User, saved_id: int, terms: Terms, now: datetime) -> ReportSchedule:
    """Schedule one of the actor's saved reports, or change its schedule; a paused one stays so.

    Raises: NotFound, Invalid.
    """
    report = saved.own(actor=actor, saved_id=saved_id)
    values = _checked(terms)
    schedule = ReportSchedule.objects.select_for_update().filter(saved=report).first()
    if schedule is None:
        schedule = ReportSchedule(saved=report, owner=actor, created_at=now)
    schedule.name, schedule.report, schedule.query = report.name, report.report, report.query
    for field, value in values.items():
        setattr(schedule, field, value)
    schedule.next_at = None if schedule.is_paused else schedule.rule.next_after(now)
    _save(schedule, by=actor)
    return schedule


def _checked(terms: Terms) -> dict[str, Any]:
    """Return the values of a schedule's columns. Raises: Invalid."""
    if terms.frequency not in set(Frequency):
        raise Invalid("Choose how often it runs.", field="frequency")
    weekly, monthly = (terms.frequency == each for each in (Frequency.WEEKLY, Frequency.MONTHLY))
    if weekly and (terms.weekday is None or not 0 <= terms.weekday <= 6):
        raise Invalid("Choose the day of the week.", field="weekday")
    if monthly and (terms.month_day is None or not 1 <= terms.month_day <= MONTH_DAY_MOST):
        raise Invalid(
            f"Choose a day from 1 to {MONTH_DAY_MOST}, which every month has.", field="month_day"
        )
    if terms.hour is None or not 0 <= terms.hour <= 23:
        raise Invalid("Choose the hour.", field="hour")
    if terms.format not in ReportSchedule.Format.values:
        raise Invalid("Choose the format.", field="format")
    may = {person.pk for person in reads.readers()}
    wanted = sorted(set(terms.recipients))
    if not wanted or len(wanted) > RECIPIENTS_MOST:
        raise Invalid(f"Choose 1 to {RECIPIENTS_MOST} recipients.", field="recipients")
    if not may.issuperset(wanted):
        raise Invalid("Only active people who may see reports can get them.", field="recipients")
    return {
        "frequency": terms.frequency,
        "weekday": terms.weekday if weekly else None,
        "month_day": terms.month_day if monthly else None,
        "hour": terms.hour,
        "format": terms.format,
        "recipients": wanted,
    }


@transaction.atomic
def pause(*, actor: User, saved_id: int) -> None:
    """Pause a schedule as its owner or as compliance. Raises: NotFound, NotAllowed, Settled."""
    schedule = _held(actor, saved_id)
    if schedule.is_paused:
        raise Settled("It is paused already.", code="paused")
    stop(schedule, by=actor, because=f"paused by {actor.get_full_name()}")


@transaction.atomic
def resume(*, actor: User, saved_id: int, now: datetime) -> None:
    """Let a paused schedule of one's own run from its next moment; what it missed is not made up.

    Raises: NotFound, NotAllowed, Settled, Invalid where nobody is left to get it.
    """
    schedule = _held(actor, saved_id, owner_only=True)
    if not schedule.is_paused:
        raise Settled("It is not paused.", code="not_paused")
    if not may_get(schedule.recipients)[0]:
        raise Invalid("None of its recipients may get it now. Choose others first.")
    schedule.is_paused, schedule.paused_because = False, ""
    schedule.next_at = schedule.rule.next_after(now)
    _save(schedule, by=actor, reason="resumed")


@transaction.atomic
def remove(*, actor: User, saved_id: int) -> None:
    """Remove a schedule as its owner or as compliance; its runs and its history stay.

    Raises: NotFound, NotAllowed.
    """
    _remove(_held(actor, saved_id), by=actor)


@transaction.atomic
def forget(*, actor: User, saved_id: int) -> None:
    """Remove one of the actor's saved reports, with its schedule. Raises: NotFound."""
    report = saved.own(actor=actor, saved_id=saved_id)
    for schedule in ReportSchedule.objects.select_for_update().filter(saved=report):
        _remove(schedule, by=actor)
    report.delete()


@transaction.atomic
def run_now(*, actor: User, saved_id: int, now: datetime) -> ReportRun:
    """Run a schedule of one's own at once, for the period that ends now; once a minute at most.

    Raises: NotFound, NotAllowed, Settled, Invalid.
    """
    schedule = _held(actor, saved_id, owner_only=True)
    if schedule.is_paused:
        raise Settled("It is paused. Resume it first.", code="paused")
    at = now.replace(second=0, microsecond=0)
    if ReportRun.objects.filter(schedule=schedule.uid, planned_at=at).exists():
        raise Settled("It runs already. Look at it below in a moment.", code="runs")
    if not may_get(schedule.recipients)[0]:
        raise Invalid("None of its recipients may get it now. Choose others first.")
    return _begin(schedule, at, now=now, actor=actor)


def stop(schedule: ReportSchedule, *, because: str, by: User | None = None) -> None:
    """Pause a schedule and say why; in a transaction, with the schedule's row locked."""
    schedule.is_paused, schedule.paused_because, schedule.next_at = True, because[:300], None
    _save(schedule, by=by, reason="paused")


def may_get(recipients: Iterable[int]) -> tuple[list[User], dict[str, str]]:
    """Return who of the recipients may get a report now, and why the others don't (2 queries)."""
    may = {person.pk: person for person in reads.readers()}
    found: list[User] = []
    left_out: dict[str, str] = {}
    for person in reads.people(list(recipients)):
        if not person.is_active:
            left_out[str(person.pk)] = "is not active any more"
        elif person.pk not in may:
            left_out[str(person.pk)] = "may not see reports any more"
        elif not person.email:
            left_out[str(person.pk)] = "has no mail address"
        else:
            found.append(person)
    return found, left_out


def hindrance(schedule: ReportSchedule) -> str:
    """Return why a schedule can't run now; nothing where it can."""
    owner = schedule.owner
    if not owner.is_active:
        return f"its owner, {owner.get_full_name()}, is not active any more"
    if not owner.roles:
        return f"its owner, {owner.get_full_name()}, may not see reports any more"
    if not may_get(schedule.recipients)[0]:
        return "none of its recipients may get it any more"
    return ""


def start_due(*, now: datetime) -> int:
    """Begin the runs whose moment has come; return how many. One that fails stops no other."""
    due = ReportSchedule.objects.filter(next_at__lte=now).order_by("next_at", "pk")
    started = 0
    for pk in due.values_list("pk", flat=True):
        try:
            started += _start(pk, now=now)
        except Exception:
            log.exception("report.not_started", schedule=pk)
    return started


@transaction.atomic
def _start(pk: int, *, now: datetime) -> int:
    """Begin the latest planned moment that has come, and record the older ones as skipped."""
    found = ReportSchedule.objects.select_for_update(of=("self",), skip_locked=True)
    schedule = found.select_related("owner").filter(pk=pk, next_at__lte=now).first()
    if schedule is None or schedule.next_at is None:
        return 0  # another process has begun it
    try:
        rule: Rule = schedule.rule
    except (zoneinfo.ZoneInfoNotFoundError, ValueError):
        stop(schedule, because=f"there is no timezone “{schedule.query.get('timezone')}”")
        return 0
    moments = [schedule.next_at, *rule.between(schedule.next_at, now)]
    known = ReportRun.objects.filter(schedule=schedule.uid, planned_at__in=moments)
    begun = set(known.values_list("planned_at", flat=True))  # somebody ran it in that very minute
    because = hindrance(schedule)
    *missed, latest = moments
    reasons = dict.fromkeys(missed, "missed: the portal did not run then")
    if because:
        reasons[latest] = f"paused: {because}"
    ReportRun.insert(
        [
            _run(schedule, at, now=now, event=ReportRun.Event.SKIPPED, reason=reason)
            for at, reason in reasons.items()
            if at not in begun
        ]
    )
    if because:
        stop(schedule, because=because)
        log.warning("report.paused", schedule=str(schedule.uid), reason=because)
        return 0
    schedule.next_at = rule.next_after(max(now, latest))
    ReportSchedule.objects.filter(pk=pk).update(next_at=schedule.next_at)
    if latest in begun:
        return 0
    _begin(schedule, latest, now=now)
    return 1


def _begin(
    schedule: ReportSchedule, at: datetime, *, now: datetime, actor: User | None = None
) -> ReportRun:
    """Record that a run has begun and put the work of sending it, in the running transaction.

    Its period is fixed by its planned moment, or by `now` where somebody begins it by hand. One
    whose filters name what is gone has failed.
    """
    run = _run(schedule, at, now=now, event=ReportRun.Event.STARTED, actor=actor)
    failed = ""
    try:
        report = registry.report(schedule.report)
        told_at = at if actor is None else now
        filters = saved.filters_at(report=report, query=schedule.query, at=told_at)
        run.query = saved.texts(report, filters)
    except Refusal as refusal:
        failed = refusal.message
    run.save()
    if failed:
        run.next(event=ReportRun.Event.FAILED, now=now, reason=failed).save()
    else:
        payload = {"run": str(run.run_id), "recipients": schedule.recipients}
        queue.put(topic=TOPIC, lane=LANE, payload=payload, now=now)
    return run


def _run(
    schedule: ReportSchedule,
    at: datetime,
    *,
    now: datetime,
    event: str,
    reason: str = "",
    actor: User | None = None,
) -> ReportRun:
    return ReportRun(
        event=event,
        schedule=schedule.uid,
        schedule_name=schedule.name,
        planned_at=at,
        report=schedule.report,
        format=schedule.format,
        recipients=schedule.recipients,
        owner=schedule.owner,
        owner_name=schedule.owner.get_full_name(),
        actor=actor,
        reason=reason[:300],
        occurred_at=now,
    )


def may_stop(actor: User, schedule: ReportSchedule) -> bool:
    """Return whether somebody may pause or remove a schedule."""
    return actor.pk == schedule.owner_id or actor.is_compliance


def visible(*, actor: User, saved_id: int) -> tuple[SavedReport, ReportSchedule | None]:
    """Return a saved report and its schedule: one's own, or as compliance any that is scheduled.

    Raises: NotFound.
    """
    report = SavedReport.objects.filter(pk=saved_id).select_related("person").first()
    schedule = (
        ReportSchedule.objects.filter(saved_id=saved_id).select_related("owner").first()
        if report
        else None
    )
    if report is None or not (
        report.person_id == actor.pk or (schedule and may_stop(actor, schedule))
    ):
        raise NotFound("There is no such saved report.")
    return report, schedule


def _held(actor: User, saved_id: int, *, owner_only: bool = False) -> ReportSchedule:
    _, seen = visible(actor=actor, saved_id=saved_id)
    found = ReportSchedule.objects.select_for_update(of=("self",)).select_related("owner")
    schedule = found.filter(pk=seen.pk).first() if seen else None
    if schedule is None:
        raise NotFound("It is not scheduled.")
    if owner_only and schedule.owner_id != actor.pk:
        raise NotAllowed("Only its owner can do that.", code="not_owner")
    return schedule


def _save(schedule: ReportSchedule, *, by: User | None, reason: str = "") -> None:
    schedule._history_user = by  # type: ignore[attr-defined]
    schedule._change_reason = reason or None  # type: ignore[attr-defined]
    schedule.save()


def _remove(schedule: ReportSchedule, *, by: User) -> None:
    schedule._history_user = by  # type: ignore[attr-defined]
    schedule.delete()
