"""Membership of groups at SCIM 2.0 providers.

Told in docs/connectors/scim_group.md, done in `connector`; its settings are in `settings`.
"""

from approvals.connectors.scim_group.connector import ScimGroup

__all__ = ["CONNECTOR", "ScimGroup"]

CONNECTOR = ScimGroup()
