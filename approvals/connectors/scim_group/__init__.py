"""Membership of groups at SCIM 2.0 providers. See `connector`, `settings`, `client` and `wire`."""

from approvals.connectors.scim_group.connector import ScimGroup

__all__ = ["CONNECTORS", "ScimGroup"]

CONNECTORS = (ScimGroup(),)
