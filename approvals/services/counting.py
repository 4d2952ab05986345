"""The cache's table, in which attempts to sign in are counted: what is over does not stay in it."""

from datetime import datetime

from django.conf import settings
from django.db import connection


def clear(*, now: datetime) -> int:
    """Delete what has expired; return how much.

    The cache itself only removes such rows when it is full, and their keys are IP addresses.
    """
    table = connection.ops.quote_name(str(settings.CACHES["default"]["LOCATION"]))
    with connection.cursor() as cursor:
        cursor.execute(f"DELETE FROM {table} WHERE expires < %s", [now])  # noqa: S608
        return int(cursor.rowcount)
