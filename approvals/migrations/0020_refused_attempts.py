"""Attempts to decide that the rules refused, as records."""

from typing import ClassVar

import django.db.models.deletion
import uuid_utils.compat
from django.conf import settings
from django.db import migrations, models

from audit.models.erasable import erasable
from audit.models.guards import append_only


class Migration(migrations.Migration):
    """See the module."""

    dependencies: ClassVar = [("approvals", "0019_extends_index")]

    operations: ClassVar = [
        migrations.CreateModel(
            name="RefusedAttempt",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("recorded_at", models.DateTimeField(editable=False, null=True)),
                (
                    "uid",
                    models.UUIDField(default=uuid_utils.compat.uuid7, editable=False, unique=True),
                ),
                ("request_id", models.UUIDField()),
                ("actor_name", models.CharField(max_length=200)),
                ("number", models.PositiveSmallIntegerField()),
                (
                    "action",
                    models.CharField(
                        choices=[
                            ("approve", "approve"),
                            ("deny", "deny"),
                            ("hand_over", "hand over"),
                            ("keep", "keep in a review"),
                            ("remove", "remove in a review"),
                        ],
                        max_length=10,
                    ),
                ),
                ("code", models.CharField(max_length=40)),
                ("rule", models.CharField(max_length=300)),
                ("comment", models.TextField(blank=True)),
                ("occurred_at", models.DateTimeField()),
                (
                    "actor",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "verbose_name": "refused attempt",
                "indexes": [
                    models.Index(fields=["-occurred_at", "-id"], name="refused_newest"),
                    models.Index(fields=["actor", "-occurred_at", "-id"], name="refused_actor"),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("request_id", "actor", "number"), name="refused_number"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("number__gte", 1),
                            ("number__lte", 20),
                            models.Q(("code", ""), _negated=True),
                        ),
                        name="refused_by_a_rule",
                    ),
                ],
            },
        ),
        append_only("approvals_refusedattempt"),
        erasable("approvals_refusedattempt", "refused_attempt||uid"),
    ]
