"""The entry point of web servers."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "jitportal.settings")

application = get_wsgi_application()

from jitportal import watch  # noqa: E402 - after the application, which makes Django ready

watch.start()
