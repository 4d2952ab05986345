"""Signs of life of the processes, incidents, and the index of work that fails."""

from typing import ClassVar

from django.db import migrations, models

FAILING = models.Q(first_failed_at__isnull=False)
UNTOLD = models.Q(told_at__isnull=True, closed_at__isnull=True) | models.Q(
    told_at__isnull=False, closed_at__isnull=False, told_over_at__isnull=True
)


def _key() -> tuple[str, models.Field]:
    return "id", models.BigAutoField(
        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
    )


class Migration(migrations.Migration):
    dependencies: ClassVar = [("approvals", "0009_findings")]

    operations: ClassVar = [
        migrations.CreateModel(
            name="Heartbeat",
            fields=[
                _key(),
                ("kind", models.CharField(max_length=20)),
                ("name", models.CharField(max_length=200)),
                ("started_at", models.DateTimeField()),
                ("beat_at", models.DateTimeField()),
                ("version", models.CharField(blank=True, max_length=100)),
            ],
            options={
                "indexes": [models.Index(fields=["kind", "-beat_at"], name="heartbeat_newest")],
                "constraints": [
                    models.UniqueConstraint(fields=("kind", "name"), name="heartbeat_once")
                ],
            },
        ),
        migrations.CreateModel(
            name="Incident",
            fields=[
                _key(),
                ("kind", models.CharField(max_length=120)),
                ("opened_at", models.DateTimeField()),
                ("closed_at", models.DateTimeField(null=True)),
                ("told_at", models.DateTimeField(null=True)),
                ("told_over_at", models.DateTimeField(null=True)),
                ("text", models.TextField()),
            ],
            options={
                "indexes": [
                    models.Index(fields=["-opened_at", "-id"], name="incident_newest"),
                    models.Index(condition=UNTOLD, fields=["id"], name="incident_untold"),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("closed_at__isnull", True)),
                        fields=("kind",),
                        name="incident_open_once",
                    )
                ],
            },
        ),
        migrations.AddIndex(
            "outboxitem",
            models.Index(
                condition=FAILING, fields=["first_failed_at", "id"], name="outbox_failing"
            ),
        ),
    ]
