"""The portal's own settings for the processes of a bench; only mail goes nowhere."""

from jitportal.settings import *  # noqa: F403

EMAIL_BACKEND = "django.core.mail.backends.dummy.EmailBackend"
