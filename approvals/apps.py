"""Django's view of the approvals package."""

from django.apps import AppConfig


class ApprovalsConfig(AppConfig):
    """The portal's main application."""

    name = "approvals"
    verbose_name = "Approvals"

    def ready(self) -> None:
        """Register system checks, and hand the portal connector its membership store."""
        from approvals import checks
        from approvals.services import memberships

        memberships.register()
        assert checks
