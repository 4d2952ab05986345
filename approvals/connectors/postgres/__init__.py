"""What connectors to PostgreSQL share: sessions, and roles as the server has them. No connector."""
