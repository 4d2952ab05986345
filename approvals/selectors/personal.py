"""What the portal holds of one person: what an erasure blanks, and why not yet.

Three things are a person's: what they wrote, what others wrote on their requests, and what names
them anywhere. A text names somebody by a whole e-mail address or a name of several words; a login
name or a single word counts where it stands alone as a value. Keys, states, times and numbers stay:
without the person's own row they lead to nobody.
"""

import re
import uuid
from collections.abc import Iterable, Iterator
from typing import Any

from django.db.models import Q
from django.db.models.functions import Now

from approvals.domain.states import OPEN
from approvals.models import (
    CurrentRequest,
    Entitlement,
    Finding,
    Group,
    Membership,
    OutboxItem,
    Policy,
    ReportSchedule,
    Resource,
    User,
)
from approvals.models.request import reference
from approvals.selectors.personal_kinds import HISTORIES, KINDS, Person
from audit.selectors.erasures import ERASED, Found, Row

#: What the sealer must read beside the records themselves.
LOOKED_UP: list[Any] = [
    User, Group, Membership, Resource, Entitlement, Policy, CurrentRequest, OutboxItem,
    ReportSchedule, Finding,
]  # fmt: skip
_SHOWN_MOST = 5


def by_login(login: str) -> User | None:
    """Return who has this login name or e-mail address, active or not (one query)."""
    login = login.strip().replace("\0", "")
    if not login:
        return None
    return User.objects.filter(Q(username__iexact=login) | Q(email__iexact=login)).first()


def names(ids: Iterable[int]) -> dict[int, str]:
    """Return how people are called now, by their numbers (one query)."""
    rows = User.objects.filter(pk__in=set(ids)).values_list("pk", "name", "username")
    return {pk: username if name == ERASED else name or username for pk, name, username in rows}


def person(person_id: int) -> Person | None:
    """Return who it is, with everything that they were ever called; None for nobody."""
    now = User.objects.filter(pk=person_id).values("uid", "username", "name", "email").first()
    if now is None:
        return None
    called = list(User.history.filter(id=person_id).values("username", "name", "email"))
    called = [{key: text for key, text in row.items() if text != ERASED} for row in called]
    rows = [now, *called]
    emails = {row["email"] for row in rows if row.get("email")}
    names = {row["name"] for row in rows if row.get("name")}
    logins = {row["username"] for row in rows if row.get("username")}
    whole = [*emails, *(name for name in names if len(name.split()) > 1)]
    parts = "|".join(re.escape(text) for text in sorted(whole, key=len, reverse=True))
    return Person(
        pk=person_id,
        uid=now["uid"],
        words=frozenset(text.lower() for text in emails | names | logins),
        pattern=re.compile(rf"(?<!\w)(?:{parts})(?!\w)", re.IGNORECASE) if parts else None,
        requests=frozenset(
            CurrentRequest.objects.filter(
                Q(requester_id=person_id) | Q(subject_id=person_id)
            ).values_list("request_id", flat=True)
        ),
    )


def find(person_id: int) -> Found:
    """Return what an erasure of this person blanks and what stands in its way."""
    who = person(person_id)
    if who is None:
        return Found(rows=[], hindrances=["There is no such person."])
    return _find(who)


def _find(who: Person) -> Found:
    rows = [row for kind in KINDS for row in kind.rows(who)]
    return Found(
        rows=rows,
        hindrances=[*_of_requests(who, rows), *_of_configuration(who), *_of_the_moment(who)],
        kept=list(_kept(who)),
        again=lambda: _find(who),
    )


