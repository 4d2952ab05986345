"""Django's view of the project package: it has the demo's commands and the Celery application."""

from django.apps import AppConfig


class JitportalConfig(AppConfig):
    """Loads Celery in every process, and tells the outbox how to wake workers."""

    name = "jitportal"

    def ready(self) -> None:
        """Connect the outbox to Celery where a broker is configured."""
        from django.conf import settings

        from approvals import tasks
        from approvals.outbox import queue
        from jitportal import celery

        assert celery.app
        if settings.BROKER_URL:
            queue.on_wake(tasks.wake)
