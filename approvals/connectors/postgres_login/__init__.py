"""A PostgreSQL login that is made for one request.

Told in docs/connectors/postgres_login.md, done in `connector`; its settings are in `settings`.
"""

from approvals.connectors.postgres_login.connector import PostgresLogin

__all__ = ["CONNECTOR", "PostgresLogin"]

CONNECTOR = PostgresLogin()
