"""The notice centre: what stands in it for whom, what people chose, and that it goes with them."""

from typing import ClassVar

import django.contrib.postgres.fields
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

ERASE = """
CREATE FUNCTION approvals_erase_notices(person bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
  IF cardinality(audit_erased_now('user', person::text, '')) = 0 THEN
    RAISE EXCEPTION 'person % is not being erased', person USING ERRCODE = 'insufficient_privilege';
  END IF;
  DELETE FROM approvals_noticeentry e WHERE e.person_id = person;
  DELETE FROM approvals_noticepreferences p WHERE p.person_id = person;
END $$;
REVOKE EXECUTE ON FUNCTION approvals_erase_notices(bigint) FROM PUBLIC;
"""
UNREAD = models.Q(read_at__isnull=True)


def _person() -> models.ForeignKey:
    return models.ForeignKey(
        db_index=False,
        on_delete=django.db.models.deletion.CASCADE,
        related_name="+",
        to=settings.AUTH_USER_MODEL,
    )


class Migration(migrations.Migration):
    dependencies: ClassVar = [("approvals", "0012_reviews")]

    operations: ClassVar = [
        migrations.CreateModel(
            name="NoticeEntry",
            fields=[
                (
                    "notice",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        primary_key=True,
                        related_name="entry",
                        serialize=False,
                        to="approvals.notice",
                    ),
                ),
                ("person", _person()),
                ("request_id", models.UUIDField(null=True)),
                ("asks", models.BooleanField()),
                ("read_at", models.DateTimeField(null=True)),
                ("digest_at", models.DateTimeField(null=True)),
            ],
            options={
                "indexes": [
                    models.Index(fields=["person", "-notice"], name="notice_entry_newest"),
                    models.Index(
                        condition=UNREAD,
                        fields=["person", "-notice"],
                        name="notice_entry_unread",
                    ),
                    models.Index(
                        condition=models.Q(read_at__isnull=True, asks=True),
                        fields=["request_id"],
                        name="notice_entry_asks",
                    ),
                    models.Index(
                        condition=models.Q(digest_at__isnull=False),
                        fields=["person", "notice"],
                        name="notice_entry_digest",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="NoticePreferences",
            fields=[
                (
                    "person",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="+",
                        serialize=False,
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                ("modes", models.JSONField(default=dict)),
                ("quiet_begins", models.TimeField(null=True)),
                ("quiet_ends", models.TimeField(null=True)),
                (
                    "quiet_weekdays",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.PositiveSmallIntegerField(), default=list, size=None
                    ),
                ),
                ("digest_hour", models.PositiveSmallIntegerField(default=8)),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(quiet_begins__isnull=True, quiet_ends__isnull=True)
                        | models.Q(quiet_begins__isnull=False, quiet_ends__isnull=False),
                        name="notice_quiet_both",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(digest_hour__lte=23), name="notice_digest_hour"
                    ),
                ],
            },
        ),
        migrations.RunSQL(ERASE, "DROP FUNCTION approvals_erase_notices(bigint);"),
    ]
