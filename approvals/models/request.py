"""The access request: each row is one revision, holding the whole state as it then was.

`new = current.revise(event=…, …); new.approve(); new.save()` is the only way on. A transition
changes the new object in memory, `save()` inserts it. The database refuses a revision that does not
follow the newest one, so that of two concurrent ones exactly one is written.
"""

import uuid
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from functools import cache
from hashlib import sha256
from typing import Any, ClassVar, Self

from django.db import models
from django.db.models.base import ModelState
from django.db.models.functions import Cast, Right
from django_fsm import RETURN_VALUE, FSMField, transition

from approvals.directory.models import User
from approvals.domain import states
from approvals.domain.documents import NAME_MAX_CHARS
from approvals.domain.states import EndReason, State
from approvals.models.catalogue import Entitlement
from audit.domain.entries import SYSTEM
from audit.models import AppendOnly, Said, sealed
from audit.models.append_only import columns, documents, many

#: Columns that an entry says by its own members (object, revision, op, prev) or that hold its hash.
_IMPLIED = frozenset(
    {"id", "recorded_at", "hash", "previous_hash", "request_id", "revision", "event"}
)
_REFERENCE_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def reference(request_id: uuid.UUID) -> str:
    """Return the short name that people read out, made of the id's last 40 bits (Crockford)."""
    number = request_id.int & ((1 << 40) - 1)
    letters = [_REFERENCE_ALPHABET[(number >> shift) & 31] for shift in range(35, -5, -5)]
    return f"REQ-{''.join(letters[:4])}-{''.join(letters[4:])}"


