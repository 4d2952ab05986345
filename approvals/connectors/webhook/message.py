"""What a webhook says and how it is signed: Standard Webhooks. No network, no settings.

Source: https://github.com/standard-webhooks/standard-webhooks, version 1.0.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from standardwebhooks import Webhook as Signer

from approvals.connectors.protocol import PermanentError

FEWEST_KEY_BYTES = 24
MOST_KEY_BYTES = 64
MOST_KEYS = 3

_KEY = re.compile(r"[A-Za-z0-9_-]{1,200}")


def signers(*, secret: str | None) -> list[Signer]:
    """One signer for each key of the secret: while a key is being changed there are two.

    Raises: PermanentError, without a word of the secret.
    """
    parts = (secret or "").split()
    if not parts or len(parts) > MOST_KEYS or not all(_is_good(part) for part in parts):
        raise PermanentError(
            "The resource's secret must be a Standard Webhooks key: whsec_ and the base64 of "
            f"{FEWEST_KEY_BYTES} to {MOST_KEY_BYTES} random bytes; the new and the old one, on a "
            "line each, while it is being changed."
        )
    return [Signer(part) for part in parts]


def _is_good(key: str) -> bool:
    prefix, encoded = key[:6], key[6:]
    try:
        length_bytes = len(base64.b64decode(encoded, validate=True))
    except (binascii.Error, ValueError):
        return False
    return prefix == "whsec_" and FEWEST_KEY_BYTES <= length_bytes <= MOST_KEY_BYTES


def idempotency_key(*, request_id: str, action: str, act: str, end: datetime | None) -> str:
    """The same for each delivery of one thing that is asked for, and new for whatever else is.

    `act` tells acts of one request apart. The end that a grant names is part of it, since one that
    names another end asks for something else.

    Raises: PermanentError for an id that can't be written in a header.
    """
    parts = [request_id, action, act]
    if end is not None:
        parts.append(end.astimezone(UTC).strftime("%Y%m%dT%H%M%S%f"))
    key = "_".join(part for part in parts if part)
    if not _KEY.fullmatch(key):
        raise PermanentError("The request's id can't be sent: letters, digits, - and _ alone can.")
    return key


def body_of(*, event: str, asked_at: datetime, data: Mapping[str, Any]) -> str:
    """The message as it is signed and sent: the same at each delivery."""
    return json.dumps(
        {"type": event, "timestamp": asked_at.astimezone(UTC).isoformat(), "data": dict(data)},
        separators=(",", ":"),
    )


def headers_of(*, signers: list[Signer], key: str, sent_at: datetime, body: str) -> dict[str, str]:
    """What goes beside the body; a receiver that knows any of the keys can verify it."""
    at = sent_at.astimezone(UTC)
    return {
        "Content-Type": "application/json",
        "Accept": "application/json",
        "User-Agent": "jitportal",
        "Idempotency-Key": key,
        "webhook-id": key,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(
            signer.sign(msg_id=key, timestamp=at, data=body) for signer in signers
        ),
    }
