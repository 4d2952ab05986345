"""Access requests as they stand, one or many, and who may see them."""

import json
import uuid
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from django.db import connection, models
from django.db.models import Case, F, OuterRef, Subquery, Value, When
from django.db.models.expressions import RawSQL

from approvals.domain.refusals import NotFound
from approvals.models import (
    AccessRequest,
    Asked,
    CurrentRequest,
    Decision,
    GrantEvent,
    Notice,
    RequestHandover,
    User,
)
from approvals.selectors import questions

PAGE = 50


class Cursor(NamedTuple):
    """Where a page of a list ends: the sort column's value and the id of its last row."""

    at: datetime
    id: uuid.UUID


_FIELDS = AccessRequest._meta.concrete_fields
_NAMES = [field.attname for field in _FIELDS]
_JSON = [index for index, field in enumerate(_FIELDS) if isinstance(field, models.JSONField)]
_COLUMNS = ", ".join(f'r."{field.column}"' for field in _FIELDS)
_NEWEST = (  # names of columns, and no more, are put in
    f"SELECT {_COLUMNS} FROM approvals_currentrequest c"  # noqa: S608
    " JOIN approvals_accessrequest r ON r.id = c.record_id WHERE"
)
_TWO = (
    f"SELECT {_COLUMNS} FROM approvals_accessrequest r"  # noqa: S608
    " WHERE r.request_id = %s AND (r.revision = %s OR r.id ="
    " (SELECT record_id FROM approvals_currentrequest WHERE request_id = r.request_id))"
    " ORDER BY r.revision"
)
_ENDED = (
    f"SELECT {_COLUMNS} FROM approvals_accessrequest r"  # noqa: S608
    " WHERE r.request_id = %s AND r.event = 'ended'"
)


def _newest(where: str, parameters: list[Any]) -> list[AccessRequest]:
    return _read(f"{_NEWEST} {where}", parameters)


def _read(statement: str, parameters: list[Any]) -> list[AccessRequest]:
    """Return revisions. Every write and notice reads some, so the statements are constants."""
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        rows = [list(row) for row in cursor.fetchall()]
    for values in rows:
        for index in _JSON:
            values[index] = json.loads(values[index])
    return [AccessRequest.of_row(_NAMES, values, alias=connection.alias) for values in rows]


def current(request_id: uuid.UUID) -> AccessRequest:
    """Return the newest revision (one query). Raises: NotFound."""
    found = _newest("c.request_id = %s", [request_id])
    if not found:
        raise NotFound
    return found[0]


def extends(request_id: uuid.UUID) -> uuid.UUID | None:
    """Return which request's access this one prolongs, if it exists and does (one query)."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT extends FROM approvals_currentrequest WHERE request_id = %s", [request_id]
        )
        row = cursor.fetchone()
    return row[0] if row else None


def with_newest(request_id: uuid.UUID, *, revision: int) -> list[AccessRequest]:
    """Return a revision and the newest one, once where they are the same (one query)."""
    return _read(_TWO, [request_id, revision])


def ending(request_id: uuid.UUID) -> AccessRequest | None:
    """Return the revision that ended the access, which knows by whom and why (one query)."""
    found = _read(_ENDED, [request_id])
    return found[0] if found else None


_REVISED = """
SELECT c.request_id FROM unnest(%s::uuid[], %s::int[]) known(request_id, revision)
JOIN approvals_currentrequest c USING (request_id)
WHERE c.revision IS DISTINCT FROM known.revision
"""


def current_many(
    request_ids: Iterable[uuid.UUID], *, known: Iterable[AccessRequest] = ()
) -> dict[uuid.UUID, AccessRequest]:
    """Return the newest revision of each of the requests that exist (one query, or two).

    Of those that are `known`, as read before, only the ones that have a newer revision are read.
    """
    wanted = set(request_ids)
    found = {row.request_id: row for row in known if row.request_id in wanted}
    if found:
        revisions = [found[key].revision if key in found else None for key in wanted]
        with connection.cursor() as cursor:
            cursor.execute(_REVISED, [list(wanted), revisions])
            wanted = {row[0] for row in cursor.fetchall()}
    if wanted:
        rows = _newest("c.request_id = ANY(%s::uuid[])", [list(wanted)])
        found.update((row.request_id, row) for row in rows)
    return found


def visible(request_id: uuid.UUID, *, to: User) -> AccessRequest:
    """Return the newest revision if `to` may see it (three queries at most).

    Requester, subject, whoever is asked, has decided, or has handed over or taken a place, the
    resource's owner, the subject's manager, compliance and operators may. Raises: NotFound for
    everybody else.
    """
    record = current(request_id)
    if not is_visible(record, to=to):
        raise NotFound
    return record


def is_visible(record: AccessRequest, *, to: User) -> bool:
    """Return whether `to` may see a request (two queries at most)."""
    if to.pk in (record.requester_id, record.subject_id) or to.roles:
        return True
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT EXISTS (SELECT FROM approvals_asked
                           WHERE request_id = %(r)s AND person_id = %(p)s)
                OR EXISTS (SELECT FROM approvals_decision
                           WHERE request_id = %(r)s AND actor_id = %(p)s)
                OR EXISTS (SELECT FROM approvals_requesthandover
                           WHERE request_id = %(r)s AND %(p)s IN (giver_id, taker_id))
                OR EXISTS (SELECT FROM approvals_user WHERE id = %(s)s AND manager_id = %(p)s)
                OR EXISTS (SELECT FROM approvals_entitlement e JOIN approvals_resource o
                           ON o.id = e.resource_id WHERE e.id = %(e)s AND o.owner_id = %(p)s)
                OR EXISTS (SELECT FROM approvals_notice WHERE request_id = %(r)s
                           AND recipient_id = %(p)s)
            """,
            {
                "r": record.request_id,
                "p": to.pk,
                "s": record.subject_id,
                "e": record.entitlement_id,
            },
        )
        return bool(cursor.fetchone()[0])


