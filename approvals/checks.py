"""What `manage.py check` refuses: deployments that would break the portal's promises."""

from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Tags, register
from django.db import DatabaseError, connection


@register(Tags.database)
def connects_without_power(
    *, databases: Sequence[str] | None = None, **_: Any
) -> list[CheckMessage]:
    """Warn where the process could change records, being a superuser or their owner."""
    if not databases:
        return []
    try:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT current_user, rolsuper, pg_has_role(current_user, relowner, 'MEMBER')"
                " FROM pg_roles, pg_class WHERE rolname = current_user"
                " AND relname = 'approvals_accessrequest'"
            )
            row = cursor.fetchone()
    except DatabaseError:
        return []
    if row is None or not (row[1] or row[2]):
        return []
    return [
        checks.Warning(
            f"The process connects to the database as {row[0]}, which owns the records.",
            hint="Run migrate as the owner, but web and workers as jitportal_app.",
            id="approvals.W001",
        )
    ]


@register(Tags.security, deploy=True)
def has_a_broker(**_: Any) -> list[CheckMessage]:
    """Refuse a deployment without a broker: nothing would ever be granted or removed."""
    if settings.BROKER_URL:
        return []
    return [
        checks.Error(
            "BROKER_URL is not set: no worker would hear of any work.",
            hint="Give the URL of Redis (redis://…), RabbitMQ (amqp://…) or PostgreSQL (pgmq://…).",
            id="approvals.E001",
        )
    ]
