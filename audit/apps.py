"""Django's view of the audit package."""

from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_migrate, post_save


def grant_after_migrate(*, using: str, **_: Any) -> None:
    """Give the database roles what they may do on every table, new ones included."""
    from audit.models import guards

    guards.grant(using=using)


class AuditConfig(AppConfig):
    """Append-only records; `migrate` ends by setting the rights of the database roles."""

    name = "audit"

    def ready(self) -> None:
        """Hook in the grants, behind the last application's migrations, and history's entries."""
        from audit.models import histories

        post_save.connect(histories.record, dispatch_uid="audit.history")
        post_migrate.connect(grant_after_migrate, sender=self, dispatch_uid="audit.grant")
