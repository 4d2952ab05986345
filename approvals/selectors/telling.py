"""What a notice needs to know: whom it goes to, what they were told, what happened and what is.

A few queries for each notice, whatever its kind. What a notice says is `services.letters`.
"""

import uuid
from dataclasses import dataclass
from datetime import datetime

from approvals.domain.states import State
from approvals.models import AccessRequest, GrantEvent, Notice, OutboxItem, RequestMessage, User
from approvals.selectors import leases, questions, requests


@dataclass(frozen=True)
class Facts:
    """A request for one notice: the revision that caused it (`event`), and how it stands now.

    `event` and `record` are the same object while nothing has happened since.
    """

    event: AccessRequest
    record: AccessRequest

    @property
    def owner(self) -> User:
        """Return who owns the resource (one query)."""
        return User.objects.get(owned_resources__entitlements=self.record.entitlement_id)


@dataclass(frozen=True)
class Told:
    """A notice that a person got about a request, by one channel."""

    kind: str
    channel: str
    once_key: str
    at: datetime


def key(channel: str, once_key: str) -> str:
    """Return the key under which a channel's notice is recorded; mail's is the notice's own."""
    return once_key if channel == "email" else f"{channel}:{once_key}"


def review_key(kind: str, campaign_id: uuid.UUID) -> str:
    """Return how the keys of all notices of a kind about one access review begin."""
    return f"{kind}:{campaign_id}:"


def recipient(pk: int) -> User | None:
    """Return a person, active or not (one query)."""
    return User.objects.filter(pk=pk).first()


def told(request_id: uuid.UUID, *, person: int) -> list[Told]:
    """Return what the person was told about the request (one query)."""
    rows = Notice.objects.filter(request_id=request_id, recipient_id=person).order_by("id")
    return [Told(*row) for row in rows.values_list("kind", "channel", "once_key", "occurred_at")]


def was_told(once_key: str) -> bool:
    """Return whether the notice of this key was sent (one query)."""
    return Notice.objects.filter(once_key=once_key).exists()


def facts(request_id: uuid.UUID, *, revision: int) -> Facts | None:
    """Return a revision and the newest one (one query); None where there is no such revision."""
    rows = requests.with_newest(request_id, revision=revision)
    if not rows or rows[0].revision != revision:
        return None
    return Facts(event=rows[0], record=rows[-1])


@dataclass(frozen=True)
class Exchange:
    """A question or an answer that is told; with an answer, the question that it is to."""

    message: RequestMessage
    question: RequestMessage
    is_answered: bool


def exchange(request_id: uuid.UUID, *, number: int) -> Exchange | None:
    """Return a message of a request for its notice (one query); None where there is none."""
    rows = {row.number: row for row in questions.messages(request_id)}
    message = rows.get(number)
    if message is None:
        return None
    return Exchange(
        message=message,
        question=rows[message.answers] if message.answers else message,
        is_answered=any(row.answers == number for row in rows.values()),
    )


def stuck_since(record: AccessRequest) -> datetime | None:
    """Return since when access is to be gone that may still be there (one query at most).

    None where none may be. It is an end that is not confirmed, or what was left of a grant that
    never became active, or came back.
    """
    if record.state == State.REVOKING:
        return record.removal_due_at
    return (
        OutboxItem.objects.filter(
            key=leases.key(record),
            topic="grant.cleanup",
            payload__request_id=str(record.request_id),
        )
        .order_by("id")
        .values_list("created_at", flat=True)
        .first()
    )


def failed_removals(request_id: uuid.UUID) -> int:
    """Return how many attempts to remove the access have failed (one query)."""
    return GrantEvent.objects.filter(
        request_id=request_id, kind=GrantEvent.Kind.REMOVE_FAILED
    ).count()
