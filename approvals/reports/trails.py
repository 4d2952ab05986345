"""One request's whole trail, for programs and for people, and the proofs of its entries.

The trail is every revision, decision, handover, refused attempt to decide, attempt at the target,
question and answer as the database holds it. The proofs show that the log has sealed exactly these;
all of them are against one checkpoint.
"""

import json
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, tzinfo
from functools import cache
from typing import Any

from django.db import models
from django.utils import timezone

from approvals.models import (
    AccessRequest,
    Decision,
    GrantEvent,
    RefusedAttempt,
    RequestHandover,
    RequestMessage,
)
from approvals.models.request import reference
from approvals.selectors import handing_over, sentences
from audit.domain import proof, tiles
from audit.models import Log
from audit.selectors import log as ledger
from audit.selectors import payloads, policies, proofs

#: What a terminal acts on or shows in another order: C0, C1, separators of lines, bidi controls.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
#: How deep what was said about a line stands below it.
_DEEP = 27


@dataclass(frozen=True)
class Trail:
    """All records of one request, each kind in its order."""

    request_id: uuid.UUID
    revisions: tuple[AccessRequest, ...]
    decisions: tuple[Decision, ...]
    events: tuple[GrantEvent, ...]
    messages: tuple[RequestMessage, ...] = ()
    handovers: tuple[RequestHandover, ...] = ()
    refused: tuple[RefusedAttempt, ...] = ()

    @property
    def reference(self) -> str:
        """Return the short name."""
        return reference(self.request_id)

    @property
    def newest(self) -> AccessRequest:
        """Return the request as it stands."""
        return self.revisions[-1]


@dataclass(frozen=True)
class Piece:
    """One entry's proof: a name for its files, and their content; without payload if erased."""

    stem: str
    proof: bytes
    entry: bytes
    payload: bytes | None


def load(request_id: uuid.UUID) -> Trail:
    """Return a request's trail (six queries)."""
    return Trail(
        request_id,
        tuple(AccessRequest.objects.filter(request_id=request_id).order_by("revision")),
        tuple(Decision.objects.filter(request_id=request_id).order_by("revision")),
        tuple(GrantEvent.objects.filter(request_id=request_id).order_by("id")),
        tuple(RequestMessage.objects.filter(request_id=request_id).order_by("number")),
        tuple(handing_over.handovers(request_id)),
        tuple(RefusedAttempt.objects.filter(request_id=request_id).order_by("id")),
    )


def as_json(trail: Trail) -> str:
    """Return every column of every record."""
    content = {
        "request": str(trail.request_id),
        "reference": trail.reference,
        "revisions": [_columns(row) for row in trail.revisions],
        "decisions": [_columns(row) for row in trail.decisions],
        "handovers": [_columns(row) for row in trail.handovers],
        "refused_attempts": [_columns(row) for row in trail.refused],
        "messages": [_columns(row) for row in trail.messages],
        "grant_events": [_columns(row) for row in trail.events],
    }
    return json.dumps(content, indent=2, ensure_ascii=False, default=_plain) + "\n"


def as_text(trail: Trail, *, zone: tzinfo) -> str:
    """Return the trail as lines that people read, in time's order, with times in the zone.

    What people wrote begins no line: further lines of theirs stand behind a `| `, and control
    characters are written out as their escapes.
    """
    votes = {row.revision: row for row in trail.decisions}
    with timezone.override(zone):
        lines = [
            (
                row.occurred_at,
                0,
                row.actor_name + (f" for {name}" if name else ""),
                sentences.revision(row, decision=decision),
            )
            for row in trail.revisions
            for decision in (votes.get(row.revision),)
            for name in (decision and handing_over.for_whom(row, trail.handovers),)
        ]
        lines += [(it.occurred_at, 1, "portal", sentences.attempted(it)) for it in trail.events]
        lines += [
            (it.occurred_at, 1, it.actor_name, sentences.messaged(it)) for it in trail.messages
        ]
        lines += [
            (it.occurred_at, 1, it.giver_name, sentences.handed_over(it)) for it in trail.handovers
        ]
        lines += [(it.occurred_at, 1, it.actor_name, sentences.refused(it)) for it in trail.refused]
        lines.sort(key=lambda line: line[:2])
        told = _head(trail, zone)
        for at, _, who, said in lines:
            told.append(f"{_moment(at)}  {_in_line(who)}: {_in_line(str(said))}")
            if said.detail:
                told.append(f"{'':{_DEEP}}{_below(said.detail, deep=_DEEP)}")
    return "\n".join(told) + "\n"


def _head(trail: Trail, zone: tzinfo) -> list[str]:
    newest = trail.newest
    access = f"{newest.resource_name} · {newest.entitlement_name}"
    rule = f"{newest.policy_name} version {newest.policy_version}, rule {newest.rule_name}"
    return [
        f"{trail.reference}  {_in_line(access)}",
        f"Request    {trail.request_id}",
        f"For        {_in_line(f'{newest.subject_name}, asked by {newest.requester_name}')}",
        f"Reason     {_below(newest.reason, deep=11)}",
        f"Ticket     {_in_line(newest.ticket or 'none')}",
        f"Policy     {_in_line(rule)}",
        f"State      {newest.state}, revision {newest.revision}",
        f"Times in   {zone}",
        "",
    ]


