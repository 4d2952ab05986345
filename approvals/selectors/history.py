"""The audit search: everything that ever happened, newest first, from all the tables that keep it.

Each source gives its newest few by its own index and the database merges them, so that a page costs
the same however long the history is. Nothing is counted. A search that has to read too much is
stopped by the database and refused with advice.
"""

import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from operator import attrgetter
from typing import Any, NamedTuple

from django.db import OperationalError, connection, transaction
from django.db.models import F, Model, OuterRef, Subquery, Value
from django.db.models.functions import Concat

from approvals.domain.refusals import Invalid
from approvals.models import (
    AccessRequest,
    Decision,
    GrantEvent,
    RefusedAttempt,
    ReportExport,
    ReportRun,
    RequestHandover,
    RequestMessage,
    ReviewCampaign,
    ReviewDecision,
    ReviewItem,
    SignIn,
)
from approvals.models.request import reference
from approvals.selectors import changes, sentences
from approvals.selectors.history_sources import CONFIGURATION, SOURCES, Arm, Criteria, Position
from approvals.selectors.sentences import Sentence

PAGE = 50
#: Read at once: half of them may be decisions that their revisions tell already.
_RAW = 2 * PAGE + 1
LONGEST_SECONDS = 8

KINDS = {
    "requests": "Requests",
    "decisions": "Decisions",
    "questions": "Questions",
    "grants": "Grants",
    "reviews": "Reviews",
    "configuration": "Configuration",
    "signins": "Sign-ins",
    "downloads": "Downloads",
}


#: Kinds of entries that are neither a request's nor a change of the configuration.
RECORDS = frozenset({"signin", "reportexport", "reportrun"})


@dataclass(frozen=True)
class Entry:
    """One thing that happened: when, who, what, on what, and where to look further."""

    at: datetime
    who: str
    sentence: Sentence
    on: str
    position: Position
    request_id: uuid.UUID | None = None
    revision: int | None = None
    campaign_id: uuid.UUID | None = None
    kind: str = ""
    object_id: int | None = None
    granted_by: uuid.UUID | None = None

    @property
    def is_record(self) -> bool:
        """Return whether it is a record of its own, which can't have a history."""
        return self.kind in RECORDS

    @property
    def reference(self) -> str:
        """Return the request's short name, or nothing where it is none."""
        return reference(self.request_id) if self.request_id else ""

    @property
    def granted_by_reference(self) -> str:
        """Return the short name of the request that a grant made it for, or nothing."""
        return reference(self.granted_by) if self.granted_by else ""


class Page(NamedTuple):
    """Entries, newest first, and where the next page begins (None: there is none)."""

    entries: list[Entry]
    next: Position | None


def find(*, criteria: Criteria, before: Position | None = None) -> Page:
    """Return what matches, newest first, after the position `before` (at most 35 queries).

    Raises: Invalid when looking takes longer than the database is allowed to.
    """
    if criteria.impossible:
        return Page([], None)
    keys = _keys(criteria, before)
    entries = _entries(keys)
    shown = entries[:PAGE]
    more = len(entries) > PAGE or len(keys) == _RAW
    if not more:
        return Page(shown, None)
    return Page(shown, shown[-1].position if shown else keys[-1])


def statement(criteria: Criteria, before: Position | None = None) -> tuple[str, list[Any]]:
    """Return the SQL that finds a page's keys, and its parameters."""
    arms: list[Arm] = [arm for source in SOURCES for arm in source.arms(criteria, before)]
    if not arms:
        return "", []
    union = " UNION " if criteria.people else " UNION ALL "  # only people have overlapping arms
    one = union.join(f"({arm.sql} LIMIT {_RAW})" for arm in arms)
    parameters = [value for arm in arms for value in arm.parameters]
    return (
        f"SELECT rank, at, id FROM ({one}) found"  # noqa: S608 - only constants are put in
        f" ORDER BY at DESC, rank DESC, id DESC LIMIT {_RAW}",
        parameters,
    )


def _keys(criteria: Criteria, before: Position | None) -> list[Position]:
    sql, parameters = statement(criteria, before)
    if not sql:
        return []
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            if criteria.is_narrowed:
                cursor.execute(f"SET LOCAL statement_timeout = '{LONGEST_SECONDS}s'")
            cursor.execute(sql, parameters)
            return [Position(at, rank, pk) for rank, at, pk in cursor.fetchall()]
    except OperationalError as error:
        if getattr(error.__cause__, "sqlstate", None) != "57014":
            raise
        raise Invalid(
            f"That search reads more than {LONGEST_SECONDS} seconds allow. Choose a shorter "
            "period, or name a person, a system or a request.",
            field="q",
            code="too_much",
        ) from error


