"""The clients of a run: `python -m tests.chaos.clients ORDERS.json`, many threads in one process.

Each thread keeps a journal of its own, a line for each call with what it was told. What was
acknowledged there must be found in the database afterwards, whatever was killed meanwhile.
"""

from __future__ import annotations

import heapq
import json
import os
import random
import sys
import threading
import time
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import django

django.setup()

from approvals.models import AccessRequest, Entitlement, User  # noqa: E402
from approvals.selectors import requests as reads  # noqa: E402
from tests.chaos import doors, targets  # noqa: E402
from tests.chaos.doors import Acknowledged, Broken, Door, Refused, Unknown  # noqa: E402

FINAL = {"denied", "cancelled", "lapsed", "failed", "expired", "revoked"}
WHAT = (("read", 0.60), ("write", 0.35), ("quiet", 0.05))


class Client(threading.Thread):
    """Takes requests through their lives, at a given rate, until it is told to begin no more."""

    def __init__(self, number: int, orders: dict[str, Any], door: Door) -> None:
        super().__init__(name=f"{door.name}-{number}")
        self._orders = orders
        self._door = door
        self._chance = random.Random(orders["seed"] * 1000 + number)
        path = Path(orders["folder"]) / f"journal-{self.name}.jsonl"
        self._journal = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._agenda: list[tuple[float, int, str, uuid.UUID, str]] = []
        self._order = 0
        self.counts: Counter[str] = Counter()
        threads = orders["threads"] + orders["page_threads"]
        self._askers = [f"p{n}" for n in range(orders["people"]) if n % threads == number]
        self._taken: dict[tuple[str, int], uuid.UUID] = {}

    def run(self) -> None:
        """Work until the time is over and what was begun is finished."""
        self._people = {user.username: user for user in User.objects.all()}
        self._things = {
            row.pk: row for row in Entitlement.objects.select_related("resource", "policy")
        }
        begun = time.monotonic()
        stop_at = begun + self._orders["seconds"]
        leave_at = stop_at + self._orders["patience_seconds"]
        pause = self._orders["pause_seconds"]
        next_at = begun + self._chance.uniform(0, pause)
        while time.monotonic() < leave_at:
            now = time.monotonic()
            if self._agenda and self._agenda[0][0] <= now:
                _, _, what, request, by = heapq.heappop(self._agenda)
                self._tried(what, request, by)
            elif next_at <= now < stop_at:
                next_at = max(next_at + pause, now - 30 * pause)
                self._submit()
            elif now >= stop_at and not self._agenda:
                return
            else:
                time.sleep(0.02)

    # -- what it does ------------------------------------------------------------------------------

    def _submit(self) -> None:
        name = self._chance.choices([n for n, _ in WHAT], [w for _, w in WHAT])[0]
        things = [row for row in self._things.values() if row.name == name]
        free = [
            (login, thing.pk)
            for login in self._askers
            for thing in things
            if (login, thing.pk) not in self._taken
        ]
        if not free:
            self.counts["nothing free"] += 1
            return
        login, key = self._chance.choice(free)
        who, thing = self._people[login], self._things[key]
        try:
            told = self._write("submit", None, login, lambda: self._door.submit(by=who, what=thing))
        except Unknown:
            self._taken[login, key] = uuid.UUID(int=0)
            self._later(1.0, "adopt", uuid.UUID(int=0), f"{login} {key}")
        except (Refused, Broken):
            pass
        else:
            self._taken[login, key] = told.request
            self._later(self._chance.uniform(0.05, 0.8), "look", told.request, login)

    def _do(self, what: str, request: uuid.UUID, by: str) -> None:
        if what == "adopt":
            self._adopt(by)
            return
        row = doors.standing(request)
        if row.state in FINAL:
            self._taken.pop((by, row.entitlement_id), None)
        elif what == "look":
            self._look(row, by)
        elif what == "end":
            if row.state == "active":
                self._write(
                    "end", request, by, lambda: self._door.end(by=self._people[by], request=request)
                )
            self._later(1.0, "look", request, by)

    def _look(self, row: AccessRequest, by: str) -> None:
        request, me = row.request_id, self._people[by]
        if row.state == "pending" and row.entitlement_name != "quiet":
            if self._chance.random() < 0.05:
                self._write(
                    "cancel", request, by, lambda: self._door.cancel(by=me, request=request)
                )
            else:
                self._decide(row)
            self._later(0.3, "look", request, by)
        elif row.state == "approved" and self._chance.random() < 0.02:
            self._write("cancel", request, by, lambda: self._door.cancel(by=me, request=request))
            self._later(1.0, "look", request, by)
        elif row.state == "active" and row.revision and request.int % 2:
            self._later(self._chance.uniform(0.5, 10), "end", request, by)
        else:
            self._later(1.5, "look", request, by)

    def _decide(self, row: AccessRequest) -> None:
        boss = self._people["boss"]
        verdict = "approve" if self._chance.random() < 0.9 else "deny"
        again = self._chance.random() < 0.1
        for _ in range(2 if again else 1):  # the same page is sent twice
            self._write(
                "decide", row.request_id, "boss",
                lambda: self._door.decide(
                    by=boss, request=row.request_id, seen=row.revision, verdict=verdict
                ),
            )  # fmt: skip

    def _adopt(self, pair: str) -> None:
        """Find out what became of a request that was sent and not answered."""
        login, key = pair.split()
        found = doors.reading(
            lambda: reads.open_for(subject=self._people[login].pk, entitlement=int(key))
        )
        if found is None:
            self._taken.pop((login, int(key)), None)
            return
        self.counts["adopted"] += 1
        self._taken[login, int(key)] = found.request_id
        self._later(0.1, "look", found.request_id, login)

    # -- how it does it ----------------------------------------------------------------------------

    def _later(self, seconds: float, what: str, request: uuid.UUID, by: str) -> None:
        self._order += 1
        heapq.heappush(self._agenda, (time.monotonic() + seconds, self._order, what, request, by))

    def _tried(self, what: str, request: uuid.UUID, by: str) -> None:
        """Do it; what stayed unknown is looked at again, as a person would."""
        try:
            self._do(what, request, by)
        except (Unknown, Refused, Broken):
            self._later(0.7, what if what == "adopt" else "look", request, by)

    def _write(self, what: str, request: uuid.UUID | None, by: str, call: Any) -> Acknowledged:
        """Call, and keep what was told. Raises: Unknown, Refused, Broken."""
        line: dict[str, Any] = {"what": what, "by": by, "request": str(request or "")}
        line["asked_at"] = time.time()
        try:
            told: Acknowledged = call()
        except (Unknown, Refused, Broken) as error:
            line |= {"told": type(error).__name__.lower(), "why": str(error)}
            raise
        except Exception as error:
            line |= {"told": "broken", "why": f"{type(error).__name__}: {error}"}
            raise Broken(str(error)) from error
        else:
            line |= {
                "told": "acknowledged", "request": str(told.request), "event": told.event,
                "revision": told.revision, "state": told.state,
            }  # fmt: skip
            return told
        finally:
            line["at"] = time.time()
            self.counts[f"{what} {line['told']}"] += 1
            os.write(self._journal, (json.dumps(line) + "\n").encode())


