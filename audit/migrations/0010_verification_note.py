"""A run of verification keeps the signed checkpoint that it saw; the newest was recorded last."""

from typing import ClassVar

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies: ClassVar = [("audit", "0009_withdrawn")]

    operations: ClassVar = [
        migrations.AddField(
            model_name="verification",
            name="note",
            field=models.BinaryField(
                default=bytes, help_text="The checkpoint, signed; empty for none."
            ),
        ),
        migrations.RemoveIndex(model_name="verification", name="verification_newest"),
        migrations.AddIndex(
            model_name="verification",
            index=models.Index(fields=["-recorded_at", "-id"], name="verification_newest"),
        ),
    ]
