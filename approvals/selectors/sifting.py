"""The inbox sifted: filters, and which of the selected requests can be decided together."""

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import urlencode

from django.db import connection

from approvals.models import AccessRequest, Asked, Decision, User
from approvals.models.catalogue import Risk
from approvals.selectors import questions, requests
from approvals.selectors.requests import PAGE, Cursor, InboxItem

_TEXT_MOST = 100


@dataclass(frozen=True)
class Sieve:
    """What the inbox is narrowed to; empty lets everything through."""

    resource: str = ""
    who: str = ""
    risk: str = ""
    overdue: bool = False

    def __bool__(self) -> bool:
        """Return whether anything is filtered."""
        return bool(self.resource or self.who or self.risk or self.overdue)

    @property
    def values(self) -> dict[str, str]:
        """Return each filter that is set, as it stands in a link and in a saved view."""
        given = {"resource": self.resource, "who": self.who, "risk": self.risk}
        return {name: text for name, text in given.items() if text} | (
            {"overdue": "1"} if self.overdue else {}
        )

    @property
    def query(self) -> str:
        """Return the filters as a query string, empty without any."""
        return urlencode(self.values)

    @property
    def words(self) -> list[str]:
        """Return each filter that is set, in words."""
        said = {
            "resource": f"on {self.resource}", "who": f"of {self.who}",
            "risk": f"{self.risk} risk", "overdue": "overdue",
        }  # fmt: skip
        return [said[name] for name in self.values]


def sieve(given: Mapping[str, str]) -> Sieve:
    """Return the filters of a link or a saved view; what is no filter filters nothing."""

    def text(name: str) -> str:
        return str(given.get(name) or "").replace("\0", "").strip()[:_TEXT_MOST]

    risk = text("risk")
    return Sieve(
        resource=text("resource"),
        who=text("who"),
        risk=risk if risk in Risk.values else "",
        overdue=text("overdue") == "1",
    )


def inbox(
    *, person: User, by: Sieve, after: Cursor | None = None, limit: int = PAGE
) -> list[InboxItem]:
    """Return what waits for `person` and passes, the most urgent first, by keyset (two queries).

    The index of the inbox is walked from the cursor until the page is full.
    """
    if not by:
        return requests.inbox(person=person, after=after, limit=limit)
    wanted = ["a.person_id = %s"]
    parameters: list[Any] = [person.pk]
    if after:
        wanted.append("(a.due_at, a.request_id) > (%s, %s)")
        parameters += [after.at, after.id]
    if by.overdue:
        wanted.append("a.due_at <= now()")
    if by.risk:
        wanted.append("r.risk = %s")
        parameters.append(by.risk)
    if by.resource:
        wanted.append("r.resource_name ILIKE %s")
        parameters.append(_within(by.resource))
    if by.who:
        wanted.append("(r.subject_name ILIKE %s OR r.requester_name ILIKE %s)")
        parameters += [_within(by.who)] * 2
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT a.request_id, a.due_at, {questions.OPEN_SQL} FROM approvals_asked a
            JOIN approvals_currentrequest c ON c.request_id = a.request_id
            JOIN approvals_accessrequest r ON r.id = c.record_id
            WHERE {" AND ".join(wanted)} ORDER BY a.due_at, a.request_id LIMIT %s
            """,  # noqa: S608 - only constants are put in
            [*parameters, limit],
        )
        asked = cursor.fetchall()
    records = requests.current_many(key for key, _, _ in asked)
    return [InboxItem(records[key], *rest) for key, *rest in asked if key in records]


def _within(text: str) -> str:
    """Return a pattern that finds the text anywhere, its own wildcards taken as they stand."""
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"


class Together(NamedTuple):
    """What can be decided together, and what can't, each with the reason as a sentence."""

    able: list[InboxItem]
    unable: list[tuple[AccessRequest, str]]
    unknown: int

    @property
    def high(self) -> int:
        """Return how many of those that can be decided are of high risk."""
        return sum(item.record.risk == Risk.HIGH for item in self.able)


def together(*, person: User, seen: Mapping[uuid.UUID, int]) -> Together:
    """Sort selected requests by whether `person` may decide on what they saw (three queries).

    What is none of the person's business is only counted.
    """
    records = requests.current_many(seen)
    asked = dict(
        Asked.objects.filter(person=person, request_id__in=list(records)).values_list(
            "request_id", "due_at"
        )
    )
    voted = _voted(person, records)
    able: list[InboxItem] = []
    unable: list[tuple[AccessRequest, str]] = []
    for key, record in records.items():
        why = _why_not(record, person, seen[key], asked=key in asked, voted=key in voted)
        if not why:
            able.append(InboxItem(record, asked[key]))
        elif key in asked or key in voted or person.pk in (record.requester_id, record.subject_id):
            unable.append((record, why))
    able.sort(key=lambda item: (item.due_at, item.record.request_id))
    return Together(able, unable, unknown=len(seen) - len(able) - len(unable))


def _voted(person: User, ids: Iterable[uuid.UUID]) -> frozenset[uuid.UUID]:
    rows = Decision.objects.filter(actor=person, request_id__in=list(ids))
    return frozenset(rows.values_list("request_id", flat=True))


def _why_not(
    record: AccessRequest, person: User, revision: int, *, asked: bool, voted: bool
) -> str:
    """Return why a request can't be decided with the others, or nothing."""
    if person.pk in (record.requester_id, record.subject_id):
        return "It is your own, so others decide on it."
    if voted:
        return "You have voted on it already."
    if record.state != "pending":
        return f"It is {record.state} by now."
    if not asked:
        return "Others decide on it now: its level is not yours any more."
    if record.revision != revision:
        return "It changed after you selected it. Read it again, then decide."
    return ""


def selected(values: Iterable[str]) -> dict[uuid.UUID, int]:
    """Return the requests and the revisions seen of a form's values; nonsense is left out."""
    found: dict[uuid.UUID, int] = {}
    for value in values:
        key, _, revision = value.partition("~")
        try:
            request_id = uuid.UUID(key)
        except ValueError:
            continue
        if revision.isascii() and revision.isdigit() and len(revision) <= 9:
            found.setdefault(request_id, int(revision))
    return found
