"""The filters of reports as they were typed: what is wrong with them, or the filters."""

import zoneinfo
from collections.abc import Iterator, Mapping
from datetime import date, datetime, timedelta, tzinfo
from typing import NamedTuple

from django.utils import timezone
from django.utils.http import urlencode

from approvals.domain.refusals import Invalid
from approvals.portal import views
from approvals.portal.views import PortalRequest
from approvals.reports import frame
from approvals.reports.frame import Filters, Report
from approvals.selectors import reporting

EARLIEST, LATEST = date(2000, 1, 1), date(2100, 12, 31)


class Period(NamedTuple):
    """A period to choose by one click: its name, and the query that it makes."""

    title: str
    query: str
    is_chosen: bool


class Form:
    """The filters as they were typed, what is wrong with them, and the filters if nothing is.

    Of a report of one moment it asks for that in place of a period, and for the day to look back
    to where it does; filters that mean nothing to the report, or are in `without`, are left out.
    """

    def __init__(
        self,
        request: PortalRequest,
        *,
        now: datetime,
        report: Report | None = None,
        without: frozenset[str] = frozenset(),
        data: Mapping[str, str] | None = None,
    ) -> None:
        get = request.GET if data is None else data
        self.errors: dict[str, str] = {}
        self.as_of = as_of = report is not None and report.as_of
        self.since = report is not None and report.since
        self.without = without = without | (report.without if report else frozenset())
        self.now = now
        self._own_timezone = str(timezone.get_current_timezone())
        self.timezone = views.text(get.get("timezone")) or self._own_timezone
        self.zone: tzinfo = timezone.get_current_timezone()
        try:
            self.zone = _zone(self.timezone)
        except Invalid as error:
            self.errors[error.field] = error.message
        today = now.astimezone(self.zone).date()
        ago = today - timedelta(days=frame.DEFAULT_DAYS - 1)
        self.first = views.text(get.get("from")) or ago.isoformat()
        self.last = views.text(get.get("to")) or today.isoformat()
        self.at = views.text(get.get("at")) if as_of else ""
        self.resource = "" if "resource" in without else views.text(get.get("resource"))
        self.person = "" if "person" in without else views.text(get.get("person"))
        self.filters: Filters | None = None
        self.resources = reporting.resource_names()
        self.timezones = reporting.timezone_names()
        if not self.errors:
            try:
                self.filters = self._read()
            except Invalid as error:
                self.errors[error.field] = error.message

    @property
    def status(self) -> int:
        """Return 400 where something is wrong."""
        return 400 if self.errors else 200

    @property
    def at_local(self) -> str:
        """Return the moment as the field for it wants it."""
        if self.filters is None:
            return self.at
        return self.filters.moment.astimezone(self.zone).strftime("%Y-%m-%dT%H:%M:%S")

    @property
    def query(self) -> str:
        """Return the filters for links."""
        return self._query({})

    @property
    def periods(self) -> Iterator[Period]:
        """Yield the periods to choose by one click."""
        today = self.now.astimezone(self.zone).date()
        month = today.replace(day=1)
        quarter = month.replace(month=(month.month - 1) // 3 * 3 + 1)
        for title, first, last in (
            ("This month", month, today),
            ("This quarter", quarter, today),
            ("Last quarter", _months(quarter, -3), quarter - timedelta(days=1)),
            ("This year", today.replace(month=1, day=1), today),
        ):
            days = {"from": first.isoformat(), "to": last.isoformat()}
            is_chosen = (self.first, self.last) == tuple(days.values())
            yield Period(title, self._query(days), is_chosen)

    def valid(self) -> Filters:
        """Return the filters. Raises: Invalid."""
        if self.filters is not None:
            return self.filters
        _zone(self.timezone)
        return self._read()

    def _query(self, more: dict[str, str]) -> str:
        chosen = {
            "from": self.first, "to": self.last, "at": self.at, "resource": self.resource,
            "person": self.person,
        }  # fmt: skip
        if self.timezone != self._own_timezone:
            chosen["timezone"] = self.timezone
        return urlencode({key: value for key, value in (chosen | more).items() if value})

    def _read(self) -> Filters:
        first, last = _day(self.first, "from"), _day(self.last, "to")
        if last < first:
            raise Invalid("The period ends before it begins.", field="to")
        today = self.now.astimezone(self.zone).date()
        if first > today and (self.since or not self.as_of):
            raise Invalid(f"That has not happened yet: today is {today}.", field="from")
        resource = reporting.resource(self.resource) if self.resource else None
        if self.resource and resource is None:
            raise Invalid("There is no resource of that name.", field="resource")
        person = reporting.person(self.person) if self.person else None
        if self.person and person is None:
            raise Invalid("Nobody signs in by that name.", field="person")
        chosen = Filters(
            first=first,
            last=last,
            zone=self.zone,
            resource_id=resource.pk if resource else None,
            resource_name=resource.name if resource else "",
            person_id=person.pk if person else None,
            person_login=person.username if person else "",
            at=_moment(self.at, self.zone) if self.at else None,
        )
        if self.since and chosen.start > chosen.moment:
            raise Invalid("That is after the moment.", field="from")
        if chosen.moment <= self.now:
            return chosen if chosen.at else frame.at(chosen, chosen.end)
        if chosen.at is not None:
            now = self.now.astimezone(self.zone).strftime("%Y-%m-%d %H:%M:%S")
            raise Invalid(f"That moment has not come yet: it is {now}.", field="at")
        return frame.at(chosen, self.now)  # what has not happened yet can't be told


def _zone(name: str) -> tzinfo:
    """Return the timezone of a name. Raises: Invalid."""
    if name == str(timezone.get_current_timezone()):
        return timezone.get_current_timezone()
    if name not in zoneinfo.available_timezones():
        raise Invalid("Name a timezone such as Europe/Berlin or UTC.", field="timezone")
    return zoneinfo.ZoneInfo(name)


def _months(day: date, number: int) -> date:
    """Return the first day of the month that is so many months away."""
    months = day.year * 12 + day.month - 1 + number
    return date(months // 12, months % 12 + 1, 1)


def _day(value: str, field: str) -> date:
    try:
        day = datetime.strptime(value, "%Y-%m-%d").date()
    except ValueError as error:
        raise Invalid("Write the day as 2026-11-24.", field=field) from error
    if not EARLIEST <= day <= LATEST:
        raise Invalid("Choose a day between 2000 and 2100.", field=field)
    return day


def _moment(value: str, zone: tzinfo) -> datetime:
    try:
        moment = datetime.fromisoformat(value)
    except ValueError as error:
        raise Invalid("Write the moment as 2026-11-24T15:30.", field="at") from error
    if not EARLIEST <= moment.date() <= LATEST:
        raise Invalid("Choose a moment between 2000 and 2100.", field="at")
    return moment if moment.tzinfo else moment.replace(tzinfo=zone)
