"""How many requests the same act was to decide, on each decision."""

from typing import ClassVar

from django.db import migrations, models


class Migration(migrations.Migration):
    """See the module. Earlier decisions stay without it, as their entries in the log are."""

    dependencies: ClassVar = [("approvals", "0021_report_run_when")]

    operations: ClassVar = [
        migrations.AddField("decision", "together", models.PositiveSmallIntegerField(null=True)),
        migrations.AddConstraint(
            "decision",
            models.CheckConstraint(
                condition=models.Q(together__gte=1), name="decision_together_counts"
            ),
        ),
    ]
