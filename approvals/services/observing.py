"""Asking a target who holds what, and telling the accesses apart that it names. Records nothing."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import structlog

from approvals.connectors import lease, registry, secrets
from approvals.connectors.protocol import Connector, ConnectorError, GrantSpec
from approvals.models import Entitlement, Resource
from approvals.services import recording

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Sight:
    """What a target said: (login, entitlement's name) for each access, or why it said nothing.

    `left_out` are entitlements that it could not be asked about, with the reason.
    """

    held: tuple[tuple[str, str], ...] = ()
    observed: frozenset[str] = frozenset()
    left_out: dict[str, str] = field(default_factory=dict)
    error: str = ""
    permanent: bool = False


def look(resource: Resource, entitlements: Iterable[Entitlement], *, now: datetime) -> Sight:
    """Return who holds which of the entitlements at the target now. Never raises for its sake.

    Within the time that every connector keeps to (its own bound, about a minute at most).
    """
    assert recording.no_transaction(), "a transaction is open, and the network must not hold one"
    left_out: dict[str, str] = {}
    try:
        connector = registry.get(resource.connector)
        wanted: dict[str, Any] = {}
        for row in entitlements:
            wrong = connector.validate(
                resource_settings=resource.settings, entitlement_settings=row.settings
            )
            if not wrong:
                wanted[row.name] = row.settings
            elif not row.is_retired:
                left_out[row.name] = " ".join(wrong)
        held = connector.observe(
            resource_settings=resource.settings,
            secret=secrets.resolve(resource.secret) if resource.secret else None,
            entitlements=wanted,
            now=now,
        )
    except ConnectorError as error:
        return Sight(left_out=left_out, error=error.message, permanent=error.permanent)
    except Exception as error:
        log.exception("connector.broken", resource=resource.name)
        return Sight(left_out=left_out, error=f"The connector broke: {type(error).__name__}.")
    return Sight(
        held=tuple(sorted({(row.subject_login, row.entitlement_key) for row in held})),
        observed=frozenset(wanted),
        left_out=left_out,
    )


class Accesses:
    """Tells the accesses of one connector apart, each by a key that no request is part of."""

    def __init__(self, connector_key: str) -> None:
        self._connector: Connector | None
        try:
            self._connector = registry.get(connector_key)
        except ConnectorError:
            self._connector = None

    def at(self, resource: Resource, entitlement: Entitlement, *, login: str) -> str:
        """Return the key of what a grant to `login` would make under today's catalogue."""
        target = {
            "resource_settings": resource.settings,
            "entitlement_settings": entitlement.settings,
            "secret": resource.secret,
        }
        return self.pinned(
            target, login=login, resource=resource.name, entitlement=entitlement.name
        )

    def pinned(self, target: dict[str, Any], *, login: str, resource: str, entitlement: str) -> str:
        """Return the key of what a request's pinned target makes for `login`."""
        spec = GrantSpec(
            request_id="",
            subject_login=login,
            subject_email=login,
            resource=resource,
            entitlement=entitlement,
            resource_settings=target["resource_settings"],
            entitlement_settings=target["entitlement_settings"],
        )
        return lease.key(self._connector, spec, secret_reference=target["secret"])

    @property
    def per_request(self) -> bool:
        """Return whether each grant makes credentials of its own, and its end takes only these."""
        return self._connector is not None and self._connector.per_request
