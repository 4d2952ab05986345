"""The language between provisioning and every kind of target. No connector lives here.

What every connector keeps, and `tests/connectors/contract.py` proves for each:

- `grant` and `revoke` are idempotent: at-least-once delivery, a kill between the side effect and
  its record, and two deliveries at the same moment all end in the same state at the target.
- An error is `PermanentError` (somebody must change something first), `TransientError` (the target
  can't be worked with now; the same call may succeed later) or, of the latter, `NotYet` (the target
  answered, and this one access must wait). Its message says what to do and never holds a secret.
  Whoever *revokes* tries again after each: access that can't be removed stays due, and visible.
- A `grant` that fails for good leaves a removal behind, which is tried until the target confirms
  it, unless the error is `untouched`: raised while it was certain that nothing was made.
- Nothing that is returned or raised holds a secret: not a receipt, a message, a `repr`.
- Every call ends within a bounded time.
- What time it is, it is told (`now`): no host's clock decides anything.
- No state is kept between calls: several threads may use one instance.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

Settings = Mapping[str, Any]
"""Decoded JSON of a resource or an entitlement: whatever `Connector.validate` accepts."""


class ConnectorError(Exception):
    """A target refused or did not answer. `message` is safe to store and to show.

    Raised only as one of its subclasses.
    """

    permanent: ClassVar[bool]
    answered: ClassVar[bool]
    """Whether the target works, so that this error says nothing of other accesses there."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class PermanentError(ConnectorError):
    """Trying again can't help until somebody changes what the message names."""

    permanent = True
    answered = True
    untouched = False
    """Whether a grant surely has made nothing: it was refused before the change was sent, or the
    target has answered the change itself with a refusal. What isn't known is no."""


@contextmanager
def untouched(kind: type[PermanentError] = PermanentError) -> Iterator[None]:
    """Errors of `kind` that leave this block say that they are `untouched`.

    Around what is checked and read before a change is sent; with a `kind` that is raised for the
    target's own refusal alone, around the change too. Never around what is asked after it.
    """
    try:
        yield
    except kind as error:
        error.untouched = True
        raise


class TransientError(ConnectorError):
    """The target could not be reached or was busy; the same call may succeed later.

    It is taken for the target's failure: after a few in a row all that waits there is put off. What
    concerns one access is `NotYet`.
    """

    permanent = False
    answered = False


