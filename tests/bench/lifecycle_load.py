"""Child of the lifecycle bench: one portal process whose threads take requests from asked to gone.

Each call of a service gives its connection back to the pool afterwards, as a web request and a task
do. The target answers at once: what is measured is the writing of the records.
"""

from __future__ import annotations

import cProfile
import io
import os
import pstats
import threading
import time
import uuid
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import django

django.setup()

from django.db import close_old_connections, connection  # noqa: E402
from django.test.utils import CaptureQueriesContext  # noqa: E402

from approvals.models import (  # noqa: E402
    AccessRequest,
    Decision,
    Entitlement,
    GrantEvent,
    Group,
    Membership,
    OutboxItem,
    Policy,
    Resource,
    User,
)
from approvals.selectors import clock  # noqa: E402
from approvals.services import grants, requests  # noqa: E402
from tests import world  # noqa: E402
from tests.bench import ground  # noqa: E402

SUBJECTS = 64

#: Where the ids begin that differ between two runs of the same statements; nothing else holds such
#: numbers, so that they can be told apart in the text of a statement.
SUBJECT_FROM = 7_100_000_000


def prepare() -> dict[str, Any]:
    """Make the company: one manager, three data owners, and SUBJECTS people who ask."""
    groups = {name: Group.objects.create(name=name, title=name.title()) for name in ("eng", "data")}
    erin = _person("erin", None)
    manager = _person("bob", erin)
    owners = [_person(name, erin) for name in ("carol", "dan", "dave")]
    for owner in owners:
        Membership.objects.create(person=owner, group=groups["data"])
    resource = Resource.objects.create(
        name="orders-db", title="PostgreSQL · prod", connector="bench", owner=owners[0]
    )
    levels = [world.MANAGER, world.DATA]
    rule = world.rule("eng", groups=["eng"], longest=28_800, levels=levels)
    policy = Policy.objects.create(name="orders", document={"rules": [rule]})
    Entitlement.objects.create(resource=resource, name="read-write", risk="high", policy=policy)
    for number in range(SUBJECTS):
        subject = _person(f"s{number}", manager, id=SUBJECT_FROM + number)
        Membership.objects.create(person=subject, group=groups["eng"])
    OutboxItem.objects.all().delete()
    return {}


def _person(login: str, manager: User | None, **more: Any) -> User:
    return User.objects.create_user(
        login, f"{login}@example.com", None, name=login.title(), manager=manager, **more
    )


class Actors:
    """The people and the entitlement of one thread's requests, as a session would hold them."""

    def __init__(self, number: int) -> None:
        self.subject = User.objects.get(username=f"s{number}")
        self.manager = User.objects.get(username="bob")
        self.owner = User.objects.get(username="carol")
        self.entitlement = Entitlement.objects.select_related("resource", "policy").get()


def lifecycle(actors: Actors) -> uuid.UUID:
    """Take one request through submit, decide ×2, activate, end and confirm; return its id."""
    record = requests.submit(
        actor=actors.subject,
        subject=actors.subject,
        entitlement=actors.entitlement,
        duration=timedelta(minutes=30),
        reason="Reprocess stuck refunds of the last run.",
        now=clock.now(),
    )
    close_old_connections()
    for approver in (actors.manager, actors.owner):
        record = requests.decide(
            actor=approver,
            request_id=record.request_id,
            verdict="approve",
            seen_revision=record.revision,
            comment="Looked at it.",
            now=clock.now(),
        )
        close_old_connections()
    assert record.state == "approved", record.state
    now = clock.now()
    attempt = grants.Attempt(number=1, started_at=now, finished_at=now)
    grants.activate(request_id=record.request_id, attempt=attempt, now=now)
    close_old_connections()
    now = clock.now()
    grants.end(actor=actors.subject, request_id=record.request_id, now=now)
    close_old_connections()
    now = clock.now()
    attempt = grants.Attempt(number=1, started_at=now, finished_at=now)
    (done,) = grants.confirm_many([(record.request_id, attempt)], now=now)
    close_old_connections()
    assert (done.state, done.revision) == ("revoked", 6)
    return record.request_id


def capture() -> dict[str, Any]:
    """Return every statement of one lifecycle, and what in them is its own."""
    actors = Actors(0)
    lifecycle(actors)  # the caches of pinned policies are full from here on
    begun = clock.now()
    with CaptureQueriesContext(connection) as context:
        request_id = _without_closing(actors)
    taken = [query["sql"] for query in context.captured_queries]
    rows = AccessRequest.objects.filter(request_id=request_id).order_by("id")
    return {
        "statements": taken,
        "request_id": str(request_id),
        "subject": actors.subject.pk,
        "records": list(rows.values_list("id", flat=True)),
        "outbox": list(
            OutboxItem.objects.filter(created_at__gte=begun).order_by("id").values_list(
                "id", flat=True
            )
        ),
    }  # fmt: skip


def _without_closing(actors: Actors) -> uuid.UUID:
    connection.inc_thread_sharing()
    return lifecycle(actors)


def run(seconds: float, threads: int, first: int, start_at: float) -> dict[str, Any]:
    """Run lifecycles in `threads` threads, the subjects being those from `first` on.

    Returns how many were done, the seconds from `start_at` until the last one was, and the seconds
    of processor time that this process took for them.
    """
    counts = [0] * threads
    errors: list[str] = []

    def work(number: int) -> None:
        try:
            actors = Actors(first + number)
            lifecycle(actors)
            time.sleep(max(0.0, start_at - time.time()))
            while time.time() < start_at + seconds:
                lifecycle(actors)
                counts[number] += 1
        except BaseException as error:
            errors.append(repr(error))
            raise
        finally:
            connection.close()

    workers = [threading.Thread(target=work, args=[number]) for number in range(threads)]
    for worker in workers:
        worker.start()
    time.sleep(max(0.0, start_at - time.time()))
    cpu_begun = time.process_time()
    for worker in workers:
        worker.join()
    if errors:
        raise RuntimeError(errors[0])
    cpu_seconds = time.process_time() - cpu_begun
    return {"done": sum(counts), "seconds": time.time() - start_at, "cpu_seconds": cpu_seconds}


def without_ledger() -> dict[str, Any]:
    """From now on this process writes records without entries: what the ledger's cost is seen by.

    A revision still has a hash, which its successor must name; here it is any number.
    """
    inserted = AccessRequest.insert.__func__  # type: ignore[attr-defined]

    def insert(cls: type[AccessRequest], rows: Sequence[AccessRequest]) -> None:
        for row in rows:
            row.hash = os.urandom(32)
        inserted(cls, rows)

    AccessRequest.insert = classmethod(insert)  # type: ignore[assignment]
    for model in (AccessRequest, Decision, GrantEvent):
        model.ledger_name = ""
    return {}


def profile(rounds: int, first: int) -> dict[str, Any]:
    """Return the functions that take the most time by themselves, over `rounds` lifecycles."""
    actors = Actors(first)
    lifecycle(actors)
    profiler = cProfile.Profile()
    begun = time.perf_counter()
    with profiler:
        for _ in range(rounds):
            lifecycle(actors)
    seconds = time.perf_counter() - begun
    text = io.StringIO()
    statistics = pstats.Stats(profiler, stream=text)
    statistics.sort_stats("tottime").print_stats(15)
    statistics.sort_stats("cumulative").print_stats(45)
    return {"text": text.getvalue(), "seconds": seconds}


if __name__ == "__main__":
    ground.answer(
        {
            "prepare": prepare,
            "capture": capture,
            "run": run,
            "profile": profile,
            "without_ledger": without_ledger,
        }
    )
