"""One conversation with a cluster's API server: bounded in time, with errors in our words.

Nothing here knows what is granted. The official client is used with its retries off: trying again
is the outbox's business.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

import urllib3
from kubernetes import client
from kubernetes.client.exceptions import ApiException, OpenApiException
from pydantic import ValidationError

from approvals.connectors.kubernetes_rolebinding.credentials import Credentials
from approvals.connectors.protocol import (
    ConnectorError,
    PermanentError,
    TransientError,
    untouched,
)
from approvals.connectors.secrets import redact

WITHIN_SECONDS = 7.0
CONNECT_TIMEOUT_SECONDS = 2.0
READ_TIMEOUT_SECONDS = 4.0
LONGEST_SAID_CHARACTERS = 300

Answer = TypeVar("Answer")


class Missing(Exception):
    """What was asked for is not there (404)."""


class Conflict(Exception):
    """It is there already, or changed meanwhile (409)."""


class Refused(PermanentError):
    """The API server has answered this very request with a refusal: it changed nothing."""


class Cluster:
    """The API server, for the length of one call of the connector."""

    def __init__(self, api: client.ApiClient, credentials: Credentials) -> None:
        self._deadline = time.monotonic() + WITHIN_SECONDS
        self._credentials = credentials
        self.rbac = client.RbacAuthorizationV1Api(api)
        self.authorization = client.AuthorizationV1Api(api)
        self.version = client.VersionApi(api)

    def call(self, method: Callable[..., Answer], /, *args: Any, **options: Any) -> Answer:
        """Call one of the client's methods within what is left of the time.

        Raises: Missing, Conflict; PermanentError, TransientError.
        """
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TransientError(
                f"{self._credentials.server} was too slow to finish in time. It is tried again."
            )
        timeout = (min(CONNECT_TIMEOUT_SECONDS, left), min(READ_TIMEOUT_SECONDS, left))
        try:
            return method(*args, _request_timeout=timeout, **options)
        except ApiException as error:
            if error.status == 404:
                raise Missing from None
            if error.status == 409:
                raise Conflict from None
            raise self._in_words(error) from None
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise TransientError(
                f"{self._credentials.server} can't be reached ({type(error).__name__}). It is "
                "tried again."
            ) from None
        except (ValidationError, OpenApiException, ValueError, TypeError) as error:
            raise PermanentError(
                f"{self._credentials.server} gave an answer that is not Kubernetes' "
                f'({type(error).__name__}): check "server".'
            ) from None

    def _in_words(self, error: ApiException) -> ConnectorError:
        server, status = self._credentials.server, error.status or 0
        said = self._said(error)
        if status == 0:
            if "CERTIFICATE_VERIFY_FAILED" in said or "doesn't match" in said:
                return PermanentError(
                    f"The certificate of {server} does not hold: put the cluster's authority into "
                    'the resource\'s "ca".'
                )
            return TransientError(f"TLS with {server} failed ({said}). It is tried again.")
        if status == 401:
            return Refused(
                f"{server} does not accept the secret (401): it is wrong, or it has run out. Make "
                "a new token for jitportal's service account."
            )
        if status == 403:
            return Refused(
                f"{server} forbids it: {said}. Give jitportal's service account the rights that "
                "the documentation lists, and bind for this role."
            )
        if status in (410, 429) or status >= 500:
            return TransientError(f"{server} could not do it now ({status}): {said}.")
        kind = Refused if 400 <= status < 500 else PermanentError
        return kind(f"{server} refused ({status}): {said}.")

    def _said(self, error: ApiException) -> str:
        """The server's own sentence, short, and without what is secret."""
        said = str(error.reason or "no reason given")
        try:
            body = json.loads(error.body or "")
            if isinstance(body, dict) and isinstance(body.get("message"), str):
                said = body["message"]
        except (ValueError, TypeError, RecursionError):
            pass
        said = "".join(sign if sign.isprintable() else " " for sign in said)
        for part in self._credentials.sensitive():
            said = redact(said, part)
        return " ".join(said.split())[:LONGEST_SAID_CHARACTERS].rstrip(".")


@contextmanager
def connected(credentials: Credentials) -> Iterator[Cluster]:
    """The cluster, verified by its authority (or the system's); what is opened is closed.

    Raises: PermanentError for a client certificate that can't be used.
    """
    with ExitStack() as stack:
        configuration = client.Configuration(
            host=credentials.server.rstrip("/"),
            ca_cert_data=credentials.ca,
            tls_server_name=credentials.tls_server_name,
            retries=urllib3.Retry(False),
        )
        if credentials.token is not None:
            configuration.api_key = {"authorization": f"Bearer {credentials.token}"}
        elif credentials.certificate is not None and credentials.key is not None:
            with untouched():
                configuration.cert_file = stack.enter_context(_in_memory(credentials.certificate))
                configuration.key_file = stack.enter_context(_in_memory(credentials.key))
        api = stack.enter_context(client.ApiClient(configuration))
        yield Cluster(api, credentials)


@contextmanager
def _in_memory(text: str) -> Iterator[str]:
    """Path of a file that is on no disk: OpenSSL takes certificates from paths alone.

    Raises: PermanentError where the system has no such files.
    """
    if not hasattr(os, "memfd_create"):
        raise PermanentError("Client certificates need Linux here: use a token.")
    handle = os.memfd_create("jitportal", os.MFD_CLOEXEC)
    try:
        os.write(handle, text.encode())
        yield f"/proc/self/fd/{handle}"
    finally:
        os.close(handle)
