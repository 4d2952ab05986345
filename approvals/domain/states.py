"""The access request's machine: its states and transitions, written once.

The FSM decorators of `models.request`, the trigger of the database and this table agree; a test
compares all three. `approved` means approved and waiting for its start or for the target; `active`
means that the connector has confirmed the access on the target; `expired` and `revoked` are said
only after the target has confirmed the removal.
"""

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """Where a request stands."""

    PENDING = "pending"
    APPROVED = "approved"
    ACTIVE = "active"
    REVOKING = "revoking"
    DENIED = "denied"
    CANCELLED = "cancelled"
    LAPSED = "lapsed"
    FAILED = "failed"
    EXPIRED = "expired"
    REVOKED = "revoked"


class EndReason(StrEnum):
    """Why access ended. Everything but TIME makes the final state `revoked`."""

    TIME = "time"
    GIVEN_BACK = "given_back"
    REVOKED = "revoked"
    LEFT = "left"
    RETIRED = "retired"


class Event(StrEnum):
    """What a revision records. The last four leave the state as it is or begin it."""

    APPROVED = "approved"
    DENIED = "denied"
    CANCELLED = "cancelled"
    LAPSED = "lapsed"
    FAILED = "failed"
    ACTIVATED = "activated"
    ENDED = "ended"
    CONFIRMED = "confirmed"
    SUBMITTED = "submitted"
    VOTED = "voted"
    ESCALATED = "escalated"


@dataclass(frozen=True)
class Transition:
    """One arrow of the machine: who may cause it, under which guard, and what is recorded."""

    name: str
    source: State
    targets: tuple[State, ...]
    guard: str
    actor: str
    event: Event


TRANSITIONS = (
    Transition(
        "approve", State.PENDING, (State.APPROVED,),
        "the chain is complete, or the rule approves at once; the current policy still allows it",
        "the approver whose vote completed the chain, or the portal", Event.APPROVED,
    ),
    Transition(
        "deny", State.PENDING, (State.DENIED,),
        "the actor may decide at the open level", "an approver", Event.DENIED,
    ),
    Transition(
        "cancel", State.PENDING, (State.CANCELLED,),
        "not yet settled", "requester, subject, operator, or the portal", Event.CANCELLED,
    ),
    Transition(
        "lapse", State.PENDING, (State.LAPSED,),
        "the last step of the open level is due", "the portal", Event.LAPSED,
    ),
    Transition(
        "cancel", State.APPROVED, (State.CANCELLED,),
        "not yet on the target", "requester, subject, operator, or the portal", Event.CANCELLED,
    ),
    Transition(
        "fail", State.APPROVED, (State.FAILED,),
        "the target refuses for good, or the current policy no longer allows it", "the portal",
        Event.FAILED,
    ),
    Transition(
        "activate", State.APPROVED, (State.ACTIVE,),
        "the target has confirmed the access", "the portal", Event.ACTIVATED,
    ),
    Transition(
        "end", State.ACTIVE, (State.REVOKING,),
        "time is up, or somebody who may ends it",
        "the portal; or subject, requester, manager, owner, compliance, operator", Event.ENDED,
    ),
    Transition(
        "confirm", State.REVOKING, (State.EXPIRED, State.REVOKED),
        "the target has confirmed the removal", "the portal", Event.CONFIRMED,
    ),
)  # fmt: skip

#: Events that add a revision to a pending request without moving it.
STAYING = (Event.VOTED, Event.ESCALATED)

OPEN = (State.PENDING, State.APPROVED, State.ACTIVE, State.REVOKING)
WAITING = (State.PENDING, State.APPROVED)
LIVE = (State.ACTIVE, State.REVOKING)
FINAL = tuple(state for state in State if state not in OPEN)


def sources(name: str) -> list[str]:
    """Return the states that transition `name` leaves from."""
    return [str(arrow.source) for arrow in TRANSITIONS if arrow.name == name]


def targets(name: str) -> list[str]:
    """Return the states that transition `name` may lead to."""
    found = {str(t) for arrow in TRANSITIONS if arrow.name == name for t in arrow.targets}
    return sorted(found)


def moves() -> set[tuple[str, str, str]]:
    """Return every legal (state before, event, state after) of a request that exists."""
    arrows = {
        (str(arrow.source), str(arrow.event), str(target))
        for arrow in TRANSITIONS
        for target in arrow.targets
    }
    staying = {(str(State.PENDING), str(event), str(State.PENDING)) for event in STAYING}
    return arrows | staying
