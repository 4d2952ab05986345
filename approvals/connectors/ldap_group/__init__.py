"""Membership of LDAP groups. See `connector`, `settings`, `session`, `wire` and `names`."""

from approvals.connectors.ldap_group.connector import LdapGroup

__all__ = ["CONNECTORS", "LdapGroup"]

CONNECTORS = (LdapGroup(),)
