"""Names of rules, levels and groups as long as a policy may have them."""

from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import migrations, models


class Migration(migrations.Migration):
    """See the module. Text that may be longer needs no row to be written again."""

    dependencies: ClassVar = [("approvals", "0025_export_digest")]

    operations: ClassVar = [
        migrations.AlterField(
            "accessrequest", "level_name", models.CharField(blank=True, max_length=200)
        ),
        migrations.AlterField("accessrequest", "rule_name", models.CharField(max_length=200)),
        migrations.AlterField("decision", "level_name", models.CharField(max_length=200)),
        migrations.AlterField("requesthandover", "level_name", models.CharField(max_length=200)),
        migrations.AlterField(
            "waiting", "watches", ArrayField(models.CharField(max_length=210), size=None)
        ),
    ]