def _of_requests(who: Person, rows: list[Row]) -> Iterator[str]:
    """Yield what is open: a request that is erased can't get another revision."""
    touched = {uuid.UUID(row.object_id) for row in rows if row.model == "request"}
    found = dict(
        CurrentRequest.objects.filter(
            request_id__in=touched | who.requests, state__in=[str(state) for state in OPEN]
        ).values_list("request_id", "state")
    )
    own = sorted(who.requests & found.keys())
    others = sorted(found.keys() - who.requests)
    if own:
        yield f"Open requests and live access of theirs must end first: {_named(own, found)}."
    if others:
        yield f"They took part in requests of others that are still open: {_named(others, found)}."
    if left := _being_removed(touched | who.requests):
        named = ", ".join(reference(each) for each in left[:_SHOWN_MOST])
        yield f"What may be left at a target must be removed first, and is known by: {named}."


def _being_removed(requests: set[uuid.UUID]) -> list[uuid.UUID]:
    """Return the requests whose access at the target is still worked on, or was found there."""
    items = OutboxItem.objects.filter(
        lane="provisioning",
        topic__startswith="grant.",
        payload__request_id__in=[str(each) for each in requests],
    )
    findings = Finding.objects.filter(request_id__in=requests, resolved_at__isnull=True)
    keys = {uuid.UUID(each) for each in items.values_list("payload__request_id", flat=True)}
    keys |= {each.request_id for each in findings if each.request_id is not None}
    return sorted(keys)


def _named(ids: list[uuid.UUID], states: dict[uuid.UUID, str]) -> str:
    shown = [f"{reference(each)} ({states[each]})" for each in ids[:_SHOWN_MOST]]
    more = len(ids) - len(shown)
    return ", ".join([*shown, *([f"and {more} more"] if more else [])])


def _of_configuration(who: Person) -> Iterator[str]:
    """Yield what an operator must change by hand first."""
    texts: dict[Any, tuple[str, ...]] = {
        Policy: ("document", "description"),
        Resource: ("title", "description", "connect_hint", "settings"),
        Entitlement: ("description", "keywords", "settings"),
        Group: ("title",),
    }
    for model, names in texts.items():
        noun = str(model._meta.verbose_name).capitalize()
        row: dict[str, Any]
        for row in model.objects.values("name", *names):
            if any(who.is_named(row[name]) for name in names):
                yield f"{noun} “{row['name']}” names them. Change it first."
    schedules = ReportSchedule.objects.exclude(owner_id=who.pk)
    for name, query, owner in schedules.values_list("name", "query", "owner__name"):
        if who.is_named(query) or who.is_named(name):
            yield f"{owner}'s scheduled report “{name}” names them. Change it first."
    for owned in Resource.objects.filter(owner_id=who.pk).values_list("name", flat=True):
        yield f"They own the resource “{owned}”. Give it another owner first."
    standing = User.objects.filter(
        memberships__group__role=Group.Role.OPERATOR, memberships__granted_by__isnull=True
    )
    others = standing.filter(is_active=True).exclude(pk=who.pk)
    if standing.filter(pk=who.pk).exists() and not others.exists():
        yield "They are the last operator. Make somebody else one first."


def _of_the_moment(who: Person) -> Iterator[str]:
    """Yield that a mail about them is being sent: its record would come after the erasure."""
    topics = ("notice.send", "notice.digest")
    sending = OutboxItem.objects.filter(topic__in=topics, leased_until__gt=Now())
    ids = {str(each) for each in who.requests}
    if any(
        item.get("request_id") in ids or item["recipient"] == who.pk
        for item in sending.values_list("payload", flat=True)
    ):
        yield "A mail about one of their requests is being sent. Try again in a moment."
    reports = OutboxItem.objects.filter(topic="report.run", leased_until__gt=Now())
    if any(who.pk in found["recipients"] for found in reports.values_list("payload", flat=True)):
        yield "A scheduled report for them is being sent. Try again in a moment."


def _kept(who: Person) -> Iterator[str]:
    """Yield what stays although it names them, and why."""
    rows = HISTORIES["policy"].objects.values_list("document", flat=True)
    count = sum(map(who.is_named, rows))
    if count:
        versions = "version of a policy names" if count == 1 else "versions of policies name"
        yield (
            f"{count} earlier {versions} their login or e-mail address. Decisions rest on them, so "
            "they stay as they are."
        )