def already_open(other: AccessRequest, *, to: User) -> str:
    """Return why one more can't be asked for, with nothing that `to` may not see."""
    if not is_visible(other, to=to):
        return f"It can’t be asked for {other.subject_name} now; they can tell you why."
    return f"There is an open request for this already: {other.reference}, {other.state}."


def revisions(request_id: uuid.UUID) -> list[AccessRequest]:
    """Return every revision, oldest first (one query)."""
    return list(AccessRequest.objects.filter(request_id=request_id).order_by("revision"))


def decisions(request_id: uuid.UUID) -> list[Decision]:
    """Return the decisions, oldest first (one query).

    `for_whom` of each names whose place it was made in, where they had handed it over.
    """
    rows = Decision.objects.filter(request_id=request_id).annotate(for_whom=_for_whom())
    return list(rows.order_by("revision"))


def _for_whom() -> Subquery:
    """Return the subquery of whose place a decision was made in; nothing for one's own."""
    taken = RequestHandover.objects.filter(
        request_id=OuterRef("request_id"),
        level=OuterRef("level"),
        taker_id=OuterRef("actor_id"),
        occurred_at__lte=OuterRef("occurred_at"),
    ).annotate(whose=Case(When(place_id=F("taker_id"), then=Value("")), default=F("place_name")))
    return Subquery(taken.order_by("-number").values("whose")[:1])


def grant_events(request_id: uuid.UUID) -> list[GrantEvent]:
    """Return what was tried at the target, oldest first (one query)."""
    return list(GrantEvent.objects.filter(request_id=request_id).order_by("id"))


def notices(request_id: uuid.UUID) -> list[Notice]:
    """Return what people were told, oldest first, with its line in their centre (one query)."""
    rows = Notice.objects.filter(request_id=request_id)
    return list(rows.select_related("entry").order_by("id"))


def open_of(*, subject: User) -> list[AccessRequest]:
    """Return the subject's open requests, newest first: pending, approved, active, revoking."""
    return list(
        AccessRequest.objects.filter(
            id__in=CurrentRequest.objects.filter(
                subject=subject, state__in=["pending", "approved", "active", "revoking"]
            ).values("record_id")
        )
        .select_related("entitlement__resource")
        .order_by("-submitted_at")
    )


def open_for(*, subject: int, entitlement: int) -> AccessRequest | None:
    """Return the newest open request of this subject for this entitlement, if there is one."""
    found = _newest(
        "c.subject_id = %s AND c.entitlement_id = %s"
        " AND c.state IN ('pending', 'approved', 'active', 'revoking')"
        " ORDER BY c.submitted_at DESC",
        [subject, entitlement],
    )
    return found[0] if found else None


def extension_of(request_id: uuid.UUID) -> AccessRequest | None:
    """Return the request that waits to prolong this one's access, if there is one (one query)."""
    found = _newest("c.extends = %s AND c.state IN ('pending', 'approved')", [request_id])
    return found[0] if found else None


def extensions_of(request_id: uuid.UUID) -> list[AccessRequest]:
    """Return every request that was to prolong this one's access, oldest first (one query)."""
    return _newest("c.extends = %s ORDER BY c.submitted_at", [request_id])


