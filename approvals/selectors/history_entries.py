"""What the audit search found, in words: the rows behind a page's keys, and one entry for each."""

import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from operator import attrgetter
from typing import Any, NamedTuple

from django.db.models import F, Model, OuterRef, Subquery, Value
from django.db.models.functions import Concat

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
from approvals.selectors import changes, personal, sentences
from approvals.selectors.history_sources import CONFIGURATION, SOURCES, Position
from approvals.selectors.sentences import Sentence
from audit.selectors import erasures
from audit.selectors.erasures import Erasure

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
    erasure_id: uuid.UUID | None = None
    #: The objects of the log that it is told from: their kinds and their ids there.
    sealed_as: tuple[tuple[str, str], ...] = ()
    #: By which entries of the log content of it was erased, as far as they are sealed.
    erased_by: Sequence[int] = ()

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

    @property
    def has_erased(self) -> bool:
        """Return whether something that it would tell was erased."""
        return any(erasures.ERASED in text for text in (self.who, self.on, *self.sentence))

    @property
    def erased_words(self) -> str:
        """Return which entries of the log say that content was erased: `entries 12 and 40`.

        Nothing where none of its own objects' does: that waits for the sealer, or what it names
        was erased elsewhere.
        """
        if not self.erased_by:
            return ""
        word = "entry" if len(self.erased_by) == 1 else "entries"
        return f"{word} {' and '.join(map(str, self.erased_by))}"


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
    erasures: dict[int, Erasure] = field(default_factory=dict)
    #: What the people are called now whose content they are about, by their numbers.
    names: dict[int, str] = field(default_factory=dict)


def entries_of(keys: list[Position]) -> list[Entry]:
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
        if name == "decisions":
            decision = loaded.decisions[key.id]
            pair = (decision.request_id, decision.revision)
            told = pair in loaded.produced if with_revisions else False
            if not (told or pair in shown_revisions):
                entries.append(_of_decision(key, decision, loaded))
        elif name in _BESIDE:
            entries.append(_of_beside(key, name, loaded))
        elif name in CONFIGURATION:
            entries.append(_of_change(key, name, changed[name, key.id]))
        else:
            entries.append(_OF[name](key, loaded))
    return _with_erasing(entries)


def _with_erasing(entries: list[Entry]) -> list[Entry]:
    """Return the entries, what was erased in them with its entry (a query for each kind of it)."""
    found = erasures.of_places(
        {place for entry in entries if entry.has_erased for place in entry.sealed_as}
    )
    return [
        replace(entry, erased_by=sorted({leaf for at in entry.sealed_as for leaf in found[at]}))
        if entry.has_erased
        else entry
        for entry in entries
    ]


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
    if ids := by_source.get("erasures"):
        loaded.erasures = Erasure.objects.in_bulk(ids)
        loaded.names = personal.names(row.person_id for row in loaded.erasures.values())
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
        sealed_as=((row.ledger_name, str(row.request_id)),),
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
        sealed_as=((decision.ledger_name, f"{decision.request_id}.{decision.revision}"),),
    )


class _Beside(NamedTuple):
    """A kind of record beside a request's revisions: whose it is, and what it tells."""

    model: type[Model]
    who: Callable[[Any], str]
    sentence: Callable[[Any], Sentence]
    object_id: Callable[[Any], str]


def _numbered(record: Any) -> str:
    return f"{record.request_id}.{record.number}"


_BESIDE = {
    "attempts": _Beside(
        GrantEvent, lambda _: "portal", sentences.attempted, lambda row: row.said().object_id
    ),
    "handovers": _Beside(
        RequestHandover, attrgetter("giver_name"), sentences.handed_over, _numbered
    ),
    "messages": _Beside(RequestMessage, attrgetter("actor_name"), sentences.messaged, _numbered),
    "refused": _Beside(
        RefusedAttempt, attrgetter("actor_name"), sentences.refused, lambda row: str(row.uid)
    ),
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
        sealed_as=((record.ledger_name, _BESIDE[name].object_id(record)),),
    )


def _of_signin(key: Position, loaded: _Loaded) -> Entry:
    row = loaded.signins[key.id]
    return Entry(
        at=key.at,
        who=row.person_name or "somebody",
        sentence=sentences.signed_in(row),
        on="portal",
        position=key,
        kind="signin",
        object_id=row.pk,
        sealed_as=((row.ledger_name, str(row.uid)),),
    )


def _of_export(key: Position, loaded: _Loaded) -> Entry:
    row = loaded.exports[key.id]
    return Entry(
        at=key.at,
        who=row.actor_name,
        sentence=sentences.exported(row),
        on="report",
        position=key,
        kind="reportexport",
        object_id=row.pk,
        sealed_as=((row.ledger_name, str(row.uid)),),
    )


def _of_run(key: Position, loaded: _Loaded) -> Entry:
    row = loaded.runs[key.id]
    return Entry(
        at=key.at,
        who=row.actor.get_full_name() if row.actor else "portal",
        sentence=sentences.ran(row),
        on="report",
        position=key,
        kind="reportrun",
        object_id=row.pk,
        sealed_as=((row.ledger_name, str(row.run_id)),),
    )


def _of_campaign(key: Position, loaded: _Loaded) -> Entry:
    row = loaded.campaigns[key.id]
    return Entry(
        at=key.at,
        who=row.actor_name,
        sentence=sentences.campaign(row),
        on="access review",
        position=key,
        campaign_id=row.campaign_id,
        sealed_as=((row.ledger_name, str(row.campaign_id)),),
    )


def _of_verdict(key: Position, loaded: _Loaded) -> Entry:
    row = loaded.verdicts[key.id]
    return Entry(
        at=key.at,
        who=row.actor_name,
        sentence=sentences.reviewed(row, subject=row.subject_name, name=row.campaign_name),
        on=row.access_is,
        position=key,
        request_id=row.request_id,
        sealed_as=((row.ledger_name, str(row.item_id)),),
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
        sealed_as=(
            (name, str(change.object_id)),
            *([("user", str(change.person_id))] if change.person_id else []),
        ),
    )


def _of_erasure(key: Position, loaded: _Loaded) -> Entry:
    row = loaded.erasures[key.id]
    who = {row.Event.ASKED: row.asked_by_name, row.Event.DONE: "portal"}
    return Entry(
        at=key.at,
        who=who.get(row.Event(row.event), row.decided_by_name),
        sentence=sentences.erasure(row, name=loaded.names.get(row.person_id, "nobody")),
        on="erasure",
        position=key,
        erasure_id=row.erasure_id,
        sealed_as=((row.ledger_name, str(row.erasure_id)),),
    )


_OF: dict[str, Callable[[Position, _Loaded], Entry]] = {
    "revisions": _of_revision,
    "signins": _of_signin,
    "exports": _of_export,
    "runs": _of_run,
    "campaigns": _of_campaign,
    "verdicts": _of_verdict,
    "erasures": _of_erasure,
}
