"""Saved reports, their schedules and runs, what the database refuses of runs, and how they go.

One run for each planned moment of a schedule; its revisions follow each other, say the same of what
it is about, and none comes after its outcome.
"""

from typing import ClassVar

import django.db.models.deletion
import simple_history.models
import uuid_utils.compat
from django.conf import settings
from django.db import migrations, models

from audit.models.erasable import erasable
from audit.models.guards import append_only

RULES = """
CREATE FUNCTION approvals_reportrun_follows() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE was approvals_reportrun%ROWTYPE;
BEGIN
  IF NEW.revision = 1 THEN
    RETURN NEW;
  END IF;
  PERFORM pg_advisory_xact_lock(hashtextextended('report_run:' || NEW.run_id, 3));
  SELECT * INTO was FROM approvals_reportrun WHERE run_id = NEW.run_id
    ORDER BY revision DESC LIMIT 1;
  IF NOT FOUND OR was.revision <> NEW.revision - 1 OR was.event NOT IN ('started', 'made') THEN
    RAISE EXCEPTION 'revision % of run % does not follow', NEW.revision, NEW.run_id
      USING ERRCODE = 'check_violation', CONSTRAINT = 'report_run_follows';
  END IF;
  IF (NEW.schedule, NEW.schedule_name, NEW.planned_at, NEW.report, NEW.query, NEW.format,
        NEW.recipients, NEW.owner_id, NEW.actor_id)
      IS DISTINCT FROM (was.schedule, was.schedule_name, was.planned_at, was.report, was.query,
        was.format, was.recipients, was.owner_id, was.actor_id) THEN
    RAISE EXCEPTION 'what a run is about does not change'
      USING ERRCODE = 'check_violation', CONSTRAINT = 'report_run_identity';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER approvals_reportrun_rules BEFORE INSERT ON approvals_reportrun
  FOR EACH ROW EXECUTE FUNCTION approvals_reportrun_follows();
ALTER TABLE approvals_reportrun ENABLE ALWAYS TRIGGER approvals_reportrun_rules;
"""
DROP_RULES = """
DROP TRIGGER approvals_reportrun_rules ON approvals_reportrun;
DROP FUNCTION approvals_reportrun_follows();
"""

# Schedules are gone by then, or hinder the erasure: see services.erasure and selectors.personal.
ERASE = """
CREATE FUNCTION approvals_erase_reports(person bigint, words text[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
  IF cardinality(audit_erased_now('user', person::text, '')) = 0 THEN
    RAISE EXCEPTION 'person % is not being erased', person USING ERRCODE = 'insufficient_privilege';
  END IF;
  DELETE FROM approvals_savedreport s WHERE s.person_id = person
    OR EXISTS (SELECT FROM unnest(words) word WHERE word <> ''
      AND strpos(lower(s.name || ' ' || s.query::text), lower(word)) > 0);
END $$;
REVOKE EXECUTE ON FUNCTION approvals_erase_reports(bigint, text[]) FROM PUBLIC;
"""


