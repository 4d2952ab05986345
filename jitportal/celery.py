"""The Celery application: tasks of the portal, and beat's schedule, which lives in code."""

import os

from celery import Celery
from celery.signals import beat_init, setup_logging, worker_init
from django.conf import settings

from jitportal import broker

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "jitportal.settings")

app = Celery("jitportal")
app.conf.update(settings.CELERY)
app.autodiscover_tasks()
app.steps["worker"].add("jitportal.sweeping:Step")


@setup_logging.connect
def keep_the_portal_logging(**_: object) -> None:
    """Stop Celery from replacing the portal's logging: Django has configured it already."""


@worker_init.connect
@beat_init.connect
def prepare_the_broker(**_: object) -> None:
    """Make sure of the tables of the PostgreSQL-backed broker; other brokers need nothing."""
    if settings.BROKER_URL.startswith("pgmq://"):
        broker.install(settings.BROKER_URL)


@beat_init.connect
def watch_as_beat(**_: object) -> None:
    """Look after the other processes; the scheduler itself shows that beat lives."""
    from jitportal import watch

    watch.start()


@app.on_after_finalize.connect
def schedule(sender: Celery, **_: object) -> None:
    """Install beat's entries once all tasks are known."""
    from jitportal.schedule import entries

    sender.conf.beat_schedule = entries()
