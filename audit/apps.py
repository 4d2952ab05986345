"""Django's view of the audit package."""

from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_migrate


def grant_after_migrate(*, using: str, **_: Any) -> None:
    """Give the database roles what they may do on every table, new ones included."""
    from audit.models import guards

    guards.grant(using=using)


class AuditConfig(AppConfig):
    """Append-only records; `migrate` ends by setting the rights of the database roles."""

    name = "audit"

    def ready(self) -> None:
        """Hook the grants in behind the last application's migrations."""
        post_migrate.connect(grant_after_migrate, sender=self, dispatch_uid="audit.grant")
