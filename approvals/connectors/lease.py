"""What access is the same at the target: the lease that several grants may share.

Two resources that lead to the same group of the same server give one and the same access, and so
does an entitlement that is granted twice over. Whoever ends one grant must know of the others. A
connector says what tells its accesses apart by optional members; without them everything that was
pinned does:

- `lease(spec) -> Mapping`: what identifies the access at the target. `spec.secret` is None.
- `lease_by_secret` (True): whether the secret's reference tells targets apart too. Where settings
  name the server, say False.
- `per_request` (False): each grant makes credentials of its own, and its end takes only these.
- `is_told_the_end` (`ends_at_target`): whether the target wants to know of a later end before the
  one that it was told, by another `grant`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import structlog

from approvals.connectors.protocol import ConnectorError, GrantSpec

log = structlog.get_logger(__name__)


def key(connector: Any, spec: GrantSpec, *, secret_reference: str) -> str:
    """Return the lease's key: equal for grants that make the same access at the target.

    `connector` may be None where there is none of the pinned name any more. Never raises for the
    settings' sake: what a connector can't read is told apart by all of it.
    """
    identity: dict[str, Any] = {
        "connector": getattr(connector, "key", ""),
        "access": _access(connector, spec),
    }
    if getattr(connector, "lease_by_secret", True):
        identity["secret"] = secret_reference
    if getattr(connector, "per_request", False):
        identity["request"] = spec.request_id
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def everything(spec: GrantSpec) -> Mapping[str, Any]:
    """Return what identifies an access of a connector that doesn't say: all that was pinned."""
    return {
        "resource": dict(spec.resource_settings),
        "entitlement": dict(spec.entitlement_settings) or {"name": spec.entitlement},
        "in": "" if spec.resource_settings or spec.entitlement_settings else spec.resource,
        "login": spec.subject_login,
    }


def _access(connector: Any, spec: GrantSpec) -> Mapping[str, Any]:
    own = getattr(connector, "lease", None)
    if own is None:
        return everything(spec)
    try:
        found: Mapping[str, Any] = own(spec)
    except (ConnectorError, ValueError, TypeError, LookupError) as error:
        log.warning("lease.unreadable", connector=connector.key, error=type(error).__name__)
        return everything(spec)
    return found
