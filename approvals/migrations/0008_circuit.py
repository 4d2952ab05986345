"""Which target an item of the outbox calls, and which targets fail for now."""

from typing import ClassVar

from django.db import migrations, models


class Migration(migrations.Migration):
    """See the module."""

    dependencies: ClassVar = [("approvals", "0007_erasable_keys")]

    operations: ClassVar = [
        migrations.CreateModel(
            name="Circuit",
            fields=[
                ("target", models.CharField(max_length=100, primary_key=True, serialize=False)),
                ("failures", models.PositiveIntegerField()),
                ("failing_since", models.DateTimeField()),
                (
                    "open_until",
                    models.DateTimeField(
                        help_text="Null: not open, calls still go out.", null=True
                    ),
                ),
                ("last_error", models.TextField()),
            ],
        ),
        migrations.AddField(
            model_name="outboxitem",
            name="target",
            field=models.CharField(blank=True, db_default="", max_length=100),
        ),
        migrations.AddIndex(
            model_name="outboxitem",
            index=models.Index(
                condition=models.Q(("target", ""), _negated=True),
                fields=["target", "not_before"],
                name="outbox_target",
            ),
        ),
    ]
