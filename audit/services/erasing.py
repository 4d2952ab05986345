"""Erasing a person's content: two people agree, the sealer carries it out, the log tells of it.

Between the two there is a time in which it can be withdrawn, and the sealer looks at what stands
behind it (`audit.services.vouching`).

Which rows are a person's, other rooms say (`register`). What is erased: the values in the records'
columns and the salts of their commitments, all in one transaction with an `erase` entry for each
object that is touched. The entries stay, so every earlier proof stays valid; what they committed to
can't be guessed at any more, since the salts are gone.
"""

import json
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

import structlog
from django.db import DatabaseError, IntegrityError, connection, models, transaction

from audit.domain import entries
from audit.models import Erasure, guards, sealed
from audit.selectors import erasures as reads
from audit.selectors.erasures import Found, Row
from audit.services import vouching

log = structlog.get_logger(__name__)

#: How long the sealer leaves an erasure alone that could not be carried out.
AGAIN_SECONDS = 30.0
#: How often it is looked again for what was written meanwhile, before it is given up for now.
LOOKS_MOST = 5
_ERASING_LOCK = 0x6A697465726173


class NotTwoPeople(Exception):
    """The asker, the decider and the person must be three."""


class NotOpen(Exception):
    """The erasure was decided already, or one of this person is under way."""


class Hindered(Exception):
    """Something stands in the way; the message says what, one thing per line."""


Finder = Callable[[int], Found]
Finisher = Callable[[int], None]

_finders: list[Finder] = []
_finishers: list[Finisher] = []


def register(
    *,
    find: Finder,
    finish: Finisher,
    reads: Iterable[type[models.Model]],
    calls: Iterable[str] = (),
) -> None:
    """Say which rows are a person's, and what follows once they are erased; called at start-up.

    Both take the person's number and run in the sealer's process, `finish` inside the transaction.
    `reads` are the models that they read there and `calls` the database functions that they call.
    """
    _finders.append(find)
    _finishers.append(finish)
    guards.let_sealer(read=reads, call=calls)


def find(person_id: int) -> Found:
    """Return everything of this person that is registered."""
    return _joined([each(person_id) for each in _finders])


def _joined(found: Sequence[Found]) -> Found:
    return Found(
        rows=[row for each in found for row in each.rows],
        hindrances=[text for each in found for text in each.hindrances],
        kept=[text for each in found for text in each.kept],
        again=lambda: _joined([each.again() for each in found]),
    )


@transaction.atomic
def ask(
    *,
    person_id: int,
    person_uid: uuid.UUID,
    by: uuid.UUID,
    by_name: str,
    ground: str,
    reference: str,
    now: datetime,
) -> Erasure:
    """Record that somebody asks for an erasure. Raises: NotTwoPeople, NotOpen.

    Who was erased before may be erased again: a row may have been written at that very moment.
    """
    if by == person_uid:
        raise NotTwoPeople("Nobody asks for the erasure of themselves here; ask a colleague to.")
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 4))", [str(person_uid)])
    if reads.under_way(person_uid) is not None:
        raise NotOpen("An erasure of this person is under way already.")
    made = Erasure(
        person_id=person_id,
        person_uid=person_uid,
        asked_by=by,
        asked_by_name=by_name,
        ground=Erasure.Ground(ground),
        reference=reference,
        occurred_at=now,
    )
    made.save()
    return made


@transaction.atomic
def decide(
    *,
    erasure_id: uuid.UUID,
    approve: bool,
    by: uuid.UUID,
    by_name: str,
    comment: str,
    now: datetime,
) -> Erasure:
    """Record a second person's decision. Raises: NotTwoPeople, NotOpen."""
    held = reads.one(erasure_id)
    if not held or held[-1].event != Erasure.Event.ASKED:
        raise NotOpen("This erasure was decided already.")
    newest = held[-1]
    if by in (newest.asked_by, newest.person_uid):
        raise NotTwoPeople("An erasure is decided by somebody else than the one who asked for it.")
    made = newest.revise(
        event=Erasure.Event.APPROVED if approve else Erasure.Event.REFUSED,
        now=now,
        decided_by=by,
        decided_by_name=by_name,
        comment=comment,
    )
    return _follow(made)


@transaction.atomic
def withdraw(
    *, erasure_id: uuid.UUID, by: uuid.UUID, by_name: str, comment: str, now: datetime
) -> Erasure:
    """Record that an erasure is not to be carried out, by whoever says so. Raises: NotOpen."""
    held = reads.one(erasure_id)
    if not held or held[-1].event not in (Erasure.Event.ASKED, Erasure.Event.APPROVED):
        raise NotOpen("This erasure is over already.")
    return _follow(
        held[-1].revise(
            event=Erasure.Event.WITHDRAWN,
            now=now,
            decided_by=by,
            decided_by_name=by_name,
            comment=comment,
        )
    )


