"""The time that counts: the database's, so that no host's clock can move due work."""

from datetime import datetime

from django.db import connection


def now() -> datetime:
    """Return the database's clock (one query)."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        moment: datetime = cursor.fetchone()[0]
    return moment