@dataclass
class _Loaded:
    """The rows behind one page's keys."""

    revisions: dict[int, AccessRequest] = field(default_factory=dict)
    votes: dict[tuple[uuid.UUID, int], Decision] = field(default_factory=dict)
    decisions: dict[int, Decision] = field(default_factory=dict)
    produced: dict[tuple[uuid.UUID, int], AccessRequest] = field(default_factory=dict)
    about: dict[uuid.UUID, AccessRequest] = field(default_factory=dict)
    signins: dict[int, SignIn] = field(default_factory=dict)
    exports: dict[int, ReportExport] = field(default_factory=dict)
    runs: dict[int, ReportRun] = field(default_factory=dict)
    #: By source and id: what happened beside a request's revisions.
    beside: dict[str, dict[int, Any]] = field(default_factory=dict)
    campaigns: dict[int, ReviewCampaign] = field(default_factory=dict)
    #: With the names of what they are about: `subject_name`, `access_is`, `campaign_name`.
    verdicts: dict[int, Any] = field(default_factory=dict)


def _entries(keys: list[Position]) -> list[Entry]:
    """Return the entries of `keys` in their order; decisions that a revision tells are left out."""
    by_source: dict[str, list[int]] = {}
    for key in keys:
        by_source.setdefault(SOURCES[key.rank].name, []).append(key.id)
    loaded = _load(by_source)
    changed = changes.told({name: by_source[name] for name in CONFIGURATION if name in by_source})
    shown_revisions = {(row.request_id, row.revision) for row in loaded.revisions.values()}
    with_revisions = "revisions" in by_source
    entries: list[Entry] = []
    for key in keys:
        name = SOURCES[key.rank].name
        if name == "revisions":
            entries.append(_of_revision(key, loaded))
        elif name == "decisions":
            decision = loaded.decisions[key.id]
            pair = (decision.request_id, decision.revision)
            told = pair in loaded.produced if with_revisions else False
            if not (told or pair in shown_revisions):
                entries.append(_of_decision(key, decision, loaded))
        elif name in _BESIDE:
            entries.append(_of_beside(key, name, loaded))
        elif name == "signins":
            entries.append(_of_signin(key, loaded.signins[key.id]))
        elif name == "exports":
            entries.append(_of_export(key, loaded.exports[key.id]))
        elif name == "runs":
            entries.append(_of_run(key, loaded.runs[key.id]))
        elif name == "campaigns":
            entries.append(_of_campaign(key, loaded.campaigns[key.id]))
        elif name == "verdicts":
            entries.append(_of_verdict(key, loaded.verdicts[key.id]))
        else:
            entries.append(_of_change(key, name, changed[name, key.id]))
    return entries


def _load(by_source: dict[str, list[int]]) -> _Loaded:
    loaded = _Loaded()
    if ids := by_source.get("revisions"):
        loaded.revisions = AccessRequest.objects.in_bulk(ids)
        requests = {row.request_id for row in loaded.revisions.values() if row.actor_id}
        votes = Decision.objects.filter(request_id__in=requests)
        loaded.votes = {(row.request_id, row.revision): row for row in votes}
    if ids := by_source.get("decisions"):
        loaded.decisions = Decision.objects.in_bulk(ids)
        loaded.produced = _produced(loaded.decisions.values())
    for name, kind in _BESIDE.items():
        if ids := by_source.get(name):
            loaded.beside[name] = kind.model._default_manager.in_bulk(ids)
            loaded.about |= _first(row.request_id for row in loaded.beside[name].values())
    if ids := by_source.get("signins"):
        loaded.signins = SignIn.objects.in_bulk(ids)
    if ids := by_source.get("exports"):
        loaded.exports = ReportExport.objects.in_bulk(ids)
    if ids := by_source.get("runs"):
        loaded.runs = ReportRun.objects.select_related("actor").in_bulk(ids)
    if ids := by_source.get("campaigns"):
        loaded.campaigns = ReviewCampaign.objects.in_bulk(ids)
    if ids := by_source.get("verdicts"):
        loaded.verdicts = _verdicts(ids)
    return loaded


def _verdicts(ids: Iterable[int]) -> dict[int, Any]:
    """Return decisions of reviews with the names of what they are about (one query)."""
    item = ReviewItem.objects.filter(item_id=OuterRef("item_id"))
    opened = ReviewCampaign.objects.filter(campaign_id=OuterRef("campaign_id"), revision=1)
    access = item.annotate(both=Concat(F("resource_name"), Value(" · "), F("entitlement_name")))
    rows = ReviewDecision.objects.annotate(
        subject_name=Subquery(item.values("subject_name")),
        access_is=Subquery(access.values("both")),
        campaign_name=Subquery(opened.values("name")),
    )
    return rows.in_bulk(list(ids))


