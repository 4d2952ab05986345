"""Access at a system that has no connector: its own receiver is told what to grant and to revoke.

Each event is a POST to an https URL, signed as Standard Webhooks says; the receiver makes it so
and answers 2xx, or 202 and where to ask. The secret is the signing key, `whsec_…`. Settings are in
`settings`, the guard against reaching inside in `address`, one request in `exchange`, the wait for
a confirmation in `conversation`. docs/connectors/webhook.md is the receiver's contract.

What it can't do: know whether the receiver tells the truth.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import datetime
from time import perf_counter
from typing import Any, ClassVar

from approvals.connectors.protocol import (
    Connector,
    ConnectorError,
    Field,
    GrantSpec,
    Health,
    Held,
    PermanentError,
    Receipt,
    Settings,
    Step,
    untouched,
)
from approvals.connectors.webhook import message, settings
from approvals.connectors.webhook.conversation import Confirmed, Conversation

LONGEST_LOGIN_CHARACTERS = 255
MOST_PAGES = 1_000

_LONGEST_CURSOR_CHARACTERS = 1_000


class Webhook(Connector):
    """Asks a receiver of the operator's own to grant and revoke."""

    key: ClassVar[str] = "webhook"
    title: ClassVar[str] = "Webhook"
    glyph: ClassVar[str] = "WH"
    needs_secret: ClassVar[bool] = True
    ends_at_target: ClassVar[bool] = False
    is_told_the_end: ClassVar[bool] = True
    resource_fields: ClassVar[tuple[Field, ...]] = settings.RESOURCE_FIELDS
    entitlement_fields: ClassVar[tuple[Field, ...]] = settings.ENTITLEMENT_FIELDS

    def lease(self, spec: GrantSpec) -> Mapping[str, Any]:
        """One person's role at one receiver, however its address is written."""
        endpoint = settings.Endpoint.read(spec.resource_settings)
        return {
            "receiver": [endpoint.host.lower(), endpoint.port, endpoint.target],
            "role": spec.entitlement_settings["role"],
            "login": spec.subject_login,
        }

    def lease_by_secret(self, spec: GrantSpec) -> bool:
        """The URL names the receiver."""
        del spec
        return False

    def grant(self, spec: GrantSpec) -> Receipt:
        """The receiver has confirmed that the subject holds the role."""
        return _ask(spec, action="grant")

    def revoke(self, spec: GrantSpec) -> Receipt:
        """The receiver has confirmed that the subject does not hold the role."""
        return _ask(spec, action="revoke")

    def observe(
        self,
        *,
        resource_settings: Settings,
        secret: str | None,
        entitlements: Mapping[str, Settings],
        now: datetime,
    ) -> list[Held]:
        """What the receiver says; it is asked page by page.

        Raises: PermanentError also for an answer that isn't one; TransientError also when the pages
        did not all come within the bound.
        """
        keys_by_role: dict[str, list[str]] = {}
        for key, wanted in entitlements.items():
            errors = settings.errors(resource=resource_settings, entitlement=wanted)
            if errors:
                raise PermanentError(f"Entitlement {key}: {' '.join(errors)}")
            keys_by_role.setdefault(wanted["role"], []).append(key)
        conversation = Conversation(resource=resource_settings, secret=secret, now=now)
        found: set[Held] = set()
        cursor: str | None = None
        for _ in range(MOST_PAGES):
            answer = conversation.ask(
                event="access.observe",
                key=f"{uuid.uuid4()}_observe",
                data={"roles": sorted(keys_by_role), "cursor": cursor},
            )
            for login, role in _held(answer.said):
                found.update(Held(login, key) for key in keys_by_role.get(role, ()))
            cursor = _cursor(answer.said)
            if cursor is None:
                return sorted(found)
        raise PermanentError(f"The receiver's answer has more than {MOST_PAGES} pages.")

    def check(self, *, resource_settings: Settings, secret: str | None, now: datetime) -> Health:
        """Whether the receiver answers a `ping` with 2xx, so that it knows our signature."""
        started = perf_counter()
        try:
            conversation = Conversation(resource=resource_settings, secret=secret, now=now)
            conversation.ask(event="ping", key=f"{uuid.uuid4()}_ping", data={})
        except ConnectorError as error:
            return Health(ok=False, message=error.message)
        latency_ms = (perf_counter() - started) * 1000
        return Health(ok=True, message="The receiver answers.", latency_ms=latency_ms)

    def how_to_connect(self, spec: GrantSpec) -> list[Step]:
        """What was granted; how to use it is the resource's own note."""
        role = str(spec.entitlement_settings.get("role") or spec.entitlement)
        return [
            Step("Access", f"{role} on {spec.resource}, as {spec.subject_login}."),
            Step("Made by", "The system's own receiver, which this portal tells."),
        ]

    def validate(
        self, *, resource_settings: Settings, entitlement_settings: Settings | None
    ) -> list[str]:
        """See `settings`."""
        return settings.errors(resource=resource_settings, entitlement=entitlement_settings)