def mine(*, person: User, before: Cursor | None = None, limit: int = PAGE) -> list[AccessRequest]:
    """Return requests for or by `person`, newest first, by keyset (one query).

    Two index scans are merged, so that the page costs the same however many requests exist.
    """
    tail = "AND (submitted_at, request_id) < (%(at)s, %(id)s)" if before else ""
    order = "ORDER BY submitted_at DESC, request_id DESC LIMIT %(limit)s"
    rows = AccessRequest.objects.raw(
        f"""
        SELECT r.* FROM (
            (SELECT record_id, submitted_at, request_id FROM approvals_currentrequest
              WHERE subject_id = %(person)s {tail} {order})
            UNION
            (SELECT record_id, submitted_at, request_id FROM approvals_currentrequest
              WHERE requester_id = %(person)s {tail} {order})
            {order}
        ) page JOIN approvals_accessrequest r ON r.id = page.record_id
        ORDER BY page.submitted_at DESC, page.request_id DESC
        """,  # noqa: S608 - only constants are put in
        {"person": person.pk, "limit": limit} | _cursor(before),
    )
    return list(rows)


class InboxItem(NamedTuple):
    """A request that waits for a person, and until when."""

    record: AccessRequest
    due_at: datetime
    has_open_question: bool | None = None
    """Whether a question waits for its answer; None where nothing was asked."""


def inbox(*, person: User, after: Cursor | None = None, limit: int = PAGE) -> list[InboxItem]:
    """Return what waits for `person`, the most urgent first, by keyset (two indexed queries)."""
    rows = Asked.objects.filter(person=person).order_by("due_at", "request_id")
    if after:
        rows = rows.extra(  # a row comparison, so that the index is walked from the cursor
            where=["(due_at, request_id) > (%s, %s)"], params=[after.at, after.id]
        )
    is_open = RawSQL(questions.OPEN_SQL.replace(" a.", " approvals_asked."), [])  # noqa: S611
    asked = list(rows.annotate(open=is_open).values_list("request_id", "due_at", "open")[:limit])
    records = current_many(request_id for request_id, _, _ in asked)
    return [InboxItem(records[key], *rest) for key, *rest in asked if key in records]


def is_asked(request_id: uuid.UUID, *, person: User) -> bool:
    """Return whether `person` may decide on it now, by the index (one query)."""
    return Asked.objects.filter(request_id=request_id, person=person).exists()


def asked_at(request_id: uuid.UUID, *, person: int) -> datetime | None:
    """Return since when `person` may decide on it, None where they may not (one query)."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT asked_at FROM approvals_asked WHERE request_id = %s AND person_id = %s",
            [request_id, person],
        )
        row = cursor.fetchone()
    return row[0] if row else None


def decided_by(*, person: User, limit: int = PAGE) -> list[tuple[Decision, AccessRequest]]:
    """Return the person's latest decisions with the requests as they stand (two queries)."""
    mine = Decision.objects.filter(actor=person).annotate(for_whom=_for_whom())
    rows = list(mine.order_by("-occurred_at", "-id")[:limit])
    records = current_many(row.request_id for row in rows)
    return [(row, records[row.request_id]) for row in rows if row.request_id in records]


def usual_seconds(rules: Mapping[int, str], *, extends: bool = False) -> dict[int, float]:
    """Return by entitlement the median seconds until people approved under its rule given here.

    Of the last 30 requests of at most 90 days; none of a wished start, which nobody hurries for,
    and none that its rule approved at once. With `extends` of those that were to prolong access,
    else of the others (one query).
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT e.id, percentile_cont(0.5) WITHIN GROUP (
                ORDER BY extract(epoch FROM r.occurred_at - c.submitted_at))
            FROM unnest(%s::bigint[], %s::text[]) e(id, rule)
            CROSS JOIN LATERAL (
                SELECT request_id, submitted_at FROM approvals_currentrequest
                WHERE entitlement_id = e.id AND submitted_at > now() - interval '90 days'
                ORDER BY submitted_at DESC LIMIT 30) c
            JOIN approvals_accessrequest r ON r.request_id = c.request_id
            WHERE r.event = 'approved' AND r.actor_id IS NOT NULL AND r.rule_name = e.rule
              AND r.starts_at IS NULL AND (r.extends IS NOT NULL) = %s
            GROUP BY e.id
            """,
            [list(rules), list(rules.values()), extends],
        )
        return {row[0]: float(row[1]) for row in cursor.fetchall()}


def _cursor(cursor: Cursor | None) -> dict[str, Any]:
    return {"at": cursor.at, "id": cursor.id} if cursor else {}
