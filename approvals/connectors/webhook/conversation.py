"""One thing asked of a receiver: send the event, and wait for its confirmation within the bound.

The receiver does the work before it answers, or answers 202 and says where to ask. When it is not
done within the bound the call fails as not yet done: the outbox delivers the same thing again, with
the same idempotency key, and the receiver, which knows the key, says how far it is.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

from standardwebhooks import Webhook as Signer

from approvals.connectors.protocol import (
    NotYet,
    PermanentError,
    Settings,
    TransientError,
    untouched,
)
from approvals.connectors.secrets import redact
from approvals.connectors.webhook import message
from approvals.connectors.webhook.address import addresses
from approvals.connectors.webhook.exchange import Answer, Place, Refused, exchange
from approvals.connectors.webhook.settings import Endpoint, is_plain_url

WITHIN_SECONDS = 7.0
RESOLVE_WITHIN_SECONDS = 2.0
LONGEST_SAID_CHARACTERS = 300

# It says that the order is to be given elsewhere; after 302 and 303 it may have been carried out.
_MOVED_STATUS = (301, 307, 308)
# The same request may succeed later. All other 4xx: somebody must change something first.
_PASSING_STATUS = (408, 429)
# Somebody is at the same thing, or it is too early for it: the receiver itself works.
_WAITING_STATUS = (409, 423, 425)
_FIRST_WAIT_SECONDS = 0.1
_LONGEST_WAIT_SECONDS = 1.0
_LONGEST_OPERATION_CHARACTERS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmed:
    """The receiver says that it is so. `said` is its answer's JSON object, empty without one."""

    said: Mapping[str, Any]
    polls: int


