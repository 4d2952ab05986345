"""Each kind of record, and which of its columns are a person's."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import Model, Q, TextField, Value
from django.db.models.functions import Cast, Concat

from approvals.models import (
    AccessRequest,
    Decision,
    Entitlement,
    GrantEvent,
    Group,
    Membership,
    Notice,
    Policy,
    PublicKey,
    RefusedAttempt,
    ReportExport,
    ReportRun,
    ReportSchedule,
    RequestHandover,
    RequestMessage,
    Resource,
    ReviewCampaign,
    ReviewDecision,
    ReviewItem,
    ReviewShown,
    SignIn,
    User,
)
from audit.models import Erasure, sealed
from audit.selectors.erasures import ERASED, Row

Values = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Person:
    """Who is looked for: `words` they were called (lower case), `pattern` finds whole names."""

    pk: int
    uid: UUID
    words: frozenset[str]
    pattern: re.Pattern[str] | None
    requests: frozenset[UUID]

    def is_named(self, value: Any) -> bool:
        """Return whether a text or a JSON value names this person."""
        if isinstance(value, dict):
            return any(self.is_named(each) for pair in value.items() for each in pair)
        if isinstance(value, list | tuple):
            return any(map(self.is_named, value))
        if not isinstance(value, str):
            return False
        return value.strip().lower() in self.words or bool(
            self.pattern and self.pattern.search(value)
        )

    def is_named_in(self, text: str) -> bool:
        """Return whether any of the words that they were called stands in a text."""
        words = "|".join(map(re.escape, self.words))
        return bool(words and re.search(rf"(?<!\w)(?:{words})(?!\w)", text, re.IGNORECASE))


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of record: `own` finds rows to do with a person, of which `columns` are theirs.

    Any row's `texts` are theirs where they name them. `at` says under which object of the log a row
    stands, and with which prefix. An erase entry erases a field in all revisions of its object, so
    what is erased in one of them is in the others too; `object` is the column that they share.
    """

    model: type[Model]
    label: str
    own: Callable[[Person], Q]
    columns: Callable[[Person, Values], set[str]]
    at: Callable[[Person, Values], tuple[str, str, str]]
    texts: tuple[str, ...] = ()
    object: str = ""

    def rows(self, who: Person) -> Iterator[Row]:
        """Yield the rows of this kind that have something of a person, with the columns."""
        meta = self.model._meta
        assert meta.pk is not None
        every = self.model._default_manager.all()
        found: dict[int, Values] = {}
        for queryset in (every.filter(self.own(who)), *self._mentions(who, every)):
            found |= {row[meta.pk.attname]: row for row in queryset.values(*_columns(self.model))}
        theirs: dict[Any, set[str]] = defaultdict(set)
        for pk, row in found.items():
            columns = self.columns(who, row)
            columns |= {name for name in self.texts if who.is_named(row[name])}
            theirs[row[self.object] if self.object else pk] |= _held(row, columns)
        theirs = {key: columns for key, columns in theirs.items() if columns}
        if self.object and theirs:
            others = every.filter(**{f"{self.object}__in": list(theirs)})
            found |= {row[meta.pk.attname]: row for row in others.values(*_columns(self.model))}
        for pk, row in sorted(found.items()):
            columns = _held(row, theirs.get(row[self.object] if self.object else pk, ()))
            if columns:
                model, object_id, prefix = self.at(who, row)
                yield Row(
                    table=meta.db_table, key=meta.pk.attname, pk=pk, columns=frozenset(columns),
                    model=model, object_id=object_id, prefix=prefix, label=self.label,
                )  # fmt: skip

    def _mentions(self, who: Person, every: Any) -> list[Any]:
        if not self.texts or not who.words:
            return []
        parts: list[Any] = [Value(" ")]
        for name in self.texts:
            parts += [Cast(name, TextField()), Value(" ")]
        condition = Q()
        for word in who.words:
            condition |= Q(_text__icontains=word)
        return [every.annotate(_text=Concat(*parts, output_field=TextField())).filter(condition)]


def _held(row: Values, columns: Iterable[str]) -> set[str]:
    return {name for name in columns if row[name] not in (None, "", ERASED, {}, [])}


def _columns(model: type[Model]) -> list[str]:
    return [field.attname for field in model._meta.concrete_fields]


def _by_id(**names: str) -> Callable[[Person, Values], set[str]]:
    """Return the columns that are a person's where the key beside them is theirs."""
    return lambda who, row: {name for name, key in names.items() if row[key] == who.pk}


_request_names = _by_id(
    requester_name="requester_id", subject_name="subject_id", actor_name="actor_id"
)