class Visitor(threading.Thread):
    """Opens pages all the time, and counts what comes."""

    def __init__(self, orders: dict[str, Any], door: doors.Pages) -> None:
        super().__init__(name="visitor", daemon=True)
        self._door = door
        self._until = time.monotonic() + orders["seconds"] + orders["patience_seconds"]
        self._path = Path(orders["folder"]) / "visits.jsonl"
        self.counts: Counter[str] = Counter()

    def run(self) -> None:
        """Open one page after another."""
        boss = User.objects.get(username="boss")
        with self._path.open("a") as journal:
            while time.monotonic() < self._until:
                told = "answered"
                try:
                    self._door.look(by=boss, path=random.choice(["/", "/inbox/", "/readyz"]))
                except (Unknown, Refused, Broken) as error:
                    told = f"{type(error).__name__.lower()} {error}"
                self.counts[f"page {told}"] += 1
                journal.write(json.dumps({"at": time.time(), "told": told}) + "\n")
                journal.flush()
                time.sleep(0.25)


def main(orders: dict[str, Any]) -> dict[str, int]:
    """Let all clients work; return how often what was told."""
    targets.install()
    ports, sessions = orders["ports"], orders["sessions"]
    clients: list[Client] = []
    statuses: Counter[str] = Counter()
    pages: list[doors.Pages] = []
    for number in range(orders["threads"] + orders["page_threads"]):
        door: Door = doors.Services()
        if number >= orders["threads"]:
            door = doors.Pages(ports, sessions, random.Random(number))
            pages.append(door)
        clients.append(Client(number, orders, door))
    look = doors.Pages(ports, sessions, random.Random(99))
    visitor = Visitor(orders, look)
    for thread in [*clients, visitor]:
        thread.start()
    for client in clients:
        client.join()
    total: Counter[str] = Counter()
    for counts in [*(client.counts for client in clients), visitor.counts]:
        total.update(counts)
    for door_ in [*pages, look]:
        statuses.update({f"status {code}": count for code, count in door_.statuses.items()})
    return dict(total + statuses)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(json.loads(Path(sys.argv[1]).read_text()))) + "\n")
