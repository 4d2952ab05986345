"""Pins what access an approval makes at the target, so that grants of the same one are known.

Reads connectors' descriptions only; nothing here talks to a target.
"""

import uuid
from typing import Any

from approvals.connectors import lease, registry
from approvals.connectors.protocol import Connector, ConnectorError, GrantSpec


def pinned(
    target: dict[str, Any], *, request_id: uuid.UUID, resource: str, entitlement: str
) -> dict[str, Any]:
    """Return the target with its lease's key, and whether it must be told of another end."""
    try:
        connector: Connector | None = registry.get(target["connector"])
    except ConnectorError:
        connector = None
    spec = GrantSpec(
        request_id=str(request_id),
        subject_login=target["login"],
        subject_email=target["email"],
        resource=resource,
        entitlement=entitlement,
        resource_settings=target["resource_settings"],
        entitlement_settings=target["entitlement_settings"],
    )
    return target | {
        "lease": lease.key(connector, spec, secret_reference=target["secret"]),
        "knows_its_end": connector is not None
        and (connector.ends_at_target or connector.is_told_the_end),
    }
