"""Membership of a PostgreSQL role.

Told in docs/connectors/postgres_role.md, done in `connector`; its settings are in `settings`.
"""

from approvals.connectors.postgres_role.connector import PostgresRole

__all__ = ["CONNECTOR", "PostgresRole"]

CONNECTOR = PostgresRole()
