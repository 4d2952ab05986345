"""Samples that anybody can draw again: from a seed and the ids of the population, nothing else.

Each id's ticket is the SHA-256 of `seed:population:id` in hex; the sample is the ids with the
smallest tickets. So it depends on no order and no generator, and whoever has the ids checks it in
three lines of any language. Samples of two populations don't depend on each other.
"""

import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

from django.db import connection

from approvals.reports import frame, held
from approvals.reports.frame import Filters
from approvals.reports.query import in_period, in_scope, of_person

SIZE, SIZE_MOST = 25, 40
SEED_MOST = 64
#: Nothing that a shell or a page would take for more than a text.
SEED = re.compile(rf"[A-Za-z0-9._-]{{1,{SEED_MOST}}}", re.ASCII)

_FROM = f"""
    FROM approvals_currentrequest c
    JOIN approvals_accessrequest r ON r.id = c.record_id
    WHERE c.activated_at IS NOT NULL AND {in_scope("c.entitlement_id")}
      AND {of_person("c.subject_id", "c.requester_id")}"""
#: What is sampled, by name: grants that began in the period, and those of which a target was rid.
POPULATIONS = {
    "grants": f"{_FROM} AND {in_period('c.activated_at')}",
    "terminations": f"{_FROM} AND {in_period('r.removal_confirmed_at')} AND NOT {held.KEPT}",
}


@dataclass(frozen=True)
class Sample:
    """What was drawn of one population, in the order of the tickets."""

    name: str
    population: int
    drawn: tuple[uuid.UUID, ...]


def draw(name: str, filters: Filters, *, seed: str, size: int) -> Sample:
    """Return the sample of a population (two queries that read its ids)."""
    source = POPULATIONS[name]
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT c.request_id {source}"
            " ORDER BY sha256(convert_to(%(seed)s || c.request_id::text, 'UTF8'))"
            " LIMIT %(size)s",
            filters.parameters | {"seed": f"{seed}:{name}:", "size": size},
        )
        drawn = tuple(row[0] for row in cursor.fetchall())
    population = frame.counted(f"SELECT count(*) {source}", filters)
    return Sample(name, population, drawn)


def ids(name: str, filters: Filters) -> Iterator[uuid.UUID]:
    """Yield the ids of a population, in order."""
    sql = f"SELECT c.request_id {POPULATIONS[name]} ORDER BY c.request_id"
    for (found,) in frame.stream(sql, filters.parameters):
        yield found