class NotYet(TransientError):
    """The target answered, and this one access must wait. Others there are not held up by it.

    `until` is when the wait is over, where that is known: the call is made again then.
    """

    answered = True

    def __init__(self, message: str, *, until: datetime | None = None) -> None:
        super().__init__(message)
        self.until = until


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """One thing that is asked of a target about a request, however often it is tried.

    `key` is the same at each try and another one for whatever is asked anew, as when access that
    came back is removed again; `asked_at` is when it was decided.
    """

    key: str
    asked_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantSpec:
    """All that a connector is told about one grant. `secret` is resolved, and hidden in `repr`.

    `ends_at` is when the access is due to end (aware), for targets that can enforce it themselves.
    `now` is the moment of the call by the portal's one clock, its database's: whether something is
    over is judged by that and by nothing else, since a host's clock may be wrong. It is given
    whenever a target is called. `duration` is given where the time begins with the target's
    confirmation: `ends_at` is reckoned from `now` then, and moves from try to try.
    """

    request_id: str
    subject_login: str
    subject_email: str
    resource: str
    entitlement: str
    resource_settings: Settings
    entitlement_settings: Settings
    secret: str | None = field(default=None, repr=False)
    ends_at: datetime | None = None
    duration: timedelta | None = None
    now: datetime | None = None
    act: Act | None = None
    subject_keys: tuple[str, ...] = ()
    """The subject's public SSH keys, each one line of OpenSSH's format, newest first."""

    def moment(self) -> datetime:
        """Return `now`, which whoever calls a target has given."""
        assert self.now is not None, "the moment of the call is missing, and no host's clock counts"
        return self.now

    def everything(self) -> Mapping[str, Any]:
        """Return all that was pinned: it identifies an access of which no more is known."""
        settings = self.resource_settings or self.entitlement_settings
        return {
            "resource": dict(self.resource_settings),
            "entitlement": dict(self.entitlement_settings) or {"name": self.entitlement},
            "in": "" if settings else self.resource,
            "login": self.subject_login,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Handover:
    """What the subject needs to use the access and can't know: shown to them, and to them alone.

    `once` is for what is secret: it is gone after it was shown, and never part of a record.
    """

    label: str
    text: str = field(repr=False)
    once: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What the target confirmed: facts for the record, JSON-safe and without secrets."""

    detail: dict[str, Any]
    """Of a removal, `refused_after_ms` is when the target refused new use, counted from the call's
    beginning, where that is before open sessions are closed. `sessions_live_on` says that they are
    not closed, and perhaps how long they last."""
    sessions_closed: int = 0
    handover: tuple[Handover, ...] = field(default=(), repr=False)
    """Beside the record, kept sealed until it is shown or the grant ends."""


@dataclass(frozen=True, slots=True, order=True)
class Held:
    """One access that exists at the target now, whoever made it."""

    subject_login: str
    entitlement_key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """Whether the target can be worked with now, in a sentence that says what to do if not."""

    ok: bool
    message: str
    latency_ms: float | None = None


class Step(NamedTuple):
    """One line of "how to connect": what it is, and the text or command to copy."""

    label: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One setting, for forms and docs: its key in the settings and what people are told of it."""

    name: str
    label: str
    help: str
    required: bool = False
    kind: Literal["text", "number", "flag", "list", "lines"] = "text"
    """`list` is a JSON list of texts, `lines` a text of several lines (a PEM certificate)."""
    choices: tuple[str, ...] = ()


class Connector(Protocol):
    """One kind of target. Connectors derive from this; what has a value here may stay unsaid."""

    key: ClassVar[str]
    """Stored with resources; never changes."""
    title: ClassVar[str]
    glyph: ClassVar[str]
    """Two letters for a badge."""
    needs_secret: ClassVar[bool]
    """Whether a resource of this kind must name a secret reference."""
    ends_at_target: ClassVar[bool]
    """Whether the target itself enforces `GrantSpec.ends_at`, so that an outage of ours can't
    prolong access."""
    needs_subject_keys: ClassVar[bool] = False
    """Whether a grant needs `GrantSpec.subject_keys`."""
    per_request: ClassVar[bool] = False
    """Whether each grant makes credentials of its own, and its end takes only these."""
    is_told_the_end: ClassVar[bool] = False
    """Whether the target wants to know of a later end before the one that it was told, by another
    `grant`. One that `ends_at_target` is told in any case."""
    resource_fields: ClassVar[tuple[Field, ...]]
    entitlement_fields: ClassVar[tuple[Field, ...]]
    """Every setting that `validate` knows."""

    def grant(self, spec: GrantSpec) -> Receipt:
        """The subject holds the entitlement at the target when this returns.

        Raises: PermanentError, TransientError.
        """
        ...

    def revoke(self, spec: GrantSpec) -> Receipt:
        """The subject no longer holds the entitlement at the target when this returns.

        A subject or an entitlement that the target no longer knows is a success: nobody holds it.

        Raises: PermanentError, TransientError.
        """
        ...

    def lease(self, spec: GrantSpec) -> Mapping[str, Any]:
        """What identifies the access at the target, whichever resource and entitlement lead to it.

        Grants for which it is the same share that access: it is taken with the last of them.
        Nothing of it may depend on the moment or the process: no secret, no network.

        Raises: PermanentError, or what reading bad settings raises; then all that was pinned
        counts.
        """
        return spec.everything()

    def lease_by_secret(self, spec: GrantSpec) -> bool:
        """Whether the secret's reference tells targets apart too: not where settings name them."""
        del spec
        return True

    def observe(
        self,
        *,
        resource_settings: Settings,
        secret: str | None,
        entitlements: Mapping[str, Settings],
        now: datetime,
    ) -> list[Held]:
        """Who holds which of `entitlements` (key → its settings) at the target now; sorted.

        Raises: PermanentError, TransientError.
        """
        ...

    def check(self, *, resource_settings: Settings, secret: str | None, now: datetime) -> Health:
        """Says whether the target answers and lets us work; never raises for the target's sake."""
        ...

    def how_to_connect(self, spec: GrantSpec) -> Sequence[Step]:
        """What the subject does to use the access. No network, no secret, never raises."""
        ...

    def validate(
        self, *, resource_settings: Settings, entitlement_settings: Settings | None
    ) -> list[str]:
        """What is wrong with the settings, a sentence each; empty means good. No network.

        `entitlement_settings=None` judges a resource alone.
        """
        ...