def _in_line(text: str) -> str:
    """Return a text in one line, without a character that a terminal would act on."""
    return _CONTROLS.sub(_escape, text)


def _below(text: str, *, deep: int) -> str:
    """Return a text whose further lines are set in and marked as such."""
    first, *further = text.replace("\r\n", "\n").split("\n")
    return "\n".join([_in_line(first), *(f"{'':{deep}}| {_in_line(line)}" for line in further)])


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def _moment(at: datetime) -> str:
    return timezone.localtime(at).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + "  "


def _columns(row: models.Model) -> dict[str, Any]:
    return {field.attname: getattr(row, field.attname) for field in row._meta.concrete_fields}


def _plain(value: Any) -> str:
    """Return what JSON has no form for: bytes in hex, moments in ISO 8601, ids as texts."""
    if isinstance(value, bytes | memoryview):
        return bytes(value).hex()
    return value.isoformat() if isinstance(value, datetime) else str(value)


class Prover:
    """Makes proofs for many trails against one checkpoint of each log."""

    def __init__(self, found: list[Trail]) -> None:
        self._places = {trail.request_id: list(_places(trail)) for trail in found}
        self._trees: dict[int, tuple[tiles.Tree, bytes]] = {}
        largest: dict[int, tuple[Log, int]] = {}
        for _, _, place in (each for places in self._places.values() for each in places):
            if place.log is not None and place.index is not None:
                before = largest.get(place.log.pk, (place.log, -1))[1]
                largest[place.log.pk] = (place.log, max(before, place.index))
        for log, index in largest.values():
            accepted = policies.newest_accepted(log, least=index + 1)
            if accepted is not None:
                checkpoint, message = accepted
                self._trees[log.pk] = (_tree(log, size=checkpoint.size), message)

    def pieces(self, trail: Trail) -> Iterator[Piece]:
        """Yield the proof of each sealed entry of a trail."""
        for stem, place in self._named(trail):
            if place.log is None or place.index is None or place.log.pk not in self._trees:
                continue
            tree, message = self._trees[place.log.pk]
            (opened,) = payloads.read(place.log, start=place.index, count=1)
            path = tuple(tree.inclusion(index=place.index))
            yield Piece(
                stem,
                proof.Proof(place.index, path, message).encode(),
                opened.data,
                opened.payload(),
            )

    def expected(self, trail: Trail) -> list[dict[str, Any]]:
        """Return each entry of a trail as the manifest names it: proven in the pack, or waiting."""
        found = []
        for stem, place in self._named(trail):
            said = json.loads(bytes(place.entry.data))
            known = {"model": said["model"], "id": said["id"], "op": said["op"]}
            sealed = place.log is not None and place.log.pk in self._trees
            found.append({"stem": stem} | known | {"sealed": sealed})
        return found

    def _named(self, trail: Trail) -> Iterator[tuple[str, proofs.Place]]:
        """Yield each entry of a trail with the name of its files."""
        for number, (kind, operation, place) in enumerate(self._places[trail.request_id], 1):
            yield f"{number:02}-{kind}-{operation}", place


def _tree(log: Log, *, size: int) -> tiles.Tree:
    return tiles.Tree(size=size, read=cache(lambda name: ledger.tile(log, name)))


def _places(trail: Trail) -> Iterator[tuple[str, str, proofs.Place]]:
    """Yield kind, operation and place of each entry: revisions first, then what is beside them."""
    events: dict[int | None, str] = {row.pk: row.event for row in trail.revisions}
    for place in proofs.places(object_id=str(trail.request_id), model=AccessRequest.ledger_name):
        yield "request", events.get(place.entry.record_id, "erased"), place
    for decision in trail.decisions:
        object_id = f"{trail.request_id}.{decision.revision}"
        for place in proofs.places(object_id=object_id, model=Decision.ledger_name):
            yield "decision", decision.verdict, place
    for handover in trail.handovers:
        object_id = f"{trail.request_id}.{handover.number}"
        for place in proofs.places(object_id=object_id, model=RequestHandover.ledger_name):
            yield "handover", "handed_over", place
    for message in trail.messages:
        object_id = f"{trail.request_id}.{message.number}"
        for place in proofs.places(object_id=object_id, model=RequestMessage.ledger_name):
            yield "message", message.kind, place
    for attempt in trail.refused:
        for place in proofs.places(object_id=str(attempt.uid), model=RefusedAttempt.ledger_name):
            yield "refused_attempt", attempt.action, place
    for event in trail.events:
        said = event.said()
        for place in proofs.places(object_id=said.object_id, model=GrantEvent.ledger_name):
            yield "grant_event", event.kind, place
