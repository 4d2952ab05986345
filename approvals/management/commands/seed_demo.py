"""`seed_demo`: fills an empty demo database with people, some months of history, and work to do."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection, transaction

from approvals.management.demo_world import (
    bastion,
    catalogue,
    history,
    people,
    plans,
    reviewing,
    scheduled,
    today,
)
from approvals.models import AccessRequest, OutboxItem, Policy, User
from approvals.outbox import queue
from approvals.selectors import clock
from approvals.services import checking

_SEED_LOCK = 0x6A69_7473


class Command(BaseCommand):
    """All or nothing, in one transaction; a second run changes nothing and says so.

    Raises: CommandError unless this is a demo, and where there are people of somebody else's.
    """

    help = "Fill an empty demo database with people, history and open requests."

    def add_arguments(self, parser: CommandParser) -> None:
        """Where there is an SSH target, its description is a file."""
        parser.add_argument(
            "--bastion",
            type=Path,
            metavar="FILE",
            help="the demo's SSH target (JSON, written by `manage.py demo`): it is configured too, "
            "also beside people who are here already",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Seed, check what was written, and print what there is."""
        if not settings.DEMO:
            raise CommandError(
                "This is not a demo. seed_demo makes people whose password everybody knows; it "
                "works only where DEMO is on."
            )
        began = time.monotonic()
        with _one_wake(), transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_SEED_LOCK])
            if User.objects.exists():
                self._refuse_strangers()
                self._keep_bastion(options["bastion"])
                return
            self._seed(options["bastion"])
        self.stdout.write(f"Done in {time.monotonic() - began:.1f} s.")

    def _refuse_strangers(self) -> None:
        named = User.objects.filter(username__in=["alice", "bob", "carol"]).count()
        if named < 3 or not Policy.objects.filter(name="orders-db-read-write").exists():
            raise CommandError(
                f"There are {User.objects.count()} people in this database, and they are not the "
                "demo's. seed_demo fills empty databases only."
            )

    def _keep_bastion(self, file: Path | None) -> None:
        if file is None:
            self.stdout.write("The demo's people are here already. Nothing was changed.")
            return
        cast = {person.username: person for person in User.objects.all()}
        new = bastion.keep(json.loads(file.read_text()), people=cast, at=clock.now())
        self.stdout.write(
            "The target bastion was added." if new else "The target bastion is where sshd is now."
        )

    def _seed(self, file: Path | None) -> None:
        now = clock.now()
        began_at = now - timedelta(days=plans.DAYS)
        last = OutboxItem.objects.order_by("-id").values_list("id", flat=True).first() or 0
        cast = people.create(began_at=began_at)
        entitlements = catalogue.create(people=cast, began_at=began_at)
        if file is not None:
            bastion.keep(json.loads(file.read_text()), people=cast, at=began_at)
        told = history.tell(
            cast=cast, entitlements=entitlements, began_at=began_at, until=now - timedelta(hours=1)
        )
        catalogue.change_policy(
            entitlements["read"],
            catalogue.longer_reading_policy(),
            at=now - timedelta(minutes=58),
            by=cast["admin"],
            reason="More than a day is possible now, if the manager agrees.",
        )
        early = today.ask_early(cast=cast, entitlements=entitlements, now=now)
        catalogue.change_policy(
            entitlements["read-write"],
            catalogue.WRITE_TODAY,
            at=clock.now(),
            by=cast["admin"],
            reason="Two minutes to answer, so that one can watch an escalation.",
        )
        reviewing.present(cast=cast, entitlements=entitlements)
        OutboxItem.objects.filter(topic="directory.changed", id__gt=last).delete()
        waiting = [early, *today.ask(cast=cast, entitlements=entitlements, now=clock.now())]
        scheduled.save(cast=cast, now=clock.now())
        if differences := list(checking.differences(now=clock.now())):
            raise CommandError("What was written is not consistent: " + "; ".join(differences))
        self.stdout.write(
            f"{len(cast)} people, password “{people.PASSWORD}”: "
            "alice asks, bob and carol decide, erin is above, dora audits, admin configures.\n"
            f"{told.requests} requests of {plans.DAYS} days in "
            f"{AccessRequest.objects.count()} revisions, checked. Their times are made up; "
            "recorded_at says when they were really written.\n"
            f"{len(waiting)} requests wait for an answer now: "
            + ", ".join(f"{row.reference} ({row.subject_name})" for row in waiting)
            + ".\n"
            "One access review is signed off, another one is open: /reviews/."
        )


@contextmanager
def _one_wake() -> Iterator[None]:
    """Wake each lane once afterwards, not once for each row that the past put into the outbox."""
    wake = queue._wake
    queue._wake = None
    try:
        yield
    finally:
        queue._wake = wake
    for lane in queue.LANES:
        queue.wake(lane)
