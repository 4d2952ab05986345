"""No trigger and no erasing function takes a temporary table for the one that it means."""

from typing import ClassVar

from django.db import migrations

from audit.models.guards import pin_search_path


class Migration(migrations.Migration):
    """See the module."""

    dependencies: ClassVar = [("approvals", "0026_longer_names")]

    operations: ClassVar = [pin_search_path("approvals_")]
