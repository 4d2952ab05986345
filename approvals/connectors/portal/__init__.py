"""Membership of groups in this portal.

Told in docs/connectors/portal.md, done in `connector`; `store` is where memberships are kept.
"""

from approvals.connectors.portal.connector import PortalGroup
from approvals.connectors.portal.store import Store, UnknownGroup, UnknownLogin, use

__all__ = ["CONNECTOR", "PortalGroup", "Store", "UnknownGroup", "UnknownLogin", "use"]

CONNECTOR = PortalGroup()
