"""Django's view of the approvals package."""

from uuid import UUID

from django.apps import AppConfig


def reference_of(model: str, object_id: str) -> str:
    """Return the reference of the request that an object of the log belongs to; "" for others."""
    from approvals.models.request import reference

    if model not in {"request", "decision", "grant_event", "request_handover"}:
        return ""
    try:
        return reference(UUID(object_id.partition(".")[0]))
    except ValueError:
        return ""


class ApprovalsConfig(AppConfig):
    """The portal's main application."""

    name = "approvals"
    verbose_name = "Configuration"

    def ready(self) -> None:
        """Register checks, sign-in records, memberships, erasures, and what verification asks."""
        from approvals import checks
        from approvals.portal import signins
        from approvals.services import checking, configured, erasure, memberships
        from audit.services import verifying

        memberships.register()
        erasure.register()
        signins.connect()
        verifying.also(checking.differences)
        verifying.also(configured.differences)
        verifying.named_by(reference_of)
        assert checks
