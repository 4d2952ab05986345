"""The Django project: settings, URLs, Celery, and the quick start's embedded servers."""

__version__ = "0.1.0"