def _first(request_ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, AccessRequest]:
    """Return the first revisions of requests (one query)."""
    rows = AccessRequest.objects.filter(request_id__in=set(request_ids), revision=1)
    return {row.request_id: row for row in rows}


def _produced(decisions: Iterable[Decision]) -> dict[tuple[uuid.UUID, int], AccessRequest]:
    """Return the revisions that decisions produced (one query)."""
    wanted = {(row.request_id, row.revision) for row in decisions}
    rows = AccessRequest.objects.filter(
        request_id__in={request_id for request_id, _ in wanted},
        revision__in={revision for _, revision in wanted},
    )
    return {
        (row.request_id, row.revision): row
        for row in rows
        if (row.request_id, row.revision) in wanted
    }


def _of_revision(key: Position, loaded: _Loaded) -> Entry:
    row = loaded.revisions[key.id]
    vote = loaded.votes.get((row.request_id, row.revision))
    return Entry(
        at=key.at,
        who=row.actor_name,
        sentence=sentences.revision(row, decision=vote),
        on=row.access_name,
        position=key,
        request_id=row.request_id,
        revision=row.revision,
        kind="request",
    )


def _of_decision(key: Position, decision: Decision, loaded: _Loaded) -> Entry:
    row = loaded.produced.get((decision.request_id, decision.revision))
    sentence = sentences.revision(row, decision=decision) if row else sentences.decided(decision)
    return Entry(
        at=key.at,
        who=decision.actor_name,
        sentence=sentence,
        on=row.access_name if row else "",
        position=key,
        request_id=decision.request_id,
        revision=decision.revision,
        kind="request",
    )


class _Beside(NamedTuple):
    """A kind of record beside a request's revisions: whose it is, and what it tells."""

    model: type[Model]
    who: Callable[[Any], str]
    sentence: Callable[[Any], Sentence]


_BESIDE = {
    "attempts": _Beside(GrantEvent, lambda _: "portal", sentences.attempted),
    "handovers": _Beside(RequestHandover, attrgetter("giver_name"), sentences.handed_over),
    "messages": _Beside(RequestMessage, attrgetter("actor_name"), sentences.messaged),
    "refused": _Beside(RefusedAttempt, attrgetter("actor_name"), sentences.refused),
}


def _of_beside(key: Position, name: str, loaded: _Loaded) -> Entry:
    record = loaded.beside[name][key.id]
    row = loaded.about.get(record.request_id)
    return Entry(
        at=key.at,
        who=_BESIDE[name].who(record),
        sentence=_BESIDE[name].sentence(record),
        on=row.access_name if row else "",
        position=key,
        request_id=record.request_id,
        kind="request",
    )


def _of_signin(key: Position, row: SignIn) -> Entry:
    return Entry(
        at=key.at,
        who=row.person_name or "somebody",
        sentence=sentences.signed_in(row),
        on="portal",
        position=key,
        kind="signin",
        object_id=row.pk,
    )


def _of_export(key: Position, row: ReportExport) -> Entry:
    return Entry(
        at=key.at,
        who=row.actor_name,
        sentence=sentences.exported(row),
        on="report",
        position=key,
        kind="reportexport",
        object_id=row.pk,
    )


def _of_run(key: Position, row: ReportRun) -> Entry:
    return Entry(
        at=key.at,
        who=row.actor.get_full_name() if row.actor else "portal",
        sentence=sentences.ran(row),
        on="report",
        position=key,
        kind="reportrun",
        object_id=row.pk,
    )


def _of_campaign(key: Position, row: ReviewCampaign) -> Entry:
    return Entry(
        at=key.at,
        who=row.actor_name,
        sentence=sentences.campaign(row),
        on="access review",
        position=key,
        campaign_id=row.campaign_id,
    )


def _of_verdict(key: Position, row: Any) -> Entry:
    return Entry(
        at=key.at,
        who=row.actor_name,
        sentence=sentences.reviewed(row, subject=row.subject_name, name=row.campaign_name),
        on=row.access_is,
        position=key,
        request_id=row.request_id,
    )


def _of_change(key: Position, name: str, change: changes.Change) -> Entry:
    return Entry(
        at=key.at,
        who=change.who,
        sentence=change.sentence,
        on=changes.NOUNS[name].lower(),
        position=key,
        kind=name,
        object_id=change.object_id,
        granted_by=change.granted_by,
    )
