"""How targets differ from what was granted, and what a resource's owner wants done about it."""

from typing import ClassVar

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

KINDS = ["missing", "leftover", "standing", "unmatched"]
OPEN = models.Q(("resolved_at__isnull", True))
EVENTS = [
    ("granted", "Granted at the target"),
    ("grant_failed", "Granting failed"),
    ("removed", "Removed from the target"),
    ("remove_failed", "Removing failed"),
    ("found", "Found at the target after its end"),
    ("lost", "Not found at the target"),
    ("gone", "Gone from the target again"),
]


def _policy() -> models.Field:
    return models.CharField(
        choices=[
            ("repair", "Remove what has ended, make again what is missing"),
            ("report", "Report it only"),
        ],
        default="repair",
        help_text="What nobody was ever granted here is listed, and never removed by itself.",
        max_length=10,
        verbose_name="when the target differs",
    )


def _person(**more: object) -> models.Field:
    return models.ForeignKey(
        db_index=False,
        null=True,
        on_delete=django.db.models.deletion.PROTECT,
        related_name="+",
        to=settings.AUTH_USER_MODEL,
        **more,
    )


def _of(model: str) -> models.Field:
    return models.ForeignKey(
        db_index=False,
        on_delete=django.db.models.deletion.PROTECT,
        related_name="+",
        to=f"approvals.{model}",
    )


class Migration(migrations.Migration):
    """See the module."""

    dependencies: ClassVar = [("approvals", "0008_circuit")]

    operations: ClassVar = [
        migrations.AddField("resource", "drift_policy", _policy()),
        # Earlier rows of the history stay without a value: their entries in the log have none.
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(
                    "ALTER TABLE approvals_historicalresource ADD COLUMN drift_policy varchar(10)",
                    "ALTER TABLE approvals_historicalresource DROP COLUMN drift_policy",
                )
            ],
            state_operations=[
                migrations.AddField("historicalresource", "drift_policy", _policy()),
            ],
        ),
        migrations.AlterField(
            "grantevent", "kind", models.CharField(choices=EVENTS, max_length=20)
        ),
        migrations.CreateModel(
            name="Observation",
            fields=[
                (
                    "resource",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        primary_key=True,
                        related_name="observation",
                        serialize=False,
                        to="approvals.resource",
                    ),
                ),
                ("started_at", models.DateTimeField(null=True)),
                ("finished_at", models.DateTimeField(null=True)),
                (
                    "succeeded_at",
                    models.DateTimeField(help_text="When a look last told anything.", null=True),
                ),
                (
                    "held",
                    models.PositiveIntegerField(
                        help_text="Accesses that the target held.", null=True
                    ),
                ),
                ("error", models.TextField(blank=True)),
                (
                    "permanent",
                    models.BooleanField(
                        default=False,
                        help_text="The target can't be observed until something is changed.",
                    ),
                ),
                (
                    "left_out",
                    models.TextField(blank=True, help_text="Entitlements that were not looked at."),
                ),
                ("next_at", models.DateTimeField()),
            ],
            options={
                "indexes": [models.Index(fields=["next_at"], name="observation_next")],
            },
        ),
        migrations.CreateModel(
            name="Finding",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("login", models.TextField(help_text="The name at the target.")),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("missing", "Missing"),
                            ("leftover", "Left over"),
                            ("standing", "Standing"),
                            ("unmatched", "Unknown name"),
                        ],
                        max_length=10,
                    ),
                ),
                (
                    "request_id",
                    models.UUIDField(help_text="The grant that it is about.", null=True),
                ),
                ("first_seen_at", models.DateTimeField()),
                ("last_seen_at", models.DateTimeField()),
                ("confirmed_at", models.DateTimeField(null=True)),
                ("repairs", models.PositiveSmallIntegerField(default=0)),
                (
                    "repaired_at",
                    models.DateTimeField(help_text="When a repair was last begun.", null=True),
                ),
                ("resolved_at", models.DateTimeField(null=True)),
                (
                    "resolution",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("repaired", "Repaired"),
                            ("by_itself", "Gone by itself"),
                            ("ended", "The access has ended"),
                            ("granted", "Granted by now"),
                            ("unconfirmed", "Never confirmed"),
                        ],
                        max_length=12,
                    ),
                ),
                ("kept_at", models.DateTimeField(null=True)),
                ("kept_because", models.TextField(blank=True)),
                ("entitlement", _of("entitlement")),
                ("resource", _of("resource")),
                ("person", _person(help_text="If known.")),
                ("kept_by", _person()),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        condition=OPEN,
                        fields=("resource", "entitlement", "login", "kind"),
                        name="finding_once",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("kind__in", KINDS)), name="finding_kind_known"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("resolution", ""), ("resolved_at__isnull", True))
                        | (
                            models.Q(("resolved_at__isnull", False))
                            & models.Q(("resolution", ""), _negated=True)
                        ),
                        name="finding_resolved_how",
                    ),
                ],
                "indexes": [
                    models.Index(fields=["-first_seen_at", "-id"], name="finding_newest"),
                ],
            },
        ),
    ]
