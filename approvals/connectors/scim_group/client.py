"""One short conversation with a SCIM provider: bounded in time and size, with errors in our words.

What is asked is in `connector`. Source: RFC 7644; RFC 9110 10.2.3 for Retry-After.
"""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import requests
import urllib3

from approvals.connectors.protocol import (
    ConnectorError,
    NotYet,
    PermanentError,
    TransientError,
    untouched,
)
from approvals.connectors.scim_group.wire import Deadline, browser
from approvals.connectors.secrets import redact

CALL_SECONDS = 7.0
OBSERVE_SECONDS = 60.0
READ_SECONDS = 4.0  # for one packet
ANSWER_BYTES = 32 * 1024 * 1024
ATTEMPTS = 3  # of one question, when the provider says after how long to ask again
LONGEST_SAID = 300
PATCH_SCHEMA = "urn:ietf:params:scim:api:messages:2.0:PatchOp"

_BUSY = (408, 409, 425, 429)
_CONTENDED = (409,)
"""Another change of the group at the same moment: no word about other groups."""
_NOT_IMPLEMENTED = 501


@dataclass(frozen=True, slots=True)
class Answer:
    """A provider's answer of 2xx, or of 4xx where the caller said that it understands it."""

    status: int
    data: dict[str, Any]

    @property
    def ok(self) -> bool:
        """Whether it is a success."""
        return self.status < 300

    @property
    def scim_type(self) -> str:
        """The error's keyword (RFC 7644 3.12), or nothing."""
        return str(self.data.get("scimType") or "")


class Refused(PermanentError):
    """The provider has answered this very question with a refusal: it changed nothing."""


class Client:
    """Questions to one provider, one after the other."""

    def __init__(
        self, *, base: str, session: requests.Session, deadline: Deadline, token: str
    ) -> None:
        self._base = base
        self._session = session
        self._deadline = deadline
        self._token = token
        self._unsure = False
        """A change was asked for once more, and may have been made at the first time."""

    def get(
        self,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        understood: tuple[int, ...] = (),
    ) -> Answer:
        """The answer to a GET. `understood` are the 4xx that the caller judges itself.

        Raises: PermanentError, TransientError.
        """
        return self._ask("GET", path, params=params, body=None, understood=understood)

    def patch(
        self, path: str, operation: Mapping[str, Any], *, understood: tuple[int, ...] = ()
    ) -> Answer:
        """The answer to a PATCH of one operation.

        Raises: PermanentError, TransientError.
        """
        body = json.dumps({"schemas": [PATCH_SCHEMA], "Operations": [operation]}).encode()
        return self._ask("PATCH", path, params=None, body=body, understood=understood)

    def judged(self, answer: Answer, *, doing: str) -> PermanentError:
        """What an answer of 4xx means."""
        said = self._clean(str(answer.data.get("detail") or answer.scim_type or "no further word"))
        head = f"The SCIM provider refused {doing} with {answer.status} ({said})."
        advice = {
            401: "Renew the token that the resource's secret holds.",
            403: "Give the token the right to read users and to change groups.",
            404: "Correct the url, or what the settings name.",
            _NOT_IMPLEMENTED: "This provider can't do what membership needs.",
        }
        kind = PermanentError if self._unsure else Refused
        return kind(f"{head} {advice.get(answer.status, 'Correct the settings.')}")

    def _ask(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None,
        body: bytes | None,
        understood: tuple[int, ...],
    ) -> Answer:
        for attempt in range(1, ATTEMPTS + 1):
            with self._send(method, path, params=params, body=body) as response:
                status = response.status_code
                if status in _BUSY or (status >= 500 and status != _NOT_IMPLEMENTED):
                    wait = _retry_after_seconds(response.headers)
                    # As much again must be left for the answer, or a second at least.
                    if (
                        wait is None
                        or attempt == ATTEMPTS
                        or wait + 1 > self._deadline.remaining_seconds()
                    ):
                        raise _busy(status, wait)
                elif 300 <= status < 400:
                    raise PermanentError(
                        f"The SCIM provider answers with a redirect ({status}), which is not "
                        "followed, since the token would go along: set the url to where it leads."
                    )
                else:
                    answer = Answer(status, self._data(response))
                    if not answer.ok and status not in understood:
                        raise self.judged(answer, doing=f"{method} {path}")
                    return answer
            self._unsure |= method == "PATCH"
            time.sleep(wait)
        raise AssertionError("the last attempt returns or raises")

    @contextmanager
    def _send(
        self, method: str, path: str, *, params: Mapping[str, str] | None, body: bytes | None
    ) -> Iterator[requests.Response]:
        remaining = self._deadline.remaining_seconds()
        if remaining <= 0:
            raise _too_slow()
        try:
            with self._session.request(
                method,
                f"{self._base}{path}",
                params=params,
                data=body,
                headers={"Content-Type": "application/scim+json"} if body is not None else {},
                timeout=min(READ_SECONDS, remaining),
                allow_redirects=False,
                stream=True,
            ) as response:
                yield response
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            raise self._broken(error) from None

    def _data(self, response: requests.Response) -> dict[str, Any]:
        """The answer's JSON object; empty where there is none and none is needed.

        Raises: PermanentError for a success that is no JSON object, or is too long; TransientError
        for one that broke off.
        """
        content = bytearray()
        for chunk in response.iter_content(64 * 1024):
            content += chunk
            if len(content) > ANSWER_BYTES:
                raise PermanentError(
                    f"The SCIM provider's answer is longer than {ANSWER_BYTES // 1024**2} MiB: the "
                    "group is too large for this connector."
                )
        if self._deadline.remaining_seconds() <= 0:
            raise _too_slow()  # a body without a stated length ends where it was cut
        if not content:
            return {}
        try:
            data = json.loads(content)
        except (ValueError, RecursionError):
            data = None
        if isinstance(data, dict):
            return data
        if response.status_code < 300:
            if data is None and "json" in response.headers.get("Content-Type", ""):
                raise TransientError("The SCIM provider's answer broke off. It is tried again.")
            raise PermanentError(
                "The answer is not SCIM (no JSON object): set the url to the provider's SCIM 2.0 "
                "base, which often ends with /v2."
            )
        return {}

    def _broken(self, error: Exception) -> ConnectorError:
        refused = _certificate_error(error)
        if refused is not None:
            return PermanentError(
                f"The SCIM provider's certificate is not trusted ({refused.verify_message}). Set "
                '"ca" to the authority that issued it, and the url to a name that it is for.'
            )
        return TransientError(
            "The SCIM provider did not answer in time or hung up "
            f"({self._clean(str(error)) or type(error).__name__}). It is tried again; check that "
            "it is up."
        )

    def _clean(self, said: str) -> str:
        said = redact(said, self._token)
        return "".join(one if one.isprintable() else " " for one in said)[:LONGEST_SAID].strip()


