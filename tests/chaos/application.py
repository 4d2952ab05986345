"""The portal as it is deployed, which also knows the run's targets: for Celery and for gunicorn."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "jitportal.settings")

import django

django.setup()

from jitportal.celery import app  # noqa: E402
from jitportal.wsgi import application  # noqa: E402
from tests.chaos import targets  # noqa: E402

targets.install()

__all__ = ["app", "application"]