class Migration(migrations.Migration):
    """See the module."""

    dependencies: ClassVar = [("approvals", "0016_handovers")]

    operations: ClassVar = [
        migrations.CreateModel(
            name="SavedReport",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("name", models.CharField(max_length=60)),
                ("report", models.CharField(max_length=100)),
                (
                    "query",
                    models.JSONField(default=dict, help_text="Each filter and what it is set to."),
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
        ),
        migrations.CreateModel(
            name="ReportSchedule",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "uid",
                    models.UUIDField(default=uuid_utils.compat.uuid7, editable=False, unique=True),
                ),
                ("name", models.CharField(max_length=60)),
                ("report", models.CharField(max_length=100)),
                (
                    "query",
                    models.JSONField(default=dict, help_text="Each filter and what it is set to."),
                ),
                (
                    "frequency",
                    models.CharField(
                        choices=[("daily", "Daily"), ("weekly", "Weekly"), ("monthly", "Monthly")],
                        max_length=10,
                    ),
                ),
                ("weekday", models.PositiveSmallIntegerField(help_text="Monday is 0.", null=True)),
                ("month_day", models.PositiveSmallIntegerField(null=True)),
                ("hour", models.PositiveSmallIntegerField(help_text="Of the report's timezone.")),
                (
                    "format",
                    models.CharField(
                        choices=[("csv", "CSV"), ("xlsx", "XLSX"), ("pdf", "PDF")], max_length=10
                    ),
                ),
                (
                    "recipients",
                    models.JSONField(default=list, help_text="People, by their numbers."),
                ),
                ("is_paused", models.BooleanField(default=False, verbose_name="paused")),
                ("paused_because", models.CharField(blank=True, max_length=300)),
                ("created_at", models.DateTimeField()),
                ("next_at", models.DateTimeField(null=True)),
                (
                    "owner",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "saved",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="schedule",
                        to="approvals.savedreport",
                    ),
                ),
            ],
            options={
                "verbose_name": "report schedule",
            },
        ),
        migrations.CreateModel(
            name="HistoricalReportSchedule",
            fields=[
                (
                    "id",
                    models.BigIntegerField(
                        auto_created=True, blank=True, db_index=True, verbose_name="ID"
                    ),
                ),
                (
                    "uid",
                    models.UUIDField(
                        db_index=True, default=uuid_utils.compat.uuid7, editable=False
                    ),
                ),
                ("name", models.CharField(max_length=60)),
                ("report", models.CharField(max_length=100)),
                (
                    "query",
                    models.JSONField(default=dict, help_text="Each filter and what it is set to."),
                ),
                (
                    "frequency",
                    models.CharField(
                        choices=[("daily", "Daily"), ("weekly", "Weekly"), ("monthly", "Monthly")],
                        max_length=10,
                    ),
                ),
                ("weekday", models.PositiveSmallIntegerField(help_text="Monday is 0.", null=True)),
                ("month_day", models.PositiveSmallIntegerField(null=True)),
                ("hour", models.PositiveSmallIntegerField(help_text="Of the report's timezone.")),
                (
                    "format",
                    models.CharField(
                        choices=[("csv", "CSV"), ("xlsx", "XLSX"), ("pdf", "PDF")], max_length=10
                    ),
                ),
                (
                    "recipients",
                    models.JSONField(default=list, help_text="People, by their numbers."),
                ),
                ("is_paused", models.BooleanField(default=False, verbose_name="paused")),
                ("paused_because", models.CharField(blank=True, max_length=300)),
                ("created_at", models.DateTimeField()),
                ("history_id", models.AutoField(primary_key=True, serialize=False)),
                ("history_date", models.DateTimeField(db_index=True)),
                ("history_change_reason", models.TextField(null=True)),
                (
                    "history_type",
                    models.CharField(
                        choices=[("+", "Created"), ("~", "Changed"), ("-", "Deleted")], max_length=1
                    ),
                ),
                (
                    "history_user",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "owner",
                    models.ForeignKey(
                        blank=True,
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "saved",
                    models.ForeignKey(
                        blank=True,
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="approvals.savedreport",
                    ),
                ),
            ],
            options={
                "verbose_name": "historical report schedule",
                "verbose_name_plural": "historical report schedules",
                "ordering": ("-history_date", "-history_id"),
                "get_latest_by": ("history_date", "history_id"),
            },
            bases=(simple_history.models.HistoricalChanges, models.Model),
        ),
        migrations.CreateModel(
            name="ReportRun",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("recorded_at", models.DateTimeField(editable=False, null=True)),
                ("run_id", models.UUIDField(default=uuid_utils.compat.uuid7)),
                ("revision", models.PositiveIntegerField(default=1)),
                (
                    "event",
                    models.CharField(
                        choices=[
                            ("started", "Started"),
                            ("skipped", "Skipped"),
                            ("made", "File made"),
                            ("sent", "Sent"),
                            ("refused", "Too long"),
                            ("failed", "Failed"),
                        ],
                        max_length=10,
                    ),
                ),
                ("schedule", models.UUIDField(help_text="The schedule's `uid`: it may be gone.")),
                ("schedule_name", models.CharField(max_length=60)),
                ("planned_at", models.DateTimeField()),
                ("report", models.CharField(max_length=100)),
                ("query", models.JSONField(default=dict, help_text="The filters, fixed.")),
                ("format", models.CharField(max_length=10)),
                (
                    "recipients",
                    models.JSONField(default=list, help_text="Whom it was for, by their numbers."),
                ),
                ("owner_name", models.CharField(max_length=200)),
                ("export", models.UUIDField(help_text="The record of the file.", null=True)),
                ("rows", models.PositiveBigIntegerField(null=True)),
                (
                    "size",
                    models.PositiveBigIntegerField(help_text="Of the file, in bytes.", null=True),
                ),
                ("sha256", models.CharField(blank=True, max_length=64)),
                (
                    "sent_to",
                    models.JSONField(default=list, help_text="Who got mail, by their numbers."),
                ),
                ("left_out", models.JSONField(default=dict, help_text="Who got none, and why.")),
                ("reason", models.CharField(blank=True, max_length=300)),
                ("occurred_at", models.DateTimeField()),
                (
                    "actor",
                    models.ForeignKey(
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "owner",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "verbose_name": "report run",
                "indexes": [
                    models.Index(
                        fields=["schedule", "-planned_at", "-revision"], name="report_run_newest"
                    )
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("run_id", "revision"), name="report_run_revision"
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("revision", 1)),
                        fields=("schedule", "planned_at"),
                        name="report_run_once",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("event__in", ["started", "skipped"]), ("revision", 1)),
                            models.Q(
                                ("event__in", ["made", "sent", "refused", "failed"]),
                                ("revision__gt", 1),
                            ),
                            _connector="OR",
                        ),
                        name="report_run_event",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("event__in", ["made", "sent"]), _negated=True),
                            models.Q(
                                ("export__isnull", False),
                                ("rows__isnull", False),
                                ("size__isnull", False),
                                models.Q(("sha256", ""), _negated=True),
                            ),
                            _connector="OR",
                        ),
                        name="report_run_file",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("event__in", ["skipped", "refused", "failed"]), _negated=True
                            ),
                            models.Q(("reason", ""), _negated=True),
                            _connector="OR",
                        ),
                        name="report_run_reason",
                    ),
                ],
            },
        ),
        migrations.AddConstraint(
            model_name="savedreport",
            constraint=models.UniqueConstraint(fields=("person", "name"), name="saved_report_once"),
        ),
        migrations.AddIndex(
            model_name="reportschedule",
            index=models.Index(
                condition=models.Q(("next_at__isnull", False)),
                fields=["next_at"],
                name="report_schedule_due",
            ),
        ),
        migrations.AddConstraint(
            model_name="reportschedule",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("frequency", "daily"), ("month_day", None), ("weekday", None)),
                    models.Q(
                        ("frequency", "weekly"),
                        ("month_day", None),
                        ("weekday__isnull", False),
                        ("weekday__lte", 6),
                    ),
                    models.Q(
                        ("frequency", "monthly"),
                        ("month_day__gte", 1),
                        ("month_day__isnull", False),
                        ("month_day__lte", 28),
                        ("weekday", None),
                    ),
                    _connector="OR",
                ),
                name="report_schedule_days",
            ),
        ),
        migrations.AddConstraint(
            model_name="reportschedule",
            constraint=models.CheckConstraint(
                condition=models.Q(("format__in", ["csv", "xlsx", "pdf"]), ("hour__lte", 23)),
                name="report_schedule_terms",
            ),
        ),
        migrations.AddConstraint(
            model_name="reportschedule",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("is_paused", True), ("next_at", None)),
                    models.Q(
                        ("is_paused", False), ("next_at__isnull", False), ("paused_because", "")
                    ),
                    _connector="OR",
                ),
                name="report_schedule_paused",
            ),
        ),
        append_only("approvals_reportrun"),
        append_only("approvals_historicalreportschedule", stamped=False),
        erasable("approvals_reportrun", "report_run||run_id"),
        erasable("approvals_historicalreportschedule", "reportschedule||id"),
        migrations.RunSQL(RULES, DROP_RULES),
        migrations.RunSQL(ERASE, "DROP FUNCTION approvals_erase_reports(bigint, text[]);"),
    ]
