"""Outside holders of checkpoints with their evidence, and the ledger's alarms: append-only."""

from typing import ClassVar

import django.db.models.deletion
from django.db import migrations, models

from audit.models.guards import append_only


class Migration(migrations.Migration):
    dependencies: ClassVar = [
        ("audit", "0004_erasure"),
    ]

    operations: ClassVar = [
        migrations.CreateModel(
            name="Alarm",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("recorded_at", models.DateTimeField(editable=False, null=True)),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("stale", "Entries are not sealed, or no checkpoint is signed"),
                            ("fork", "An outside holder holds another history"),
                        ],
                        max_length=10,
                    ),
                ),
                ("raised", models.BooleanField()),
                ("occurred_at", models.DateTimeField()),
                ("text", models.TextField()),
            ],
            options={
                "indexes": [models.Index(fields=["kind", "-id"], name="alarm_newest")],
            },
        ),
        migrations.CreateModel(
            name="Holding",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("recorded_at", models.DateTimeField(editable=False, null=True)),
                (
                    "size",
                    models.BigIntegerField(
                        help_text="The size of the checkpoint that it is about."
                    ),
                ),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("witness", "Witness"),
                            ("timestamp", "Timestamp authority"),
                            ("mail", "Mailbox"),
                        ],
                        max_length=10,
                    ),
                ),
                (
                    "holder",
                    models.CharField(
                        help_text="A witness's name, an authority's address, a person's uid.",
                        max_length=300,
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("held", "Took the checkpoint"),
                            ("unverified", "Answered, but nobody checked by whom it is signed"),
                            ("inside", "Kept on this installation's own machine"),
                            ("unreachable", "Gave no answer"),
                            ("refused", "Refused"),
                            ("invalid", "Answered wrongly"),
                            ("fork", "Holds another history"),
                        ],
                        max_length=12,
                    ),
                ),
                ("occurred_at", models.DateTimeField()),
                ("evidence", models.BinaryField(blank=True, default=bytes)),
                ("detail", models.JSONField(default=dict)),
                ("error", models.TextField(blank=True)),
                (
                    "log",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="audit.log",
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(fields=["kind", "holder", "-id"], name="holding_newest"),
                    models.Index(fields=["log", "-size"], name="holding_size"),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("error", ""),
                                ("state__in", ["held", "unverified", "inside"]),
                                models.Q(("evidence", b""), _negated=True),
                            ),
                            models.Q(
                                ("evidence", b""),
                                ("state__in", ["unreachable", "refused", "invalid", "fork"]),
                                models.Q(("error", ""), _negated=True),
                            ),
                            _connector="OR",
                        ),
                        name="holding_evidence_or_error",
                    )
                ],
            },
        ),
        append_only("audit_alarm"),
        append_only("audit_holding"),
    ]
