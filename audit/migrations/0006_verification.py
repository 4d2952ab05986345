"""The runs of verification, append-only."""

from typing import ClassVar

from django.db import migrations, models

from audit.models.guards import append_only


class Migration(migrations.Migration):
    dependencies: ClassVar = [("audit", "0005_holders")]

    operations: ClassVar = [
        migrations.CreateModel(
            name="Verification",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("recorded_at", models.DateTimeField(editable=False, null=True)),
                ("started_at", models.DateTimeField()),
                ("finished_at", models.DateTimeField()),
                ("by", models.CharField(help_text="Who or what ran it.", max_length=200)),
                ("log", models.CharField(help_text="The newest log's origin.", max_length=200)),
                ("size", models.BigIntegerField()),
                ("root", models.BinaryField(max_length=32)),
                (
                    "outcome",
                    models.CharField(
                        choices=[("verified", "Verified"), ("problems", "Problems were found")],
                        max_length=10,
                    ),
                ),
                ("problem_count", models.PositiveIntegerField(default=0)),
                ("problems", models.JSONField(default=list, help_text="The first twenty.")),
                ("entries", models.BigIntegerField()),
            ],
            options={
                "indexes": [
                    models.Index(fields=["-finished_at", "-id"], name="verification_newest"),
                    models.Index(fields=["log", "-size"], name="verification_size"),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(outcome__in=["verified", "problems"]),
                        name="verification_outcome_known",
                    )
                ],
            },
        ),
        append_only("audit_verification"),
    ]
