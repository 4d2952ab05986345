"""What access is the same at the target: the lease that several grants may share.

Two resources that lead to the same group of the same server give one and the same access, and so
does an entitlement that is granted twice over. Whoever ends one grant must know of the others. A
connector says what tells its accesses apart: `lease`, `lease_by_secret` and `per_request` of its
protocol.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import structlog

from approvals.connectors.protocol import Connector, ConnectorError, GrantSpec

log = structlog.get_logger(__name__)


def key(connector: Connector | None, spec: GrantSpec, *, secret_reference: str) -> str:
    """Return the lease's key: equal for grants that make the same access at the target.

    `connector` may be None where there is none of the pinned name any more. Never raises for the
    settings' sake: what a connector can't read is told apart by all of it.
    """
    identity: dict[str, Any] = {
        "connector": "" if connector is None else connector.key,
        "access": spec.everything() if connector is None else _access(connector, spec),
    }
    if connector is None or connector.lease_by_secret(spec):
        identity["secret"] = secret_reference
    if connector is not None and connector.per_request:
        identity["request"] = spec.request_id
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _access(connector: Connector, spec: GrantSpec) -> Mapping[str, Any]:
    try:
        return connector.lease(spec)
    except (ConnectorError, ValueError, TypeError, LookupError, AttributeError) as error:
        log.warning("lease.unreadable", connector=connector.key, error=type(error).__name__)
        return spec.everything()
