"""A request's page finds what extends it without reading every request."""

from typing import ClassVar

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies: ClassVar = [("approvals", "0018_keyed_writes")]

    operations: ClassVar = [
        migrations.AddIndex(
            model_name="currentrequest",
            index=models.Index(
                condition=models.Q(extends__isnull=False),
                fields=["extends"],
                name="current_extends",
            ),
        ),
    ]
