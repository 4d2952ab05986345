"""The SHA-256 of a download whose bytes are known when it is recorded."""

from typing import ClassVar

from django.db import migrations, models


class Migration(migrations.Migration):
    """See the module. Earlier downloads stay without it, as their entries in the log are."""

    dependencies: ClassVar = [("approvals", "0024_erase_whole_words")]

    operations: ClassVar = [
        migrations.AddField(
            "reportexport",
            "digest",
            models.BinaryField(
                max_length=32, null=True, help_text="SHA-256 of an evidence pack's manifest."
            ),
        ),
    ]
