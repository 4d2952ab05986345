"""How one request of the past goes, act by act, through the services that pages and workers use.

A story is a generator: it yields the moment of its next act and is resumed when that has come. No
target is called: what a target answered is told here, as the connectors would have put it.
"""

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from approvals.domain.refusals import Invalid
from approvals.domain.states import Event, State
from approvals.management.demo_world import words
from approvals.management.demo_world.people import LEAVER
from approvals.management.demo_world.plans import HOUR, MINUTE, Plan
from approvals.models import AccessRequest, Asked, Entitlement, GrantEvent, ReviewItem, User
from approvals.selectors import requests as reads
from approvals.services import escalation, grants, passing, questions, requests

SECOND = timedelta(seconds=1)


@dataclass(frozen=True)
class Stage:
    """What all stories share."""

    people: dict[str, User]
    entitlements: dict[str, Entitlement]
    leaver_left_at: datetime
    reviewed_at: datetime
    #: Who has access that the review of the past removes, and what.
    reviewed_away: tuple[str, str] = ("tomasz", "read")

    @property
    def removed_at(self) -> datetime:
        """Return when a reviewer removes that access."""
        return self.reviewed_at + 130 * MINUTE

    def is_reviewed_away(self, item: ReviewItem) -> bool:
        """Return whether that is the access of an item."""
        subject, entitlement = self.reviewed_away
        return (item.subject_id, item.entitlement_id) == (
            self.people[subject].pk,
            self.entitlements[entitlement].pk,
        )


