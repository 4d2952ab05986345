"""What filters of reports and the audit search refer to: people, resources, requests, by name."""

import re
import uuid
import zoneinfo
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache

from django.db import connection
from django.db.models import Q

from approvals.domain.refusals import Invalid
from approvals.models import Entitlement, Resource, User
from approvals.models.request import reference
from approvals.selectors.history_sources import Criteria, System

NAMES_MOST = 200
CANDIDATES_MOST = 10
WORDS_MOST = 8

_REFERENCE = re.compile(r"(?i)\s*REQ-?([0-9A-Z]{4})-?([0-9A-Z]{4})\s*", re.ASCII)
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_ALIKE = str.maketrans("OIL", "011")
_TERM = re.compile(r'"([^"]*)"|(\S+)')


@dataclass(frozen=True)
class Understood:
    """A search text as it was taken: what is looked for, and the same in words for the page."""

    criteria: Criteria
    phrases: tuple[str, ...]


def person(text: str) -> User | None:
    """Return whom a text means, active or not: by login, else by address, else by name (one query).

    Nobody is picked from several whom it means alike. Raises: Invalid with their logins.
    """
    rows = User.objects.filter(
        Q(username__iexact=text) | Q(email__iexact=text) | Q(name__iexact=text)
    )
    found = list(rows.order_by("username"))
    wanted = text.lower()
    for fits in (
        [row for row in found if row.username.lower() == wanted],
        [row for row in found if row.email.lower() == wanted],
        found,
    ):
        if len(fits) == 1:
            return fits[0]
        if fits:
            raise Invalid(_several(text, fits), field="person")
    return None


def _several(text: str, people: Sequence[User]) -> str:
    told = ", ".join(
        f"{row.username} ({row.get_full_name()}{'' if row.is_active else ', not active'})"
        for row in people[:CANDIDATES_MOST]
    )
    more = " and others" if len(people) > CANDIDATES_MOST else ""
    return f"Several people are meant by “{text}”: {told}{more}. Write one of these logins."


def resource(name: str) -> Resource | None:
    """Return the resource of that name, retired or not (one query)."""
    return Resource.objects.filter(name__iexact=name).first()


def resource_names() -> list[str]:
    """Return the names to offer for choosing, in order; of very many only the first (one query)."""
    return list(Resource.objects.order_by("name").values_list("name", flat=True)[:NAMES_MOST])


@cache
def timezone_names() -> tuple[str, ...]:
    """Return the names of regions' timezones to offer for choosing, in order."""
    names = zoneinfo.available_timezones()
    regions = (name for name in names if "/" in name and not name.startswith("Etc/"))
    return ("UTC", *sorted(regions))


def requests_of_reference(text: str) -> frozenset[uuid.UUID] | None:
    """Return the requests that a short name (REQ-7F3K-22QP) may mean; None if it is no such name.

    The name holds the id's last 40 bits, so two requests may share it. One query, by an index.
    """
    found = _REFERENCE.fullmatch(text)
    if found is None:
        return None
    letters = (found[1] + found[2]).upper().translate(_ALIKE)
    if any(letter not in _ALPHABET for letter in letters):
        return frozenset()
    number = 0
    for letter in letters:
        number = number * 32 + _ALPHABET.index(letter)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT request_id FROM approvals_accessrequest"
            " WHERE revision = 1 AND RIGHT(request_id::text, 10) = %s",
            [f"{number:010x}"],
        )
        keys = frozenset(row[0] for row in cursor.fetchall())
    assert all(reference(key)[4:].replace("-", "") == letters for key in keys)
    return keys


def understand(text: str, *, since: datetime | None, kinds: frozenset[str]) -> Understood:
    """Return what a search text means: requests, people and systems that it names, other words.

    The whole text is tried first, so that `Juno Park` is a person; then each word, or each part in
    double quotes. What names nothing is looked for as a word. At most eight words (two queries
    for each). Raises: Invalid for a name that several people have.
    """
    parts = [text.strip()] if text.strip() else []
    if parts and (known := _named(parts[0])) is not None:
        found = [known]
    else:
        terms = [quoted or plain for quoted, plain in _TERM.findall(text)][:WORDS_MOST]
        found = [_named(term) or _Named("word", term, word=term) for term in terms if term]
    requests: frozenset[uuid.UUID] | None = None
    for item in found:
        if item.requests is not None:
            requests = item.requests if requests is None else requests & item.requests
    criteria = Criteria(
        requests=requests,
        people=tuple(item.person for item in found if item.person),
        systems=tuple(item.system for item in found if item.system),
        words=tuple(item.word for item in found if item.word),
        since=since,
        kinds=kinds,
        impossible=requests is not None and not requests,
    )
    return Understood(criteria, tuple(f"{item.noun} “{item.title}”" for item in found))


@dataclass(frozen=True)
class _Named:
    """One part of a search text, and what it names."""

    noun: str
    title: str
    requests: frozenset[uuid.UUID] | None = None
    person: int | None = None
    system: System | None = None
    word: str = ""


def _named(text: str) -> _Named | None:
    keys = requests_of_reference(text)
    if keys is None:
        try:
            keys = frozenset({uuid.UUID(text)})
        except ValueError:
            keys = None
    if keys is not None:
        return _Named("request", text, requests=keys)
    if (system := _system(text)) is not None:
        return system
    if (found := person(text)) is not None:
        return _Named("person", found.get_full_name(), person=found.pk)
    return None


def _system(text: str) -> _Named | None:
    """Return a resource (`orders-db`) or an entitlement (`orders-db · read`, `orders-db/read`)."""
    name, separator, role = (
        part.strip() for part in re.sub(r"\s*[·/]\s*", "·", text).partition("·")
    )
    found = resource(name)
    if found is None:
        return None
    rows = Entitlement.objects.filter(resource=found)
    if separator:
        rows = rows.filter(name__iexact=role)
    keys = tuple(rows.values_list("pk", flat=True))
    if separator and not keys:
        return None
    title = f"{found.name} · {role}" if separator else found.name
    return _Named("system", title, system=System(0 if separator else found.pk, keys))
