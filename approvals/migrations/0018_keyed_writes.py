"""Writes that came with a key, so that a repeated one gets the same answer."""

from typing import ClassVar

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies: ClassVar = [("approvals", "0017_report_schedules")]

    operations: ClassVar = [
        migrations.CreateModel(
            name="KeyedWrite",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("key", models.CharField(max_length=255)),
                ("fingerprint", models.CharField(max_length=64)),
                (
                    "location",
                    models.TextField(blank=True, help_text="Empty only before the write is done."),
                ),
                ("created_at", models.DateTimeField()),
                (
                    "person",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "indexes": [models.Index(fields=["created_at"], name="keyed_write_oldest")],
                "constraints": [
                    models.UniqueConstraint(fields=("person", "key"), name="keyed_write_once")
                ],
            },
        ),
    ]