class AccessRequest(AppendOnly):
    """One revision of an access request. The newest one is found through `CurrentRequest`.

    `hash` is that of the entry that the revision wrote to the log; `previous_hash` that of the
    revision before, so that each one commits to all before it.
    """

    ledger_name: ClassVar[str] = "request"

    request_id = models.UUIDField()
    revision = models.PositiveIntegerField()
    event = models.CharField(max_length=20)
    state = FSMField(
        default=State.PENDING, protected=True, choices=[(s.value, s.value.title()) for s in State]
    )
    actor = models.ForeignKey(
        User, models.PROTECT, null=True, related_name="+", db_index=False, help_text="Or the portal"
    )
    actor_name = models.CharField(max_length=200)
    occurred_at = models.DateTimeField()
    previous_hash = models.BinaryField(max_length=32, null=True)
    hash = models.BinaryField(max_length=32)

    # what was asked for
    requester = models.ForeignKey(User, models.PROTECT, related_name="+", db_index=False)
    requester_name = models.CharField(max_length=200)
    subject = models.ForeignKey(User, models.PROTECT, related_name="+", db_index=False)
    subject_name = models.CharField(max_length=200)
    entitlement = models.ForeignKey(Entitlement, models.PROTECT, related_name="+", db_index=False)
    resource_name = models.CharField(max_length=100)
    entitlement_name = models.CharField(max_length=100)
    risk = models.CharField(max_length=10)
    reason = models.TextField()
    ticket = models.CharField(max_length=100, blank=True)
    duration_seconds = models.PositiveIntegerField()
    starts_at = models.DateTimeField(null=True, help_text="Null: as soon as it is approved.")
    extends = models.UUIDField(null=True, help_text="The request whose access it prolongs.")
    submitted_at = models.DateTimeField()

    # the policy that it came under
    policy_record = models.ForeignKey(
        "approvals.HistoricalPolicy", models.PROTECT, related_name="+", db_index=False
    )
    policy_name = models.CharField(max_length=100)
    policy_version = models.PositiveIntegerField()
    rule_name = models.CharField(max_length=NAME_MAX_CHARS)

    # where the chain stands
    level = models.PositiveSmallIntegerField(null=True)
    level_name = models.CharField(max_length=NAME_MAX_CHARS, blank=True)
    escalations = models.PositiveSmallIntegerField(default=0)
    due_at = models.DateTimeField(null=True, help_text="When the machine must move by itself.")

    # the grant
    target = models.JSONField(
        default=dict, help_text="Connector, settings, secret reference and login, as approved."
    )
    activated_at = models.DateTimeField(null=True)
    ends_at = models.DateTimeField(null=True)
    end_reason = models.CharField(max_length=20, blank=True)
    removal_due_at = models.DateTimeField(null=True)
    removal_started_at = models.DateTimeField(null=True)
    removal_confirmed_at = models.DateTimeField(null=True)

    comment = models.TextField(blank=True)
    detail = models.JSONField(default=dict)

    # In memory only: the revision that this one was made of, and who makes it.
    _before: "AccessRequest | None" = None
    _actor_uid: str = ""

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["-occurred_at", "-id"], name="request_newest"),
            models.Index(
                fields=["actor", "-occurred_at", "-id"],
                name="request_actor",
                condition=models.Q(actor__isnull=False),
            ),
            models.Index(fields=["entitlement", "-occurred_at", "-id"], name="request_entitlement"),
            models.Index(
                Right(Cast("request_id", models.TextField()), 10),
                name="request_reference",
                condition=models.Q(revision=1),
            ),
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["request_id", "revision"], name="request_revision_once"
            ),
            models.CheckConstraint(
                condition=models.Q(state__in=[s.value for s in State]), name="request_state_known"
            ),
            models.CheckConstraint(
                condition=models.Q(revision__gte=1, duration_seconds__gte=1),
                name="request_positive",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.reference} #{self.revision}"

    @property
    def reference(self) -> str:
        """Return the short name, such as REQ-7F3K-22QP."""
        return reference(self.request_id)

    @property
    def extended_reference(self) -> str:
        """Return the short name of the request that this one extends, or nothing."""
        return reference(self.extends) if self.extends else ""

    @property
    def access_name(self) -> str:
        """Return resource and entitlement as pages write them."""
        return f"{self.resource_name} · {self.entitlement_name}"

    @property
    def duration(self) -> timedelta:
        """Return how long the access lasts from its activation."""
        return timedelta(seconds=self.duration_seconds)

    @property
    def removal_lag(self) -> timedelta | None:
        """Return the time from due to confirmed at the target, once it is confirmed."""
        if self.removal_confirmed_at is None or self.removal_due_at is None:
            return None
        return self.removal_confirmed_at - self.removal_due_at

    @property
    def is_open(self) -> bool:
        """Return whether anything can still happen to it."""
        return self.state in states.OPEN

    @classmethod
    def of_row(cls, names: Iterable[str], values: Iterable[Any], *, alias: str) -> Self:
        """Return the revision that a row of the database is, given all of its columns.

        As `from_db`, without the way through every field, which sweeps would feel.
        """
        new = cls.__new__(cls)
        state = ModelState()
        state.adding, state.db = False, alias
        new.__dict__.update(zip(names, values, strict=True), _state=state)
        return new

    def revise(
        self, *, event: str, actor: User | None, now: datetime, comment: str = "", **changes: Any
    ) -> Self:
        """Return the next revision, unsaved: a copy of this one with `changes` made to it.

        Call the transition on it and save it. `comment` and `detail` are the event's own and do not
        carry over.
        """
        if unknown := changes.keys() - _names():
            raise TypeError(f"a revision has no {', '.join(sorted(unknown))}")
        new = type(self).__new__(type(self))
        new.__dict__.update(self.__dict__)
        new.__dict__.update(
            _state=ModelState(),
            _before=self,
            id=None,
            recorded_at=None,
            revision=self.revision + 1,
            event=str(event),
            actor_id=actor.pk if actor else None,
            _actor_uid=str(actor.uid) if actor else SYSTEM,
            actor_name=actor.get_full_name() if actor else "portal",
            occurred_at=now,
            previous_hash=bytes(self.hash),
            comment=comment,
            detail={},
        )
        new.__dict__.update(changes)
        return new

    def said(self) -> Said:
        """Return what this revision says to the log: what it sets, and by whom.

        One query for the actor where the revision wasn't made by `revise()`.
        """
        if not self._actor_uid:
            self._actor_uid = str(self.actor.uid) if self.actor else SYSTEM
        return self.said_after(self._before, actor=self._actor_uid)

    def said_after(self, before: "AccessRequest | None", *, actor: str) -> Said:
        """Return what this revision says as the one that follows `before`."""
        return Said(
            model=self.ledger_name,
            object_id=str(self.request_id),
            revision=self.revision,
            previous=bytes(self.previous_hash).hex() if self.previous_hash else "",
            operation=self.event,
            actor=actor,
            at=self.occurred_at,
            values=sealed.values(self, before, without=_IMPLIED),
        )

    def build_entry(self) -> sealed.Built:
        """Return what the revision says, its entry and the salts; from now on it has its hash."""
        built = super().build_entry()
        self.hash = sha256(built[1]).digest()
        return built

    @classmethod
    def insert(cls, rows: Sequence[Self]) -> None:
        """Insert revisions of different requests in one statement, and their entries.

        Where many follow earlier revisions, as in a sweep, only what has changed is sent; the rest
        is copied by the database from the row before, which can't have changed.
        """
        if len(rows) > 1 and all(row._state.adding and row._before is not None for row in rows):
            cls._insert_following(rows)
        else:
            super().insert(rows)

    @classmethod
    def _insert_following(cls, rows: Sequence[Self]) -> None:
        pairs = [(row.__dict__, row._before.__dict__) for row in rows if row._before]
        changed = tuple(
            name
            for name, _ in columns(cls)
            if name == "hash" or any(mine[name] != its[name] for mine, its in pairs)
        )
        cls.run(_following_statement(changed), documents(rows, ["before_id", *changed]), rows)

    @property
    def before_id(self) -> int | None:
        """Return the key of the revision that this one was made of."""
        return self._before.pk if self._before else None

    @transition(field=state, source=states.sources("approve"), target=State.APPROVED)
    def approve(self) -> None:
        """Mark as fully approved."""

    @transition(field=state, source=states.sources("deny"), target=State.DENIED)
    def deny(self) -> None:
        """Mark as denied."""
        self._settle()

    @transition(field=state, source=states.sources("cancel"), target=State.CANCELLED)
    def cancel(self) -> None:
        """Mark as cancelled before it became access."""
        self._settle()

    @transition(field=state, source=states.sources("lapse"), target=State.LAPSED)
    def lapse(self) -> None:
        """Mark as lapsed: nobody decided in time."""
        self._settle()

    @transition(field=state, source=states.sources("fail"), target=State.FAILED)
    def fail(self) -> None:
        """Mark as failed: the access can't be made."""
        self._settle()

    @transition(field=state, source=states.sources("activate"), target=State.ACTIVE)
    def activate(self, *, since: datetime | None = None) -> None:
        """Mark as active on the target; the clock starts now, or `since` the end it follows on."""
        self.activated_at = since or self.occurred_at
        self.ends_at = self.due_at = self.activated_at + self.duration

    @transition(field=state, source=states.sources("end"), target=State.REVOKING)
    def end(self) -> None:
        """Mark as ending; the target has yet to confirm."""
        self.due_at = None

    @transition(
        field=state,
        source=states.sources("confirm"),
        target=RETURN_VALUE(*states.targets("confirm")),
    )
    def confirm(self) -> str:
        """Mark as gone from the target: expired when time ran out, else revoked."""
        return State.EXPIRED if self.end_reason == EndReason.TIME else State.REVOKED

    def _settle(self) -> None:
        self.due_at = None
        self.level = None
        self.level_name = ""

    @property
    def policy_document(self) -> Any:
        """Return the pinned policy's document (one query unless loaded with it)."""
        return self.policy_record.document


@cache
def _names() -> frozenset[str]:
    return frozenset(field.attname for field in AccessRequest._meta.concrete_fields)


@cache
def _following_statement(changed: tuple[str, ...]) -> str:
    """Return the statement that copies all columns but `changed` from the revision before."""
    given = set(changed)
    names = [name for name, _ in columns(AccessRequest)]
    return many(
        AccessRequest,
        given=("before_id", *changed),
        row=", ".join(f'v."{name}"' if name in given else f'b."{name}"' for name in names),
        source="v JOIN approvals_accessrequest b ON b.id = v.before_id",
    )
