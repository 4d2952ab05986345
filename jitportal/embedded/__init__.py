"""The quick start's own PostgreSQL, broker and supervisor.

Production never imports this package: it gives `DATABASE_URL` and `BROKER_URL` instead. Nothing in
it needs Django, except the management command that calls it.
"""