class Story:
    """One request from its plan to its end. `record` is None until it is sent."""

    def __init__(self, plan: Plan, stage: Stage) -> None:
        self.plan = plan
        self.record: AccessRequest | None = None
        self._stage = stage
        self._chances = plan.chances
        self.asks: tuple[str, str] | None = None
        """What the first approver asks before deciding, and what is answered."""
        self.hands = ""
        """Why the first approver hands it over before it is decided, if they do."""

    def acts(self) -> Iterator[datetime]:
        """Yield the moment of each act, then do it when resumed."""
        yield self.plan.at
        if not self._submit():
            return
        while self._now().state == State.PENDING:
            yield from self._pending()
        if self._now().state == State.APPROVED:
            yield from self._approved()
        if self._now().state == State.ACTIVE:
            ended_at = yield from self._active()
            yield from self._revoking(ended_at)

    def hurry(self, *, now: datetime) -> None:
        """Bring the request to its end at `now`: the past must leave nothing open behind."""
        if self.record is None:
            return
        record = self._look()
        if record.state == State.ACTIVE:
            record = self.record = grants.end(
                actor=self._subject, request_id=record.request_id, comment="Done.", now=now
            )
        if record.state == State.REVOKING:
            self._confirm(number=1, started_at=now)
        elif record.is_open:
            self.record = requests.cancel(
                actor=self._sender,
                request_id=record.request_id,
                comment="Not needed any more.",
                now=now,
            )

    # -- the acts

    def _submit(self) -> bool:
        plan = self.plan
        try:
            self.record = requests.submit(
                actor=self._sender,
                subject=self._subject,
                entitlement=self._stage.entitlements[plan.wants],
                duration=timedelta(minutes=plan.minutes),
                reason=plan.reason,
                ticket=plan.ticket,
                starts_at=plan.starts_at,
                now=plan.at,
            )
        except Invalid as refused:
            if refused.code not in ("duplicate", "too_long"):
                raise
            return False  # the portal refused it, so the records say nothing about it
        return True

    def _pending(self) -> Iterator[datetime]:
        record = self._now()
        assert record.due_at is not None
        silent = self.plan.outcome == "lapsed" or (
            self.plan.outcome == "escalated" and not record.escalations and record.level == 1
        )
        if self.plan.outcome == "cancelled" and record.revision == 1:
            at = record.occurred_at + self._between(4, 40) * MINUTE
        else:
            at = record.occurred_at + self._hesitation()
        asked = self._asked()
        if silent or at >= record.due_at or not asked:
            at = record.due_at + self._tick()
            yield at
            written = escalation.advance(record.request_id, now=at)
            self.record = written[-1] if written else self._look()
            return
        yield from self._talk(asked, until=at)
        yield from self._hand_over(asked, until=at)
        yield at
        if self.plan.subject == LEAVER and self._look().state != State.PENDING:
            return  # the portal has cancelled it
        self.record = self._answer(at, asked)

    def _hand_over(self, asked: list[User], *, until: datetime) -> Iterator[datetime]:
        """Let an approver hand over to somebody else, who decides then."""
        record = self._now()
        if not self.hands or record.revision > 1:
            return
        at = record.occurred_at + (until - record.occurred_at) * 0.8
        yield at
        passing.hand_over(
            actor=asked[0],
            request_id=record.request_id,
            to=self._stage.people["sofia"],
            comment=self.hands,
            seen_revision=record.revision,
            now=at,
        )
        asked[:] = self._asked()

    def _talk(self, asked: list[User], *, until: datetime) -> Iterator[datetime]:
        """Let an approver ask, and the requester answer, before the decision."""
        record = self._now()
        if self.asks is None or record.revision > 1:
            return
        question, answer = self.asks
        at = record.occurred_at + (until - record.occurred_at) * 0.3
        yield at
        said = questions.ask(actor=asked[0], request_id=record.request_id, text=question, now=at)
        at = record.occurred_at + (until - record.occurred_at) * 0.7
        yield at
        questions.answer(
            actor=self._sender,
            request_id=record.request_id,
            question=said.number,
            text=answer,
            now=at,
        )

    def _answer(self, at: datetime, asked: list[User]) -> AccessRequest:
        record, plan = self._now(), self.plan
        if plan.outcome == "cancelled":
            return requests.cancel(
                actor=self._sender,
                request_id=record.request_id,
                comment=self._chances.choice(words.WITHDRAWALS),
                now=at,
            )
        denies = plan.outcome == "denied" and (record.level == 2 or self._chances.random() < 0.6)
        return requests.decide(
            actor=self._approver(asked),
            request_id=record.request_id,
            verdict="deny" if denies else "approve",
            seen_revision=record.revision,
            comment=self._chances.choice(words.DENIALS if denies else words.APPROVALS),
            now=at,
        )

    def _approved(self) -> Iterator[datetime]:
        record, plan = self._now(), self.plan
        begins_at = max(record.occurred_at, record.starts_at or record.occurred_at)
        if plan.outcome == "unscheduled" and begins_at > record.occurred_at:
            at = record.occurred_at + (begins_at - record.occurred_at) / 2
            yield at
            self.record = requests.cancel(
                actor=self._subject,
                request_id=record.request_id,
                comment="The change is called off.",
                now=at,
            )
            return
        failures = plan.failures // 2
        at = begins_at + self._tick()
        for number in range(1, failures + 1):
            attempt = self._attempt(number, at, error=self._unreachable)
            yield attempt.finished_at
            self._failed(attempt, GrantEvent.Kind.GRANT_FAILED)
            at = attempt.finished_at + 2 ** (number - 1) * SECOND
        error = self._refused if plan.outcome == "failed" else ""
        attempt = self._attempt(failures + 1, at, error=error)
        yield attempt.finished_at
        if self.plan.subject == LEAVER and self._look().state != State.APPROVED:
            return
        key, now = record.request_id, attempt.finished_at
        if error:
            self._failed(attempt, GrantEvent.Kind.GRANT_FAILED)
            self.record = grants.fail(request_id=key, reason=error, now=now)
        else:
            self.record = grants.activate(request_id=key, attempt=attempt, now=now)

    def _active(self) -> Generator[datetime, None, datetime]:
        """Go on until the access is to end; return that moment."""
        record = self._now()
        assert record.activated_at is not None
        assert record.ends_at is not None
        if self.plan.outcome == "left":
            at = self._stage.leaver_left_at + self._tick() + SECOND / 4
            yield at  # the portal ends it
        elif self.plan.outcome == "reviewed":
            at = self._stage.removed_at + self._tick()
            yield at  # whoever reviews it ends it
        elif self.plan.outcome in ("given_back", "revoked"):
            at = record.activated_at + record.duration * self._between(0.2, 0.8)
            yield at
            own = self.plan.outcome == "given_back"
            grants.end(
                actor=self._subject if own else self._subject.manager,
                request_id=record.request_id,
                comment=self._chances.choice(words.RETURNS if own else words.REVOCATIONS),
                now=at,
            )
        else:
            at = record.ends_at + self._tick()
            yield at
            grants.end_due(now=at)
        return at

    def _revoking(self, ended_at: datetime) -> Iterator[datetime]:
        at = ended_at + self._tick()
        for number in range(1, self.plan.failures + 1):
            attempt = self._attempt(number, at, error=self._unreachable)
            yield attempt.finished_at
            self._failed(attempt, GrantEvent.Kind.REMOVE_FAILED)
            at = attempt.finished_at + 2 ** (number - 1) * SECOND
        yield at
        self._confirm(number=self.plan.failures + 1, started_at=at)

    def _confirm(self, *, number: int, started_at: datetime) -> None:
        attempt = self._attempt(number, started_at, removing=True)
        key = self._now().request_id
        (self.record,) = grants.confirm_many([(key, attempt)], now=attempt.finished_at)

    # -- what the target says

    def _attempt(
        self, number: int, started_at: datetime, *, error: str = "", removing: bool = False
    ) -> grants.Attempt:
        took_ms = self._between(40, 120)
        finished_at = started_at + took_ms * timedelta(milliseconds=1)
        if error:
            permanent = error == self._refused
            return grants.Attempt(number, started_at, finished_at, error=error, permanent=permanent)
        closed = self._chances.choice((0, 0, 1, 1, 2)) if removing and not self._own_group else 0
        detail = self._receipt(removing=removing)
        if removing and not self._own_group:  # sessions are closed in the rest of the call
            detail["refused_after_ms"] = round(took_ms / 2)
        return grants.Attempt(
            number, started_at, finished_at, detail=detail, sessions_closed=closed
        )

    @property
    def _unreachable(self) -> str:
        if self._own_group:
            return (
                "This portal's directory did not answer (OperationalError): see the worker's log."
            )
        return (
            "PostgreSQL at orders-db did not answer: connection refused. It is tried again; check "
            "that the server is up."
        )

    def _receipt(self, *, removing: bool) -> dict[str, Any]:
        settings = self._stage.entitlements[self.plan.wants].settings
        detail = {**settings, "login": self.plan.subject, "granted": not removing}
        if not self._own_group:
            detail["database"] = "orders"
        return detail | ({"removed": True} if removing else {"pre_existing": False})

    @property
    def _refused(self) -> str:
        if self._own_group:
            return 'There is no group "report-readers": create it, or correct the settings.'
        return (
            f'There is no login "{self.plan.subject}" at this server: CREATE ROLE it with LOGIN '
            "first; this connector grants roles to logins that exist."
        )

    def _failed(self, attempt: grants.Attempt, kind: GrantEvent.Kind) -> None:
        grants.attempted(request_id=self._now().request_id, kind=kind, attempt=attempt)

    # -- small things

    @property
    def _own_group(self) -> bool:
        return self.plan.wants == "report-reader"

    @property
    def _subject(self) -> User:
        return self._stage.people[self.plan.subject]

    @property
    def _sender(self) -> User:
        return self._stage.people[self.plan.sender]

    def _now(self) -> AccessRequest:
        assert self.record is not None
        return self.record

    def _look(self) -> AccessRequest:
        self.record = reads.current(self._now().request_id)
        return self.record

    def _asked(self) -> list[User]:
        rows = Asked.objects.filter(request_id=self._now().request_id)
        keys = set(rows.values_list("person_id", flat=True))
        return [person for person in self._stage.people.values() if person.pk in keys]

    def _approver(self, asked: list[User]) -> User:
        if self._now().escalations:  # whoever was silent stays so; the one above decides
            asked = [who for who in asked if who.username in ("erin", "ruth")] or asked
        return self._chances.choice(asked)

    def _hesitation(self) -> timedelta:
        """Return how long somebody takes to answer: minutes mostly, sometimes hours."""
        if self._now().event == Event.ESCALATED:
            return self._between(5, 50) * MINUTE
        return min(self._chances.lognormvariate(2.3, 1.0) * MINUTE, 3 * HOUR) + SECOND

    def _tick(self) -> timedelta:
        """Return how late the clock's work begins: hundredths of a second, rarely more."""
        rare = self._chances.random() < 0.02
        return self._between(*((200, 900) if rare else (3, 45))) * timedelta(milliseconds=1)

    def _between(self, least: float, most: float) -> float:
        return self._chances.uniform(least, most)
