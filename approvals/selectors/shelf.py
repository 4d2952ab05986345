"""What people keep for themselves, and what people like them ask for."""

from typing import NamedTuple

from django.db import connection

from approvals.models import Favourite, SavedView, User
from approvals.selectors import sifting

#: How much of others' asking one suggestion looks at.
_PEERS_MOST, _EACH_MOST, _LEAST_PEOPLE = 200, 20, 2


class View(NamedTuple):
    """A saved view: its number, its name, and the filters as a query string."""

    id: int
    name: str
    query: str


def views(*, person: User) -> list[View]:
    """Return the person's saved views by name (one query)."""
    rows = SavedView.objects.filter(person=person).order_by("name")
    return [View(row.pk, row.name, sifting.sieve(row.query).query) for row in rows]


def favourites(*, person: User) -> frozenset[int]:
    """Return the keys of the person's favourites (one query)."""
    rows = Favourite.objects.filter(person=person)
    return frozenset(rows.values_list("entitlement_id", flat=True))


def suggested(*, person: User, limit: int = 3) -> dict[int, int]:
    """Return the keys of what people like this one ask for lately, and how many do (one query).

    Alike are those of the same manager or of a common group that gives no role in the portal. At
    least two of them must have asked in the last 90 days, so that it tells of nobody; what the
    person asked for in that time is left out.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH peers AS (
                (SELECT id FROM approvals_user
                  WHERE manager_id = %(manager)s AND id <> %(me)s AND is_active LIMIT %(peers)s)
                UNION
                (SELECT DISTINCT m.person_id FROM approvals_membership mine
                  JOIN approvals_group g ON g.id = mine.group_id AND g.role = ''
                  JOIN approvals_membership m ON m.group_id = g.id AND m.person_id <> %(me)s
                  WHERE mine.person_id = %(me)s AND mine.granted_by IS NULL LIMIT %(peers)s)
                LIMIT %(peers)s)
            SELECT c.entitlement_id, count(DISTINCT p.id) AS people FROM peers p
            CROSS JOIN LATERAL (
                SELECT entitlement_id FROM approvals_currentrequest
                WHERE subject_id = p.id AND submitted_at > now() - interval '90 days'
                ORDER BY submitted_at DESC LIMIT %(each)s) c
            WHERE c.entitlement_id NOT IN (
                SELECT entitlement_id FROM approvals_currentrequest
                WHERE subject_id = %(me)s AND submitted_at > now() - interval '90 days')
            GROUP BY c.entitlement_id HAVING count(DISTINCT p.id) >= %(least)s
            ORDER BY people DESC, c.entitlement_id LIMIT %(limit)s
            """,
            {
                "me": person.pk, "manager": person.manager_id, "peers": _PEERS_MOST,
                "each": _EACH_MOST, "least": _LEAST_PEOPLE, "limit": limit * 2,
            },
        )  # fmt: skip
        counted: dict[int, int] = dict(cursor.fetchall())
    return counted
