"""Membership of LDAP groups.

Told in docs/connectors/ldap_group.md, done in `connector`; its settings are in `settings`.
"""

from approvals.connectors.ldap_group.connector import LdapGroup

__all__ = ["CONNECTOR", "LdapGroup"]

CONNECTOR = LdapGroup()
