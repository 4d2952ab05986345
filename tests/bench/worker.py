"""The portal's Celery application with the bench's target: `celery -A tests.bench.worker …`."""

import os

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.bench.settings"

import django

django.setup()

from jitportal.celery import app  # noqa: E402
from tests.bench import connector  # noqa: E402

connector.install()

__all__ = ["app"]
