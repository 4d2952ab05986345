"""The log's public addresses, below `/ledger/`.

A log is served for ever below `logs/<key id>/`; the one that is written to also without that.
"""

from django.urls import path, register_converter
from django.urls.converters import StringConverter

from audit.api import views


class KeyIdConverter(StringConverter):
    """The eight hex digits that name a log's key."""

    regex = "[0-9a-f]{8}"


register_converter(KeyIdConverter, "key_id")

urlpatterns = [
    path("checkpoint", views.checkpoint, name="ledger_checkpoint"),
    path("tile/<path:path>", views.tile, name="ledger_tile"),
    path("logs/<key_id:log>/checkpoint", views.checkpoint, name="ledger_log_checkpoint"),
    path("logs/<key_id:log>/tile/<path:path>", views.tile, name="ledger_log_tile"),
    path("policy", views.policy, name="ledger_policy"),
    path("verifier.py", views.verifier_file, name="ledger_verifier"),
]
