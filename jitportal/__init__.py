"""The Django project: settings, URLs, Celery, and the quick start's embedded servers."""
