"""Sign-ins and report downloads as records: append-only, each an object of its own in the log."""

from typing import ClassVar

import django.db.models.deletion
import uuid_utils.compat
from django.conf import settings
from django.db import migrations, models

from audit.models.guards import append_only


class Migration(migrations.Migration):
    dependencies: ClassVar = [("approvals", "0002_guards"), ("audit", "0003_ledger_guards")]
    operations: ClassVar = [
        migrations.CreateModel(
            name="ReportExport",
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
                ("actor_name", models.CharField(max_length=200)),
                ("report", models.CharField(max_length=100)),
                ("title", models.CharField(max_length=200)),
                ("query", models.JSONField(default=dict, help_text="The filters, as texts.")),
                ("rows", models.PositiveBigIntegerField()),
                ("format", models.CharField(max_length=10)),
                ("checkpoint_origin", models.CharField(blank=True, max_length=200)),
                ("checkpoint_size", models.PositiveBigIntegerField(null=True)),
                (
                    "checkpoint_root",
                    models.CharField(blank=True, help_text="In hex.", max_length=64),
                ),
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
                "verbose_name": "report download",
                "indexes": [
                    models.Index(fields=["-occurred_at", "-id"], name="report_export_newest"),
                    models.Index(
                        fields=["actor", "-occurred_at", "-id"], name="report_export_actor"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="SignIn",
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
                ("person_name", models.CharField(blank=True, max_length=200)),
                (
                    "what",
                    models.CharField(
                        choices=[
                            ("signed_in", "Signed in"),
                            ("failed", "Failed to sign in"),
                            ("signed_out", "Signed out"),
                        ],
                        max_length=20,
                    ),
                ),
                (
                    "method",
                    models.CharField(
                        blank=True, help_text="Such as password or webauthn.", max_length=40
                    ),
                ),
                (
                    "address",
                    models.CharField(
                        blank=True, help_text="The IP address it came from.", max_length=45
                    ),
                ),
                (
                    "agent",
                    models.CharField(blank=True, help_text="The browser.", max_length=300),
                ),
                ("occurred_at", models.DateTimeField()),
                (
                    "person",
                    models.ForeignKey(
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "verbose_name": "sign-in",
                "indexes": [
                    models.Index(fields=["-occurred_at", "-id"], name="sign_in_newest"),
                    models.Index(
                        condition=models.Q(("person__isnull", False)),
                        fields=["person", "-occurred_at", "-id"],
                        name="sign_in_person",
                    ),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("what__in", ["signed_in", "failed", "signed_out"])),
                        name="sign_in_what_known",
                    )
                ],
            },
        ),
        append_only("approvals_reportexport"),
        append_only("approvals_signin"),
    ]