@contextmanager
def conversation(
    *, base: str, token: str | None, ca: str | None, seconds: float
) -> Iterator[Client]:
    """A client whose every question is answered, or refused, within `seconds` in all.

    Raises: PermanentError, TransientError.
    """
    with untouched():
        given = _checked(token)
    with Deadline(seconds) as deadline:
        with untouched():
            session = browser(token=given, ca=ca, deadline=deadline)
        with session:
            yield Client(base=base, session=session, deadline=deadline, token=given)


def _checked(token: str | None) -> str:
    """Return a token that can be sent. Raises: PermanentError."""
    if not token:
        raise PermanentError(
            "The resource has no secret reference: set one (env:NAME or file:/path) that holds "
            "the provider's bearer token."
        )
    if not token.isascii() or not token.isprintable() or " " in token:
        raise PermanentError(
            "The resource's secret is no bearer token: it must be one word of visible characters."
        )
    return token


def _retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """How long the provider asks to wait, by its own clock; None if it doesn't say."""
    written = headers.get("Retry-After", "").strip()
    if written.isascii() and written.isdigit():
        return float(written[:9])
    try:
        then = parsedate_to_datetime(written)
        now = parsedate_to_datetime(headers.get("Date", ""))
        return max(0.0, (then - now).total_seconds())
    except (ValueError, TypeError):
        return None


def _too_slow() -> TransientError:
    return TransientError("The SCIM provider was too slow. It is tried again.")


def _busy(status: int, wait_seconds: float | None) -> TransientError:
    when = "" if wait_seconds is None else f" and asks to wait {wait_seconds:.0f} seconds"
    kind = NotYet if status in _CONTENDED else TransientError
    return kind(f"The SCIM provider answers {status}{when}. It is tried again.")


def _certificate_error(error: BaseException | None) -> ssl.SSLCertVerificationError | None:
    """The refusal of a certificate that is somewhere inside `error`."""
    seen: set[int] = set()
    waiting: list[Any] = [error]
    while waiting:
        one = waiting.pop()
        if not isinstance(one, BaseException) or id(one) in seen:
            continue
        if isinstance(one, ssl.SSLCertVerificationError):
            return one
        seen.add(id(one))
        waiting += [one.__cause__, one.__context__, getattr(one, "reason", None), *one.args]
    return None
