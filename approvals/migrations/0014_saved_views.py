"""Saved views of the inbox and favourites, and how they go when their person is erased."""

from typing import ClassVar

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

ERASE = """
CREATE FUNCTION approvals_erase_saved(person bigint, words text[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
  IF cardinality(audit_erased_now('user', person::text, '')) = 0 THEN
    RAISE EXCEPTION 'person % is not being erased', person USING ERRCODE = 'insufficient_privilege';
  END IF;
  DELETE FROM approvals_favourite f WHERE f.person_id = person;
  DELETE FROM approvals_savedview v WHERE v.person_id = person
    OR EXISTS (SELECT FROM unnest(words) word WHERE word <> ''
      AND strpos(lower(v.name || ' ' || v.query::text), lower(word)) > 0);
END $$;
REVOKE EXECUTE ON FUNCTION approvals_erase_saved(bigint, text[]) FROM PUBLIC;
"""


def _key() -> tuple[str, models.Field]:
    return "id", models.BigAutoField(
        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
    )


def _of(model: str) -> models.Field:
    return models.ForeignKey(
        db_index=False,
        on_delete=django.db.models.deletion.CASCADE,
        related_name="+",
        to=model,
    )


class Migration(migrations.Migration):
    dependencies: ClassVar = [("approvals", "0013_notice_centre")]

    operations: ClassVar = [
        migrations.CreateModel(
            name="Favourite",
            fields=[
                _key(),
                ("created_at", models.DateTimeField()),
                ("entitlement", _of("approvals.entitlement")),
                ("person", _of(settings.AUTH_USER_MODEL)),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("person", "entitlement"), name="favourite_once")
                ],
            },
        ),
        migrations.CreateModel(
            name="SavedView",
            fields=[
                _key(),
                ("name", models.CharField(max_length=60)),
                (
                    "query",
                    models.JSONField(default=dict, help_text="Each filter and what it is set to."),
                ),
                ("created_at", models.DateTimeField()),
                ("person", _of(settings.AUTH_USER_MODEL)),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("person", "name"), name="saved_view_once")
                ],
            },
        ),
        migrations.RunSQL(ERASE, "DROP FUNCTION approvals_erase_saved(bigint, text[]);"),
    ]
