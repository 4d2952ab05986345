"""Calling targets side by side, so that a slow or dead one leaves room for the others.

Knows no connector: provisioning hands in what to call for a record. Records nothing.
"""

import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

import structlog
from django.conf import settings
from django.db import connections

from approvals.models import AccessRequest, OutboxItem
from approvals.selectors import clock
from approvals.services import grants, recording
from approvals.services import handover as handovers

log = structlog.get_logger(__name__)

#: Calls that one task makes at the same time.
CONCURRENCY = 16


class Answer(Protocol):
    """What a target confirmed: facts for the record, and how many sessions were closed."""

    @property
    def detail(self) -> dict[str, Any]:
        """Return facts without secrets."""

    @property
    def sessions_closed(self) -> int:
        """Return how many open sessions were ended."""

    @property
    def handover(self) -> Sequence[handovers.Given]:
        """Return what is for the subject's eyes alone."""


Row = tuple[OutboxItem, AccessRequest]
Action = Callable[[AccessRequest, datetime, OutboxItem], Answer]


@dataclass(frozen=True)
class Outcome:
    """What came of one call: a receipt, or an error that is permanent or may pass.

    `answered` says that the target works: an error is this access's own. `retry_at` is when it is
    worth another try, where the target said so. `untouched` says that a grant surely made nothing.
    """

    started_at: datetime
    seconds: float
    detail: dict[str, Any] = field(default_factory=dict)
    sessions_closed: int = 0
    error: str = ""
    permanent: bool = False
    answered: bool = True
    retry_at: datetime | None = None
    untouched: bool = False
    handover: Sequence[handovers.Given] = field(default=(), repr=False)
    tried: bool = True

    def attempt(self, number: int) -> grants.Attempt:
        """Return it as the record of an attempt."""
        return grants.Attempt(
            number=number,
            started_at=self.started_at,
            finished_at=self.started_at + timedelta(seconds=self.seconds),
            detail=self.detail,
            sessions_closed=self.sessions_closed,
            error=self.error,
            permanent=self.permanent,
        )


Done = tuple[OutboxItem, AccessRequest, Outcome]


def call(rows: Sequence[Row], action: Action) -> Iterator[list[Done]]:
    """Call the targets of `rows`; yield what is finished as it finishes.

    A resource gets a few calls at a time. Once it fails for now, its other rows are given back
    untried; an access that must wait holds up no other. Whoever claimed the items holds them
    meanwhile (`outbox.holding`).
    """
    assert recording.no_transaction(), "a transaction is open, and the network must not hold one"
    if not rows:
        return
    stopwatch = _Stopwatch(clock.now(), time.monotonic())
    if len(rows) == 1:
        yield [(*rows[0], stopwatch.time(action, rows[0]))]
        return
    with ThreadPoolExecutor(min(CONCURRENCY, len(rows))) as pool:
        calls = _Calls(rows, lambda row: pool.submit(_in_thread, stopwatch, action, row))
        while calls.flying:
            yield calls.finished()


@dataclass(frozen=True)
class _Stopwatch:
    """Tells when calls began by the database's clock, asked once."""

    origin_at: datetime
    origin: float

    def time(self, action: Action, row: Row) -> Outcome:
        item, record = row
        begun = time.monotonic()
        at = self.origin_at + timedelta(seconds=begun - self.origin)
        try:
            receipt = action(record, at, item)
        except Exception as refused:  # one that breaks must not lose the others of its batch
            permanent = bool(getattr(refused, "permanent", False))
            error = getattr(refused, "message", "")
            if not error:
                log.exception("connector.broken", request=record.reference)
                error = f"The connector broke: {type(refused).__name__}."
            return Outcome(
                at,
                time.monotonic() - begun,
                error=error,
                permanent=permanent,
                answered=bool(getattr(refused, "answered", permanent)),
                retry_at=getattr(refused, "until", None),
                untouched=bool(getattr(refused, "untouched", False)),
            )
        return Outcome(
            at,
            time.monotonic() - begun,
            detail=dict(receipt.detail),
            sessions_closed=receipt.sessions_closed,
            handover=receipt.handover,
        )


def _in_thread(stopwatch: _Stopwatch, action: Action, row: Row) -> Outcome:
    try:
        return stopwatch.time(action, row)
    finally:
        connections.close_all()


class _Calls:
    """The calls of one batch: those in flight, and those that wait for their resource's turn."""

    def __init__(self, rows: Sequence[Row], submit: Callable[[Row], Future[Outcome]]) -> None:
        self._submit = submit
        self._waiting: dict[str, deque[Row]] = defaultdict(deque)
        self.flying: dict[Future[Outcome], Row] = {}
        for row in rows:
            self._waiting[row[1].resource_name].append(row)
        for resource in list(self._waiting):
            for _ in range(settings.TARGET_CONCURRENCY):
                self._launch(resource)

    def _launch(self, resource: str) -> None:
        if self._waiting[resource]:
            row = self._waiting[resource].popleft()
            self.flying[self._submit(row)] = row

    def finished(self) -> list[Done]:
        """Return what has finished within moments, and start what may follow it."""
        found: list[Done] = []
        ends: float | None = None
        while self.flying:
            left = max(0.0, ends - time.monotonic()) if ends is not None else None
            done, _ = wait(self.flying, timeout=left, return_when=FIRST_COMPLETED)
            if not done:
                break
            if ends is None:
                ends = time.monotonic() + 0.01
            for future in done:
                item, record = self.flying.pop(future)
                outcome = future.result()
                found.append((item, record, outcome))
                resource = record.resource_name
                if not outcome.answered:
                    found += [(*row, _untried(outcome)) for row in self._waiting[resource]]
                    self._waiting[resource].clear()
                self._launch(resource)
        return found


def _untried(failed: Outcome) -> Outcome:
    return Outcome(
        failed.started_at,
        failed.seconds,
        error=f"Not tried, because the target just failed: {failed.error}",
        tried=False,
        answered=False,
    )
