"""Two ways to use the portal, as a client has them: its services, and its pages over HTTP.

Both tell three outcomes apart: acknowledged, refused with a reason, and unknown (the answer never
came, so that it may have happened or not).
"""

from __future__ import annotations

import http.client
import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol
from urllib.parse import urlencode

from django.db import InterfaceError, OperationalError, close_old_connections, connection

from approvals.domain.refusals import Refusal
from approvals.models import AccessRequest, Entitlement, User
from approvals.selectors import clock
from approvals.selectors import requests as reads
from approvals.services import grants, requests

REASON = "Reprocess stuck refunds of the last run."
MINUTE = timedelta(minutes=1)


class Unknown(Exception):
    """No answer, or one that says to come back: what was asked may have happened or not."""


class Refused(Exception):
    """The portal said no, with a reason."""


class Broken(Exception):
    """The portal answered as it never should: 500, or 503 without saying when to come back."""


@dataclass(frozen=True)
class Acknowledged:
    """What the portal said that it has written."""

    request: uuid.UUID
    event: str
    revision: int | None = None
    state: str | None = None


class Door(Protocol):
    """What a client may do."""

    name: str

    def submit(self, *, by: User, what: Entitlement) -> Acknowledged: ...

    def decide(self, *, by: User, request: uuid.UUID, seen: int, verdict: str) -> Acknowledged: ...

    def cancel(self, *, by: User, request: uuid.UUID) -> Acknowledged: ...

    def end(self, *, by: User, request: uuid.UUID) -> Acknowledged: ...


def reading(ask: Callable[[], Any]) -> Any:
    """Return what a read of the database says. Raises: Unknown while it is away."""
    try:
        return ask()
    except (OperationalError, InterfaceError) as error:
        connection.close()
        raise Unknown(type(error).__name__) from error
    finally:
        close_old_connections()


class Services:
    """The portal's services in this process, which hold their own connections."""

    name = "services"

    def submit(self, *, by: User, what: Entitlement) -> Acknowledged:
        return self._call(
            lambda now: requests.submit(
                actor=by, subject=by, entitlement=what, duration=MINUTE, reason=REASON, now=now
            )
        )

    def decide(self, *, by: User, request: uuid.UUID, seen: int, verdict: str) -> Acknowledged:
        return self._call(
            lambda now: requests.decide(
                actor=by, request_id=request, verdict=verdict, seen_revision=seen,
                comment="Looked at it.", now=now,
            )
        )  # fmt: skip

    def cancel(self, *, by: User, request: uuid.UUID) -> Acknowledged:
        return self._call(lambda now: requests.cancel(actor=by, request_id=request, now=now))

    def end(self, *, by: User, request: uuid.UUID) -> Acknowledged:
        return self._call(lambda now: grants.end(actor=by, request_id=request, now=now))

    @staticmethod
    def _call(write: Callable[[Any], AccessRequest]) -> Acknowledged:
        def run() -> AccessRequest:
            return write(clock.now())

        try:
            row = reading(run)
        except Refusal as refusal:
            raise Refused(type(refusal).__name__) from refusal
        return Acknowledged(row.request_id, str(row.event), row.revision, str(row.state))


class Pages:
    """The portal's pages, at whichever of the web processes answers."""

    name = "pages"

    def __init__(self, ports: list[int], sessions: dict[str, str], chance: random.Random) -> None:
        self._ports = ports
        self._sessions = sessions
        self._chance = chance
        self.statuses: dict[int, int] = {}

    def submit(self, *, by: User, what: Entitlement) -> Acknowledged:
        form = {"entitlement": str(what.pk), "length": "60", "when": "now", "reason": REASON}
        where = self._post(by, "/requests/new/", form)
        return Acknowledged(uuid.UUID(where.strip("/").split("/")[-1]), "submitted", 1)

    def decide(self, *, by: User, request: uuid.UUID, seen: int, verdict: str) -> Acknowledged:
        form = {"verdict": verdict, "seen_revision": str(seen), "comment": "Looked at it."}
        self._post(by, f"/requests/{request}/decide/", form)
        event = "approved" if verdict == "approve" else "denied"
        return Acknowledged(request, event, seen + 1)

    def cancel(self, *, by: User, request: uuid.UUID) -> Acknowledged:
        self._post(by, f"/requests/{request}/cancel/", {})
        return Acknowledged(request, "cancelled")

    def end(self, *, by: User, request: uuid.UUID) -> Acknowledged:
        self._post(by, f"/requests/{request}/end/", {})
        return Acknowledged(request, "ended")

    def look(self, *, by: User, path: str) -> None:
        """Open a page. Raises: Unknown, Broken, Refused."""
        self._ask("GET", by, path, None)

    def _post(self, by: User, path: str, form: dict[str, str]) -> str:
        where = self._ask("POST", by, path, form)
        if "/accounts/login/" in where:
            raise Broken(f"{by.username} is not signed in any more")
        return where

    def _ask(self, verb: str, by: User, path: str, form: dict[str, str] | None) -> str:
        token = "c" * 32
        port = self._chance.choice(self._ports)
        link = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            link.request(
                verb,
                path,
                urlencode(form | {"csrfmiddlewaretoken": token}) if form is not None else None,
                {
                    "Cookie": f"sessionid={self._sessions[by.username]}; csrftoken={token}",
                    "Content-Type": "application/x-www-form-urlencoded",
                },
            )
            answer = link.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise Unknown(type(error).__name__) from error
        finally:
            link.close()
        self.statuses[answer.status] = self.statuses.get(answer.status, 0) + 1
        if answer.status == 503 and answer.getheader("Retry-After"):
            raise Unknown("503")
        if answer.status >= 500:
            raise Broken(f"{verb} {path}: {answer.status}")
        if answer.status >= 400 or (verb == "POST" and answer.status != 302):
            raise Refused(str(answer.status))
        return answer.getheader("Location") or ""


def standing(request: uuid.UUID) -> AccessRequest:
    """Return the request as it stands. Raises: Unknown."""
    found: AccessRequest = reading(lambda: reads.current(request))
    return found
