"""Django's view of the project package: it has the demo's commands and the Celery application."""

from django.apps import AppConfig


class JitportalConfig(AppConfig):
    """Loads Celery in every process, and tells the outbox how to wake workers."""

    name = "jitportal"

    def ready(self) -> None:
        """Connect the outbox to Celery where a broker is configured."""
        from django.conf import settings

        from approvals import tasks, waking
        from approvals.outbox import queue
        from jitportal import celery

        assert celery.app
        if settings.BROKER_URL:
            queue.on_wake(waking.Waker(tasks.wake, pauses=tasks.WAKE_PAUSES).wake)
