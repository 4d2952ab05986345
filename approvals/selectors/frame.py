"""What the frame of every page counts: the inbox, notices, reviews."""

from typing import Any, NamedTuple

from django.core.exceptions import EmptyResultSet
from django.db import connection

from approvals.models import Asked, User
from approvals.selectors import noticing, reviews

COUNTED_MOST = 100


class Counts(NamedTuple):
    """How much waits for a person, each counted up to COUNTED_MOST."""

    inbox: int
    notices: int
    reviews: int


def counts(*, person: User) -> Counts:
    """Return what waits for the person (one query)."""
    found = (
        Asked.objects.filter(person=person).values("pk"),
        noticing.unread(person.pk).values("pk"),
        reviews.waiting(person).values("pk"),
    )
    parts: list[str] = []
    parameters: list[Any] = []
    for rows in found:
        try:
            sql, values = rows[:COUNTED_MOST].query.sql_with_params()
        except EmptyResultSet:  # they can't have any
            parts.append("0")
            continue
        parts.append(f"(SELECT count(*) FROM ({sql}) counted)")  # noqa: S608
        parameters += values
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {', '.join(parts)}", parameters)
        return Counts(*cursor.fetchone())
