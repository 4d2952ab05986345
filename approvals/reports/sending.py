"""Makes the file of a run and mails it: the only place where a scheduled report leaves the portal.

The file is made by the worker that sends it, from the filters that the run has fixed, and kept in
no table. Whatever repeats this sends nothing twice: a run is worked on under its own lock, its
outcome is written once, and each recipient's mail has a key. Where some mails were sent and others
not, a later try makes the file again for those others; every file that is made is on record.
"""

import hashlib
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import IO, Any

import structlog
from django.db import connection, transaction

from approvals.domain.refusals import Refusal
from approvals.models import OutboxItem, ReportRun, ReportSchedule, User
from approvals.reports import documents, files, registry, saved, schedules, spreadsheets
from approvals.reports.files import Taken, TooLong
from approvals.reports.frame import Filters, Report
from approvals.selectors import clock, telling
from approvals.selectors import report_schedules as reads
from approvals.services import notifications, recording
from approvals.services.letters import Letter
from approvals.services.letters import reports as letters
from approvals.services.notifications import Attachment, DeliveryFailed

log = structlog.get_logger(__name__)

KIND, KIND_REFUSED, KIND_FAILED = "report", "report_refused", "report_failed"
#: Larger files are not attached.
ATTACHED_MOST_BYTES = 5_000_000
#: After so long a run that could not be made or mailed is given up.
GIVE_UP_AFTER = timedelta(days=1)
#: What of a file's facts is its query, and is recorded as such.
_QUERY = ("from", "to", "until", "as_of", "since", "timezone", "resource", "person")
_PIECE = 1 << 20


@dataclass(frozen=True)
class _Made:
    """A file that was just made, and the revision of the run that says so."""

    run: ReportRun
    taken: Taken
    attachment: Attachment | None


def send(item: OutboxItem, now: datetime) -> None:
    """Make a run's file and mail it to those who may have it, unless the run is over.

    May run twice and side by side. Raises: DeliveryFailed or whatever stood in the way, to be
    tried again later.
    """
    assert recording.no_transaction(), "a transaction is open, and the network must not hold one"
    run_id = uuid.UUID(item.payload["run"])
    with _alone(run_id):
        run = reads.newest(run_id)
        if run.is_over:
            log.info("report.over", run=str(run_id), outcome=run.event)
            return
        schedule = reads.schedule_of(run.schedule)
        if schedule is None:
            _end(run, ReportRun.Event.FAILED, reason="the schedule was removed before", now=now)
            return
        if schedule.is_paused:
            reason = f"paused before it was sent: {schedule.paused_because}"
            _end(run, ReportRun.Event.FAILED, reason=reason, now=now)
            return
        if item.first_failed_at is not None and now - item.first_failed_at > GIVE_UP_AFTER:
            _fail(run, schedule, f"given up: {_anonymous(item.last_error, run)}", now=now)
            return
        because = schedules.hindrance(schedule)
        people, left_out = schedules.may_get(run.recipients)
        if not because and not people:
            because = "none of its recipients may get it any more"
        if because:
            _pause(schedule.pk, because)
            reason = f"paused: {because}"
            _end(run, ReportRun.Event.FAILED, reason=reason, now=now, left_out=left_out)
            return
        try:
            _send(run, schedule, people, left_out, now=now)
        except Refusal as refusal:
            _fail(reads.newest(run_id), schedule, refusal.message, now=now)


def _send(
    run: ReportRun,
    schedule: ReportSchedule,
    people: list[User],
    left_out: dict[str, str],
    *,
    now: datetime,
) -> None:
    report = registry.report(run.report)
    filters = saved.filters_of(run.query)
    case: dict[str, Any] = {
        "title": report.title,
        "period": period(report, filters),
        "url": saved.address(report=report.id, fixed=run.query),
        "saved_id": schedule.saved_id,
        "late_by": reads.late_by(run.planned_at, now),
        "now": now,
    }
    waiting = [person for person in people if not telling.was_told(_key(KIND, run, person))]
    try:
        made = _make(run, report, filters, now=now) if waiting else None
    except TooLong as refusal:
        reason = refusal.message
        _deliver(
            KIND_REFUSED,
            run,
            [
                (
                    person,
                    letters.refused(letters.RunCase(to=person, run=run, **case), reason=reason),
                )
                for person in people
            ],
            now=now,
        )
        sent = [person.pk for person in people]
        _end(run, ReportRun.Event.REFUSED, reason=reason, now=now, sent_to=sent, left_out=left_out)
        return
    if made is not None:
        run = made.run
        _deliver(
            KIND,
            run,
            [(person, _letter(person, made, case)) for person in waiting],
            attachments=(made.attachment,) if made.attachment else (),
            now=now,
        )
    sent = [person.pk for person in people]
    _end(run, ReportRun.Event.SENT, now=now, sent_to=sent, left_out=left_out)


def _letter(person: User, made: _Made, case: dict[str, Any]) -> Letter:
    run, taken = made.run, made.taken
    filters = taken.filters
    asked = (
        ("Up to", str(taken.facts.get("until", ""))),
        ("Timezone", str(filters.zone)),
        ("Resource", filters.resource_name),
        ("Person", filters.person_login),
    )
    return letters.made(
        letters.MadeCase(
            to=person,
            run=run,
            figures=[(each.title, each.value) for each in taken.figures],
            facts=[(title, text) for title, text in asked if text],
            rows=taken.export.rows,
            size=run.size or 0,
            sha256=run.sha256,
            checkpoint=taken.export.checkpoint,
            file=made.attachment.name if made.attachment else "",
            **case,
        )
    )


