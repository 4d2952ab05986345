"""The Celery application: tasks of the portal, and beat's schedule, which lives in code."""

import os

from celery import Celery
from celery.signals import setup_logging
from django.conf import settings

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "jitportal.settings")

app = Celery("jitportal")
app.conf.update(settings.CELERY)
app.autodiscover_tasks()


@setup_logging.connect
def keep_the_portal_logging(**_: object) -> None:
    """Stop Celery from replacing the portal's logging: Django has configured it already."""


@app.on_after_finalize.connect
def schedule(sender: Celery, **_: object) -> None:
    """Install beat's entries once all tasks are known."""
    from jitportal.schedule import entries

    sender.conf.beat_schedule = entries()
