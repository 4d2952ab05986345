"""One more kind of alarm: verification found records that are not what was sealed."""

from typing import ClassVar

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies: ClassVar = [("audit", "0006_verification")]

    operations: ClassVar = [
        migrations.AlterField(
            model_name="alarm",
            name="kind",
            field=models.CharField(
                choices=[
                    ("stale", "Entries are not sealed, or no checkpoint is signed"),
                    ("fork", "An outside holder holds another history"),
                    ("damage", "Verification found records that are not what was sealed"),
                ],
                max_length=10,
            ),
        ),
    ]