def period(report: Report, filters: Filters) -> str:
    """Return what a run is about in time, as a mail says it."""
    if report.as_of:
        since = f", since {filters.first:%-d %b %Y}" if report.since else ""
        return f"as of {filters.moment.astimezone(filters.zone):%-d %b %Y %H:%M}{since}"
    if filters.first == filters.last:
        return f"{filters.first:%-d %b %Y}"
    return f"{filters.first:%-d %b %Y} – {filters.last:%-d %b %Y}"


def _make(run: ReportRun, report: Report, filters: Filters, *, now: datetime) -> _Made:
    """Make the file, which records it as taken by the schedule's owner, and record its digest.

    Raises: TooLong.
    """
    owner = run.owner
    known = files.facts(report, filters, actor=owner, now=now)
    query = {key: str(known[key]) for key in _QUERY if known.get(key)}
    query["schedule"] = run.schedule_name
    with tempfile.TemporaryFile() as file:
        taken = _write(run.format, report, filters, owner, query, file, now=clock.now())
        size = file.tell()
        file.seek(0)
        digest = hashlib.sha256()
        while piece := file.read(_PIECE):
            digest.update(piece)
        attachment = None
        if size <= ATTACHED_MOST_BYTES:
            file.seek(0)
            name = files.name(report, filters, taken.facts, suffix=run.format)
            attachment = Attachment(name, file.read())
    following = run.next(
        event=ReportRun.Event.MADE,
        now=now,
        export=taken.export.uid,
        rows=taken.export.rows,
        size=size,
        sha256=digest.hexdigest(),
    )
    following.save()
    return _Made(following, taken, attachment)


def _write(
    format: str,
    report: Report,
    filters: Filters,
    owner: User,
    query: dict[str, str],
    file: IO[bytes],
    *,
    now: datetime,
) -> Taken:
    """Write the report to a file, and leave it at its end."""
    if format == ReportSchedule.Format.PDF:
        taken, made = documents.make(report, filters, actor=owner, query=query, now=now)
        file.write(made)
        return taken
    if format == ReportSchedule.Format.XLSX:
        taken, book = spreadsheets.make(report, filters, actor=owner, query=query, now=now)
        with book:
            while piece := book.read(_PIECE):
                file.write(piece)
        return taken
    taken = files.take(
        report, filters, actor=owner, query=query, format="csv", now=now, illustrated=True
    )
    try:
        for text in files.CsvFile(taken, cover=True):
            file.write(text.encode())
    finally:
        taken.close()
    return taken


def _deliver(
    kind: str,
    run: ReportRun,
    mails: list[tuple[User, Letter]],
    *,
    now: datetime,
    attachments: tuple[Attachment, ...] = (),
) -> None:
    """Mail everybody their letter once. Raises: DeliveryFailed, after all the others were tried."""
    failed: DeliveryFailed | None = None
    for person, letter in mails:
        try:
            notifications.deliver(
                kind=kind,
                letter=letter,
                to=person,
                once_key=_key(kind, run, person),
                thread=f"report:{run.schedule}",
                reference="scheduled report",
                now=now,
                attachments=attachments,
            )
        except DeliveryFailed as error:
            failed = error
    if failed is not None:
        raise failed


def _key(kind: str, run: ReportRun, person: User) -> str:
    return f"{kind}:{run.run_id}:{person.pk}"


def _fail(run: ReportRun, schedule: ReportSchedule, reason: str, *, now: datetime) -> None:
    """Record that a run has failed, and tell its owner if mail can be sent at all."""
    told = [pk for pk in run.recipients if telling.was_told(f"{KIND}:{run.run_id}:{pk}")]
    _end(run, ReportRun.Event.FAILED, reason=reason, now=now, sent_to=told)
    report = registry.report(run.report)
    case = letters.RunCase(
        to=run.owner,
        run=run,
        now=now,
        title=report.title,
        period=f"{run.query.get('from', '?')} – {run.query.get('to', '?')}",
        url="",
        saved_id=schedule.saved_id,
        late_by=reads.late_by(run.planned_at, now),
    )
    try:
        _deliver(KIND_FAILED, run, [(run.owner, letters.failed(case, reason=reason))], now=now)
    except DeliveryFailed as error:
        log.error("report.failure_not_told", run=str(run.run_id), error=str(error))


def _end(run: ReportRun, event: str, *, now: datetime, reason: str = "", **values: Any) -> None:
    run.next(event=event, now=now, reason=reason[:300], **values).save()


@transaction.atomic
def _pause(pk: int, because: str) -> None:
    schedule = ReportSchedule.objects.select_for_update().filter(pk=pk, is_paused=False).first()
    if schedule is not None:
        schedules.stop(schedule, because=because)


def _anonymous(error: str, run: ReportRun) -> str:
    """Return an error without the addresses of those it was for: the row stays for ever."""
    for person in reads.people(run.recipients):
        if person.email:
            error = error.replace(person.email, "an address")
    return error


@contextmanager
def _alone(run_id: uuid.UUID) -> Iterator[None]:
    """Let one process at a time work on a run; another waits, and then finds it over.

    A lock of the session, not of a transaction: a dead process loses it with its connection.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(hashtextextended(%s, 4))", [str(run_id)])
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 4))", [str(run_id)])
