"""The database's clock, so that a host's clock can't move anything."""

from datetime import datetime

from django.db import connection


def now() -> datetime:
    """Return the database's time."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        moment: datetime = cursor.fetchone()[0]
    return moment