def _of_request(who: Person, row: Values) -> set[str]:
    columns = _request_names(who, row)
    if row["request_id"] in who.requests:
        columns |= {"reason", "ticket", "comment", "detail", "target"}
    elif row["actor_id"] == who.pk:
        columns |= {"comment", "detail"}
    return columns


def _said(column: str) -> Callable[[Person, Values], set[str]]:
    """Return the columns of what its actor said on somebody's request, in `column`."""

    def columns(who: Person, row: Values) -> set[str]:
        own = {column, "actor_name"} if row["actor_id"] == who.pk else set()
        return own | ({column} if row["request_id"] in who.requests else set())

    return columns


def _of_handover(who: Person, row: Values) -> set[str]:
    names = {
        column
        for column, key in (
            ("giver_name", "giver_id"), ("taker_name", "taker_id"), ("place_name", "place_id"),
        )
        if row[key] == who.pk
    }  # fmt: skip
    given = row["giver_id"] == who.pk or row["request_id"] in who.requests
    return names | ({"comment"} if given else set())


def _of_notice(who: Person, row: Values) -> set[str]:
    to = {"address", "recipient_name"} if row["recipient_id"] == who.pk else set()
    return {"subject_line"} | to if to or row["request_id"] in who.requests else set()


def _at_notice(who: Person, row: Values) -> tuple[str, str, str]:
    if row["recipient_id"] == who.pk or row["request_id"] is None:
        return "user", str(row["recipient_id"]), "notice."
    return "request", str(row["request_id"]), "notice."


def _of_erasure(who: Person, row: Values) -> set[str]:
    asked = {"asked_by_name"} if row["asked_by"] == who.uid else set()
    return asked | ({"decided_by_name", "comment"} if row["decided_by"] == who.uid else set())


def _of_review(who: Person, row: Values) -> set[str]:
    decided = {"actor_name", "reason"} if row["actor_id"] == who.pk else set()
    return decided | ({"reason"} if row["request_id"] in who.requests else set())


def _on_requests(who: Person) -> Q:
    return Q(request_id__in=who.requests)


