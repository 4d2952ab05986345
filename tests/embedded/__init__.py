"""The quick start's PostgreSQL, broker and supervisor, run for real; no Django database."""
