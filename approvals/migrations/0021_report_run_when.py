"""The audit search finds runs of scheduled reports by their time."""

from typing import ClassVar

from django.db import migrations, models


class Migration(migrations.Migration):
    """See the module."""

    dependencies: ClassVar = [("approvals", "0020_refused_attempts")]

    operations: ClassVar = [
        migrations.AddIndex(
            model_name="reportrun",
            index=models.Index(fields=["-occurred_at", "-id"], name="report_run_when"),
        ),
    ]