def _ask(spec: GrantSpec, *, action: str) -> Receipt:
    act, ends = spec.act, _ends(spec) if action == "grant" else {}
    with untouched():
        _check(spec)
        key = message.idempotency_key(
            request_id=spec.request_id,
            action=action,
            act=act.key if act else "",
            end=spec.ends_at if ends.get("ends_at") else None,
        )
        conversation = Conversation(
            resource=spec.resource_settings, secret=spec.secret, now=spec.moment()
        )
    role = spec.entitlement_settings["role"]
    answer = conversation.ask(
        event=f"access.{action}",
        key=key,
        data={
            "request_id": spec.request_id,
            "subject": {"login": spec.subject_login, "email": spec.subject_email},
            "resource": spec.resource,
            "entitlement": spec.entitlement,
            "role": role,
            **ends,
        },
        asked_at=act.asked_at if act else None,
    )
    detail: dict[str, Any] = {
        "granted": action == "grant",
        "role": role,
        "login": spec.subject_login,
        "polls": answer.polls,
        **_said(answer, conversation),
    }
    return Receipt(detail=detail, sessions_closed=_sessions_closed(answer))


def _check(spec: GrantSpec) -> None:
    """Raises: PermanentError."""
    errors = settings.errors(resource=spec.resource_settings, entitlement=spec.entitlement_settings)
    if not settings.is_text(spec.subject_login, longest=LONGEST_LOGIN_CHARACTERS):
        errors.append("The subject's login must be a text without control characters.")
    if errors:
        raise PermanentError(" ".join(errors))


def _ends(spec: GrantSpec) -> dict[str, Any]:
    """When the access ends: how long after the confirmation, or at which moment; never both.

    A moment that moved from try to try would be another body under the same key.
    """
    if spec.duration is not None:
        return {"ends_at": None, "duration_seconds": int(spec.duration.total_seconds())}
    ends_at = spec.ends_at.isoformat() if spec.ends_at else None
    return {"ends_at": ends_at, "duration_seconds": None}


def _said(answer: Confirmed, conversation: Conversation) -> dict[str, Any]:
    """What the receiver's answer adds to the record: never more than this."""
    found: dict[str, Any] = {}
    if isinstance(answer.said.get("pre_existing"), bool):
        found["pre_existing"] = answer.said["pre_existing"]
    reference = answer.said.get("reference")
    if isinstance(reference, str) and reference.strip():
        found["reference"] = conversation.redacted(reference)
    return found


def _sessions_closed(answer: Confirmed) -> int:
    number = answer.said.get("sessions_closed", 0)
    return number if type(number) is int and 0 <= number < 2**31 else 0


def _held(said: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(login, role) of each access in one page.

    Raises: PermanentError.
    """
    rows = said.get("held")
    try:
        if not isinstance(rows, list):
            raise TypeError
        pairs = [(row["login"], row["role"]) for row in rows]
        if not all(isinstance(text, str) for pair in pairs for text in pair):
            raise TypeError
    except (TypeError, KeyError):
        raise PermanentError(
            'The receiver must answer access.observe with {"held": [{"login": …, "role": …}, …], '
            '"next": null or a cursor}.'
        ) from None
    return pairs


def _cursor(said: Mapping[str, Any]) -> str | None:
    """Where the next page begins; None after the last.

    Raises: PermanentError.
    """
    cursor = said.get("next")
    if cursor is None or cursor == "":
        return None
    if isinstance(cursor, str) and len(cursor) <= _LONGEST_CURSOR_CHARACTERS:
        return cursor
    raise PermanentError(
        f'The receiver\'s "next" must be a text of at most {_LONGEST_CURSOR_CHARACTERS} characters.'
    )