RECORDS: tuple[Kind, ...] = (
    Kind(
        model=AccessRequest,
        label="Revisions of requests",
        own=lambda who: _on_requests(who) | Q(actor_id=who.pk),
        columns=_of_request,
        at=lambda _, row: ("request", str(row["request_id"]), ""),
        object="request_id",
        texts=("reason", "ticket", "comment", "detail"),
    ),
    Kind(
        model=Decision,
        label="Decisions",
        own=lambda who: _on_requests(who) | Q(actor_id=who.pk),
        columns=_said("comment"),
        at=lambda _, row: ("decision", f"{row['request_id']}.{row['revision']}", ""),
        texts=("comment",),
    ),
    Kind(
        model=RequestHandover,
        label="Handovers of requests",
        own=lambda who: (
            _on_requests(who) | Q(giver_id=who.pk) | Q(taker_id=who.pk) | Q(place_id=who.pk)
        ),
        columns=_of_handover,
        at=lambda _, row: ("request_handover", f"{row['request_id']}.{row['number']}", ""),
        texts=("comment",),
    ),
    Kind(
        model=RequestMessage,
        label="Questions and answers",
        own=lambda who: _on_requests(who) | Q(actor_id=who.pk),
        columns=_said("text"),
        at=lambda _, row: ("request_message", f"{row['request_id']}.{row['number']}", ""),
        texts=("text",),
    ),
    Kind(
        model=RefusedAttempt,
        label="Attempts that were refused",
        own=lambda who: _on_requests(who) | Q(actor_id=who.pk),
        columns=_said("comment"),
        at=lambda _, row: ("refused_attempt", str(row["uid"]), ""),
        texts=("comment",),
    ),
    Kind(
        model=GrantEvent,
        label="Attempts at targets",
        own=_on_requests,
        columns=lambda who, row: (
            {"error", "detail"} if row["request_id"] in who.requests else set()
        ),
        at=lambda _, row: (
            "grant_event",
            f"{row['request_id']}.{row['kind']}.{sealed.plain_moment(row['started_at'])}",
            "",
        ),
        texts=("error", "detail"),
    ),
    Kind(
        model=Notice,
        label="Mails that were sent",
        own=lambda who: _on_requests(who) | Q(recipient_id=who.pk),
        columns=_of_notice,
        at=_at_notice,
        texts=("subject_line", "address"),
    ),
    Kind(
        model=SignIn,
        label="Sign-ins",
        own=lambda who: Q(person_id=who.pk),
        columns=_by_id(person_name="person_id", address="person_id", agent="person_id"),
        at=lambda _, row: ("sign_in", str(row["uid"]), ""),
    ),
    Kind(
        model=ReportExport,
        label="Report downloads",
        own=lambda who: Q(actor_id=who.pk),
        columns=_by_id(actor_name="actor_id", query="actor_id"),
        at=lambda _, row: ("report_export", str(row["uid"]), ""),
        texts=("query",),
    ),
    Kind(
        model=ReportRun,
        label="Runs of scheduled reports",
        own=lambda who: Q(owner_id=who.pk),
        columns=_by_id(owner_name="owner_id", schedule_name="owner_id", query="owner_id"),
        at=lambda _, row: ("report_run", str(row["run_id"]), ""),
        object="run_id",
        texts=("schedule_name", "query", "reason"),
    ),
    Kind(
        model=ReviewCampaign,
        label="Access reviews",
        own=lambda who: Q(actor_id=who.pk),
        columns=_by_id(actor_name="actor_id", comment="actor_id"),
        at=lambda _, row: ("review_campaign", str(row["campaign_id"]), ""),
        object="campaign_id",
        texts=("name", "comment"),
    ),
    Kind(
        model=ReviewItem,
        label="Accesses under review",
        own=lambda who: Q(subject_id=who.pk) | Q(reviewer_id=who.pk),
        columns=_by_id(subject_name="subject_id", reviewer_name="reviewer_id"),
        at=lambda _, row: ("review_item", str(row["item_id"]), ""),
    ),
    Kind(
        model=ReviewDecision,
        label="Review decisions",
        own=lambda who: _on_requests(who) | Q(actor_id=who.pk),
        columns=_of_review,
        at=lambda _, row: ("review_decision", str(row["item_id"]), ""),
        texts=("reason",),
    ),
    Kind(
        model=ReviewShown,
        label="Reviews that were looked at",
        own=lambda who: Q(person_id=who.pk),
        columns=lambda who, row: set(),  # two numbers and a moment: nothing of it names anybody
        at=lambda _, row: ("review_item", str(row["item_id"]), ""),
    ),
    Kind(
        model=Erasure,
        label="Erasures that they asked for or decided",
        own=lambda who: Q(asked_by=who.uid) | Q(decided_by=who.uid),
        columns=_of_erasure,
        at=lambda _, row: ("erasure", str(row["erasure_id"]), ""),
        object="erasure_id",
        texts=("reference", "comment"),
    ),
)

HISTORIES: dict[str, Any] = {
    "user": User.history.model,
    "group": Group.history.model,
    "membership": Membership.history.model,
    "resource": Resource.history.model,
    "entitlement": Entitlement.history.model,
    "policy": Policy.history.model,
    "publickey": PublicKey.history.model,
    "reportschedule": ReportSchedule.history.model,
}
_TEXTS = {
    "group": ("title",),
    "resource": ("title", "description", "connect_hint", "settings"),
    "entitlement": ("description", "keywords", "settings"),
    "policy": ("description",),
    "reportschedule": ("name", "query", "paused_because"),
}


def _of_history(name: str) -> Callable[[Person, Values], set[str]]:
    def columns(who: Person, row: Values) -> set[str]:
        made = {"history_change_reason"} if row["history_user_id"] == who.pk else set()
        if name == "user" and row["id"] == who.pk:
            return {"username", "name", "email", "title", "timezone", "history_change_reason"}
        if name == "membership" and row["person_id"] == who.pk:
            return {"history_change_reason"}
        if name == "publickey" and row["person_id"] == who.pk:
            return {"text", "fingerprint", "history_change_reason"}
        if name == "reportschedule" and row["owner_id"] == who.pk:
            return {"name", "query", "paused_because", "history_change_reason"}
        return made

    return columns


def _history(name: str) -> Kind:
    about = {
        "user": "id",
        "membership": "person_id",
        "publickey": "person_id",
        "reportschedule": "owner_id",
    }.get(name)

    def own(who: Person) -> Q:
        made = Q(history_user_id=who.pk)
        return made | Q(**{about: who.pk}) if about else made

    return Kind(
        model=HISTORIES[name],
        label=f"History of {'people' if name == 'user' else 'configuration'}",
        own=own,
        columns=_of_history(name),
        at=lambda _, row: (name, str(row["id"]), ""),
        object="id",
        texts=("history_change_reason", *_TEXTS.get(name, ())),
    )


KINDS: tuple[Kind, ...] = (*RECORDS, *map(_history, HISTORIES))