class Conversation:
    """A receiver whose address was judged, for the length of one call of the connector."""

    def __init__(self, *, resource: Settings, secret: str | None, now: datetime) -> None:
        """Resolve and judge the host. What is sent is dated by `now` and the time since.

        Raises: PermanentError, TransientError.
        """
        self._began_at = now
        self._began = time.monotonic()
        self._deadline = self._began + WITHIN_SECONDS
        self._endpoint = Endpoint.read(resource)
        self._signers: list[Signer] = message.signers(secret=secret)
        self._secret = secret
        found = addresses(
            host=self._endpoint.host,
            port=self._endpoint.port,
            allowed=self._endpoint.allowed,
            within_seconds=RESOLVE_WITHIN_SECONDS,
        )
        self._place = Place(
            host=self._endpoint.host,
            port=self._endpoint.port,
            addresses=found,
            context=self._endpoint.context(),
        )

    def ask(
        self, *, event: str, key: str, data: Mapping[str, Any], asked_at: datetime | None = None
    ) -> Confirmed:
        """Send `event`, and return when the receiver has confirmed it.

        The signature is of this moment; the event itself is of `asked_at`, if that is given.

        Raises: PermanentError, TransientError, NotYet. A refusal of the order itself is
        `untouched`; what goes wrong once it was taken is not.
        """
        sent_at = self._now()
        with untouched(Refused):
            body = message.body_of(event=event, asked_at=asked_at or sent_at, data=data)
            answer = self._send("POST", self._endpoint.target, key=key, body=body, sent_at=sent_at)
            if answer.status != 202:
                return Confirmed(said=self._confirmed(answer), polls=0)
        return self._poll(self._where_to_ask(answer), key=key)

    def redacted(self, said: object) -> str:
        """What the receiver said, short, on one line, and without the secret."""
        text = " ".join(str(said).split())
        text = "".join(sign if sign.isprintable() else "?" for sign in text)
        for part in (self._secret or "").split():
            text = redact(redact(text, part), part.removeprefix("whsec_"))
        return text[:LONGEST_SAID_CHARACTERS]

    def _now(self) -> datetime:
        return self._began_at + timedelta(seconds=time.monotonic() - self._began)

    def _send(self, method: str, path: str, *, key: str, body: str, sent_at: datetime) -> Answer:
        return exchange(
            place=self._place,
            method=method,
            path=path,
            headers=message.headers_of(signers=self._signers, key=key, sent_at=sent_at, body=body),
            body=body.encode(),
            deadline=self._deadline,
        )

    def _poll(self, path: str, *, key: str) -> Confirmed:
        wait_seconds = _FIRST_WAIT_SECONDS
        polls = 0
        while True:
            if time.monotonic() + wait_seconds >= self._deadline:
                raise NotYet(
                    f"{self._place.origin} took the order and has not confirmed it yet. It is "
                    "asked again with the same key."
                )
            time.sleep(wait_seconds)
            wait_seconds = min(2 * wait_seconds, _LONGEST_WAIT_SECONDS)
            polls += 1
            answer = self._send("GET", path, key=key, body="", sent_at=self._now())
            if answer.status == 202:
                continue
            if answer.status in (404, 410):
                raise NotYet(
                    f"{self._place.origin} no longer knows the operation. It is asked anew with "
                    "the same key."
                )
            said = self._confirmed(answer)
            state = said.get("state")
            if state == "done":
                return Confirmed(said=said, polls=polls)
            if state == "failed":
                why = self.redacted(said.get("message", "no reason given"))
                if said.get("retry") is True:
                    raise NotYet(f"{self._place.origin} failed: {why}. It is tried again.")
                raise PermanentError(f"{self._place.origin} refused: {why}.")
            if state != "pending":
                raise PermanentError(
                    f'{self._place.origin} answered about the operation without a "state" of done, '
                    "pending or failed: correct the receiver."
                )

    def _where_to_ask(self, answer: Answer) -> str:
        """The path, with its query, that the 202 names.

        Raises: PermanentError for a place on another origin; NotYet for none.
        """
        said = _object(answer.body)
        url = said.get("status_url")
        operation = said.get("operation")
        if isinstance(url, str) and url:
            return self._path_of(url)
        if isinstance(operation, str | int) and not isinstance(operation, bool):
            name = quote(str(operation), safe="")
            if name.strip(".") and len(name) <= _LONGEST_OPERATION_CHARACTERS:
                base = self._endpoint.path.rstrip("/")
                query = f"?{self._endpoint.query}" if self._endpoint.query else ""
                return f"{base}/operations/{name}{query}"
            raise PermanentError(
                f"{self._place.origin} named an operation that can't be asked for."
            )
        raise NotYet(
            f"{self._place.origin} took the order (202) and has not confirmed it. It is asked "
            "again with the same key."
        )

    def _path_of(self, url: str) -> str:
        base = f"{self._place.origin}{self._endpoint.target}"
        try:
            absolute = urljoin(base, url)
            parts = urlsplit(absolute)
            good = is_plain_url(absolute) and self._endpoint.same_origin(parts)
        except ValueError:
            good = False
        if not good:
            raise PermanentError(
                f"{self._place.origin} names a status_url elsewhere: it must be on the same origin."
            )
        path = parts.path or "/"
        return f"{path}?{parts.query}" if parts.query else path

    def _confirmed(self, answer: Answer) -> dict[str, Any]:
        """The answer's object, if its status says that all is well.

        Raises: PermanentError, TransientError, NotYet.
        """
        status, origin = answer.status, self._place.origin
        if 200 <= status < 300:
            return _object(answer.body)
        if 300 <= status < 400:
            kind = Refused if status in _MOVED_STATUS else PermanentError
            raise kind(
                f"{origin} redirects ({status}), which is not followed: set the resource's URL to "
                "where the receiver is."
            )
        said = _object(answer.body).get("message")
        why = f" {self.redacted(said)}" if isinstance(said, str) and said.strip() else ""
        if status in (401, 403):
            raise Refused(
                f"{origin} does not accept our signature ({status}).{why} Give both sides the same "
                "whsec_ key, and set their clocks."
            )
        if status in _PASSING_STATUS or (status >= 500 and status != 501):
            raise TransientError(
                f"{origin} could not do it now ({status}).{why} It is tried again."
            )
        if status in _WAITING_STATUS:
            raise NotYet(f"{origin} could not do it now ({status}).{why} It is tried again.")
        raise Refused(f"{origin} refused ({status}).{why or ' Ask who runs the receiver.'}")


def _object(body: bytes) -> dict[str, Any]:
    """The JSON object that `body` is; empty for anything else."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
