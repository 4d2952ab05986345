"""How the AWS connectors talk to AWS: whose keys, which address, how long, and what an error means.

The secret is JSON with an access key, `{"access_key_id": "…", "secret_access_key": "…"}` (and
`session_token` if it has one; AWS's own spellings `AccessKeyId`, `aws_access_key_id` are read
too). Without a secret the environment's role is used, as every AWS tool finds it.

No call is repeated here: the outbox does that. What lives elsewhere: what is asked of AWS.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

import botocore.session
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,  # noqa: A004 - botocore's, which its own time-outs derive from
    HTTPClientError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    SSLError,
)
from botocore.loaders import create_loader

from approvals.connectors import secrets
from approvals.connectors.protocol import (
    ConnectorError,
    Field,
    NotYet,
    PermanentError,
    Settings,
    TransientError,
)

CONNECT_TIMEOUT_SECONDS = 2
READ_TIMEOUT_SECONDS = 3
LAST_CALL_AFTER_SECONDS = 2.5
"""No call is begun later than this, so that all of them end within 8 seconds."""
OBSERVING_SECONDS = 60.0
"""The same for reading a large target, page by page."""

RESOURCE_KEYS = ("region", "endpoint_url", "ca_file")
RESOURCE_FIELDS = (
    Field(
        name="region", label="Region", help="Where the service runs: eu-central-1.", required=True
    ),
    Field(
        name="endpoint_url",
        label="Address",
        help="A private endpoint for every call, with https. Leave empty for AWS's own.",
    ),
    Field(
        name="ca_file",
        label="Certificate authorities",
        help="Absolute path of a PEM file that endpoint certificates are checked against.",
    ),
)

_REGION = re.compile(r"[a-z]{2,}(-[a-z]+)+-\d{1,2}")
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_KEY_NAMES = {
    "accesskeyid": "aws_access_key_id",
    "awsaccesskeyid": "aws_access_key_id",
    "secretaccesskey": "aws_secret_access_key",
    "awssecretaccesskey": "aws_secret_access_key",
    "sessiontoken": "aws_session_token",
    "awssessiontoken": "aws_session_token",
}
_CREDENTIALS = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
_DESCRIPTIONS = create_loader()
"""What services there are, read from the library's files once; holds nothing of any call."""
_CONTENDED_CODES = frozenset({"ConcurrentModification", "ConflictException"})
"""Somebody else is changing the same thing."""
_TRANSIENT_CODES = frozenset(
    {
        "InternalError",
        "InternalFailure",
        "InternalServerException",
        "RequestLimitExceeded",
        "RequestTimeout",
        "ServiceFailure",
        "ServiceUnavailable",
        "ServiceUnavailableException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)
_CREDENTIAL_CODES = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
_CLOCK_CODES = frozenset({"RequestExpired", "RequestInTheFuture", "RequestTimeTooSkewed"})
_BY_OUR_CLOCK = re.compile(r"Signature (expired|not yet current)")
"""The library signs requests with the host's time: the one thing that its clock decides."""
_DENIED_CODES = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"})
MISSING_CODES = frozenset({"NoSuchEntity", "ResourceNotFoundException"})


@dataclass(slots=True)
class Aws:
    """AWS as one call of a connector sees it: keys, address, and the time that is left."""

    settings: Settings
    secret: str | None = field(repr=False)
    seconds: float = LAST_CALL_AFTER_SECONDS
    """After this no call is begun."""
    _session: Any = field(init=False, repr=False)
    _canaries: tuple[str, ...] = field(init=False, repr=False)
    _started: float = field(init=False, default_factory=monotonic)

    def __post_init__(self) -> None:
        keys = _keys(self.secret)
        self._canaries = tuple(keys.values())
        try:
            # A session of boto3's own would read the services' descriptions anew for each call.
            self._session = botocore.session.Session()
            self._session.register_component("data_loader", _DESCRIPTIONS)
            if keys:
                self._session.set_credentials(*(keys.get(name) for name in _CREDENTIALS))
        except BotoCoreError as error:
            raise self._translated(error, what="AWS's own configuration") from None

    def client(self, service: str) -> Any:
        """Return a client of `service`. Raises: PermanentError."""
        config = Config(
            connect_timeout=CONNECT_TIMEOUT_SECONDS,
            read_timeout=READ_TIMEOUT_SECONDS,
            retries={"total_max_attempts": 1},
        )
        try:
            return self._session.create_client(
                service,
                region_name=self.settings["region"],
                config=config,
                endpoint_url=self.settings.get("endpoint_url") or None,
                verify=self.settings.get("ca_file") or True,
            )
        except (BotoCoreError, ValueError) as error:
            raise self._translated(error, what=service) from None

    def call(self, method: Callable[..., Any], /, **parameters: Any) -> dict[str, Any]:
        """Call AWS once. Raises: Missing, PermanentError, TransientError."""
        self.in_time()
        try:
            answer: dict[str, Any] = method(**parameters)
        except (BotoCoreError, ClientError, ValueError, OSError) as error:
            what = getattr(method, "__name__", "call")
            raise self._translated(error, what=what) from None
        return answer

    def in_time(self) -> None:
        """Raise TransientError if another call might end too late."""
        if self.elapsed_seconds() > self.seconds:
            raise TransientError("AWS answers too slowly: this is tried again.")

    def elapsed_seconds(self) -> float:
        """Return how long this call of the connector has taken."""
        return monotonic() - self._started

    def say(self, text: str) -> str:
        """Return `text` without anything secret."""
        for part in (self.secret, *self._canaries):
            text = secrets.redact(text, part)
        return text

    def _translated(self, error: Exception, *, what: str) -> ConnectorError:
        if isinstance(error, ClientError):
            return self._refusal(error, what=what)
        if isinstance(error, NoCredentialsError | PartialCredentialsError):
            return PermanentError(
                "There are no AWS credentials: name a secret for the resource, or give the workers "
                "a role."
            )
        said = self.say(str(error)).rstrip(".")
        if isinstance(error, SSLError):
            return PermanentError(
                f"AWS's certificate was refused ({said}): check the address, or name the "
                'authorities in "ca_file".'
            )
        if isinstance(error, ConnectionError | HTTPClientError):
            return TransientError(f"AWS could not be reached for {what} ({said}).")
        if isinstance(error, ParamValidationError):
            return PermanentError(f"AWS can't be asked for {what} like that: {said}.")
        if isinstance(error, OSError):
            return PermanentError(f'A file could not be read ({error.strerror}): see "ca_file".')
        return PermanentError(f"AWS could not be asked for {what}: {said}.")

    def _refusal(self, error: ClientError, *, what: str) -> ConnectorError:
        told = error.response.get("Error", {})
        code = str(told.get("Code", "unknown"))
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        said = self.say(f"{code}: {told.get('Message', '')}").rstrip(". ")
        if code in MISSING_CODES:
            return Missing(f"AWS does not know what {what} names ({said}).")
        if code in _CONTENDED_CODES:
            return NotYet(f"AWS could not do {what} now ({said}).")
        if code in _TRANSIENT_CODES or status in (429, 500, 502, 503, 504):
            return TransientError(f"AWS could not do {what} now ({said}).")
        if code in _CLOCK_CODES or _BY_OUR_CLOCK.search(said):
            return TransientError(
                f"AWS refused {what} for the time that it is signed with ({said}): set this host's "
                "clock. It is tried again."
            )
        if code in _CREDENTIAL_CODES:
            return Refused(
                f"AWS refused the portal's credentials ({said}): put a valid access key into the "
                "resource's secret, or renew the workers' role."
            )
        if code in _DENIED_CODES:
            return Refused(f"The portal's account may not do {what} ({said}).")
        return Refused(f"AWS refused {what} ({said}).")


class Refused(PermanentError):
    """AWS has answered this very call with a refusal: it changed nothing."""


class Missing(Refused):
    """AWS says that the thing is not there."""


def errors_in(settings: Settings, *, known: tuple[str, ...]) -> list[str]:
    """Return what is wrong with a resource's settings, a sentence each."""
    errors = unknown(settings, known)
    region = settings.get("region")
    if not isinstance(region, str) or not _REGION.fullmatch(region):
        errors.append('Set "region" to an AWS region, such as eu-central-1.')
    address = settings.get("endpoint_url")
    if address not in (None, "") and not _good_address(address):
        errors.append('Set "endpoint_url" to an https address without path and user, or leave it.')
    ca_file = settings.get("ca_file")
    if ca_file not in (None, ""):
        usable = isinstance(ca_file, str) and "\0" not in ca_file and Path(ca_file).is_absolute()
        if not usable:
            errors.append('Set "ca_file" to an absolute path.')
    return errors


def unknown(settings: Settings, known: tuple[str, ...]) -> list[str]:
    """Return a sentence for each setting that nobody knows."""
    return [
        f"Unknown setting {name!r}: use {', '.join(known)}."
        for name in sorted(set(settings) - set(known))
    ]


def matches(pattern: re.Pattern[str], value: object) -> bool:
    """Whether `value` is a text that `pattern` describes whole."""
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _good_address(address: object) -> bool:
    if not isinstance(address, str):
        return False
    try:
        parts = urlsplit(address)
        _ = parts.port
    except ValueError:
        return False
    plain_ok = parts.scheme == "http" and parts.hostname in _LOOPBACK
    rest = parts.path.strip("/") or parts.query or parts.fragment or parts.username
    return (parts.scheme == "https" or plain_ok) and bool(parts.hostname) and not rest


def _keys(secret: str | None) -> Mapping[str, str]:
    """Return what boto calls the keys; empty for the environment's. Raises: PermanentError."""
    if not secret or not secret.strip():
        return {}
    try:
        given = json.loads(secret)
    except ValueError:
        given = None
    if isinstance(given, dict):
        keys = {
            _KEY_NAMES.get(str(name).replace("_", "").lower(), ""): value
            for name, value in given.items()
        }
        keys.pop("", None)
        texts = all(isinstance(value, str) and value for value in keys.values())
        if texts and {"aws_access_key_id", "aws_secret_access_key"} <= set(keys):
            return keys
        if not given:
            return {}
    raise PermanentError(
        'The secret must be JSON such as {"access_key_id": "…", "secret_access_key": "…"}, or '
        "empty for the environment's role."
    )