def _follow(made: Erasure) -> Erasure:
    try:
        with transaction.atomic():
            made.save()
    except IntegrityError as error:
        raise NotOpen("Somebody else decided on this erasure at the same moment.") from error
    return made


_not_before: dict[uuid.UUID, float] = {}


def is_due() -> bool:
    """Return whether something may have to be carried out (one small query)."""
    return any(
        _not_before.get(erasure.erasure_id, 0.0) <= time.monotonic() for erasure in reads.approved()
    )


def carry_out(*, now: datetime) -> int:
    """Carry out what is due, each erasure in one transaction; return how many were.

    Runs as the sealer, often: without anything approved it is one small query. One that can't be
    carried out is logged and tried again later; nothing of it has happened then, and nothing else
    is held up by it.
    """
    done = 0
    for erasure in reads.approved():
        if _not_before.get(erasure.erasure_id, 0.0) > time.monotonic():
            continue
        try:
            if objections := vouching.objections(erasure.erasure_id, now=now):
                raise Hindered("\n".join(objections))
            _carry_out(erasure, now=now)
        except vouching.Waits as waits:
            left = (waits.due_at - now).total_seconds() if waits.due_at else 0.0
            _not_before[erasure.erasure_id] = time.monotonic() + min(left, AGAIN_SECONDS)
            continue
        except Exception as error:
            _not_before[erasure.erasure_id] = time.monotonic() + AGAIN_SECONDS
            why = str(error).splitlines()[0] if isinstance(error, Hindered) else str(error)
            known = isinstance(error, Hindered | DatabaseError)
            log.error("erasure.waits", erasure=str(erasure.erasure_id), why=why, exc_info=not known)
            continue
        _not_before.pop(erasure.erasure_id, None)
        log.info("erasure.done", erasure=str(erasure.erasure_id))
        done += 1
    return done


@transaction.atomic
def _carry_out(erasure: Erasure, *, now: datetime) -> None:
    with connection.cursor() as cursor:  # one at a time, whoever else is about it
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_ERASING_LOCK])
    found = find(erasure.person_id)
    touched: set[tuple[str, str]] = set()
    rows: list[Row] = []
    for _ in range(LOOKS_MOST):
        if found.hindrances:
            raise Hindered("\n".join(found.hindrances))
        touched |= _erase(erasure, found.rows, now=now)
        rows += found.rows
        # What others have written and committed meanwhile; it is found by the same names.
        found = found.again()
        if not found.rows:
            break
    else:
        raise Hindered("More of them is written all the time.")
    for finish in _finishers:
        finish(erasure.person_id)
    all_found = Found(rows=rows)
    erasure.revise(
        event=Erasure.Event.DONE,
        now=now,
        detail={"rows": all_found.counts, "values": all_found.values, "entries": len(touched)},
    ).save()


def _erase(erasure: Erasure, rows: Sequence[Row], *, now: datetime) -> set[tuple[str, str]]:
    """Write an erase entry for each object, and blank the rows; return the objects."""
    named: dict[tuple[str, str], set[str]] = defaultdict(set)
    for row in rows:
        named[row.model, row.object_id] |= {row.prefix + column for column in row.columns}
    made = []
    for (model, object_id), names in sorted(named.items()):  # one order, so that none waits for two
        revision, previous = sealed.last(model=model, object_id=object_id)
        if not previous:
            raise Hindered(f"The ledger does not know {model} {object_id}. Run ledger_verify.")
        entry = entries.Entry(
            type=entries.ERASURE,
            model=model,
            id=object_id,
            rev=revision,
            prev=previous,
            op="erase",
            actor=str(erasure.decided_by),
            at=entries.stamp(now),
            fields=dict.fromkeys(names, ""),
        )
        made.append((model, object_id, entry.encode()))
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT audit_erase(%s, %s::text[], %s::text[], %s::bytea[], %s::jsonb)",
            [
                erasure.erasure_id,
                [model for model, _, _ in made],
                [object_id for _, object_id, _ in made],
                [data for _, _, data in made],
                json.dumps(_grouped(rows)),
            ],
        )
    return {(model, object_id) for model, object_id, _ in made}


def _grouped(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the rows as `audit_erase` takes them: one part for a table and the same columns."""
    groups: dict[tuple[str, str, frozenset[str]], list[int]] = defaultdict(list)
    for row in rows:
        groups[row.table, row.key, row.columns].append(row.pk)
    return [
        {"table": table, "key": key, "columns": sorted(columns), "keys": keys}
        for (table, key, columns), keys in groups.items()
    ]
