"""Erasures: their records, the function that carries them out, and the guards that let it through.

An erasure's revisions follow one another as the database says: asked, then approved or refused,
then done; done only by the transaction that wrote the erase entries.
"""

from typing import ClassVar

import uuid_utils.compat
from django.db import migrations, models

from audit.models.erasable import DROP_FUNCTIONS, FUNCTIONS, erasable
from audit.models.guards import append_only

FOLLOW = """
CREATE FUNCTION audit_follow_erasure() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE before audit_erasure%ROWTYPE;
BEGIN
  IF NEW.revision = 1 AND NEW.event = 'asked' THEN
    RETURN NEW;
  END IF;
  SELECT * INTO before FROM audit_erasure
    WHERE erasure_id = NEW.erasure_id AND revision = NEW.revision - 1;
  IF NOT FOUND
    OR (before.event::text, NEW.event::text) NOT IN
      (('asked', 'approved'), ('asked', 'refused'), ('approved', 'done'))
    OR (before.person_id, before.person_uid, before.asked_by, before.ground, before.reference)
      IS DISTINCT FROM (NEW.person_id, NEW.person_uid, NEW.asked_by, NEW.ground, NEW.reference)
    OR NEW.event = 'done' AND
      (NEW.decided_by IS DISTINCT FROM before.decided_by OR NOT audit_erases_now())
  THEN
    RAISE EXCEPTION 'this revision does not follow erasure % at %', NEW.erasure_id,
      NEW.revision - 1 USING ERRCODE = 'check_violation', CONSTRAINT = 'erasure_follows';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER audit_erasure_follow BEFORE INSERT ON audit_erasure
  FOR EACH ROW EXECUTE FUNCTION audit_follow_erasure();
ALTER TABLE audit_erasure ENABLE ALWAYS TRIGGER audit_erasure_follow;
"""
DROP_FOLLOW = """
DROP TRIGGER audit_erasure_follow ON audit_erasure;
DROP FUNCTION audit_follow_erasure();
"""


class Migration(migrations.Migration):
    dependencies: ClassVar = [("audit", "0003_ledger_guards")]
    operations: ClassVar = [
        migrations.CreateModel(
            name="Erasure",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("recorded_at", models.DateTimeField(editable=False, null=True)),
                ("erasure_id", models.UUIDField(default=uuid_utils.compat.uuid7)),
                ("revision", models.PositiveIntegerField(default=1)),
                (
                    "event",
                    models.CharField(
                        choices=[
                            ("asked", "Waits for a second person"),
                            ("approved", "Approved, about to be carried out"),
                            ("refused", "Refused"),
                            ("done", "Done"),
                        ],
                        default="asked",
                        max_length=10,
                    ),
                ),
                (
                    "person_id",
                    models.BigIntegerField(help_text="The number of the person's row."),
                ),
                ("person_uid", models.UUIDField()),
                ("asked_by", models.UUIDField()),
                ("asked_by_name", models.CharField(max_length=200)),
                ("decided_by", models.UUIDField(null=True)),
                ("decided_by_name", models.CharField(blank=True, max_length=200)),
                (
                    "ground",
                    models.CharField(
                        choices=[
                            ("consent", "Consent was withdrawn (GDPR 17.1 b)"),
                            ("objection", "The person objects (GDPR 17.1 c)"),
                            ("not_needed", "Not needed any more (GDPR 17.1 a)"),
                            ("unlawful", "Was processed unlawfully (GDPR 17.1 d)"),
                            ("obligation", "A legal obligation or an order (GDPR 17.1 e)"),
                            ("other", "Another law; the reference says which"),
                        ],
                        max_length=20,
                    ),
                ),
                ("reference", models.CharField(max_length=200)),
                ("comment", models.TextField(blank=True)),
                (
                    "detail",
                    models.JSONField(default=dict, help_text="When done: how much was erased."),
                ),
                ("occurred_at", models.DateTimeField()),
            ],
        ),
        migrations.AddIndex(
            model_name="erasure",
            index=models.Index(
                condition=models.Q(("event", "approved")),
                fields=["erasure_id"],
                name="erasure_approved",
            ),
        ),
        migrations.AddIndex(
            model_name="erasure",
            index=models.Index(fields=["person_uid"], name="erasure_person"),
        ),
        migrations.AddConstraint(
            model_name="erasure",
            constraint=models.UniqueConstraint(
                fields=["erasure_id", "revision"], name="erasure_revision"
            ),
        ),
        migrations.AddConstraint(
            model_name="erasure",
            constraint=models.CheckConstraint(
                condition=models.Q(("event__in", ["asked", "approved", "refused", "done"])),
                name="erasure_event_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="erasure",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("decided_by", None), ("event", "asked")),
                    models.Q(
                        ("decided_by__isnull", False),
                        models.Q(("event", "asked"), _negated=True),
                    ),
                    _connector="OR",
                ),
                name="erasure_decided",
            ),
        ),
        migrations.AddConstraint(
            model_name="erasure",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("asked_by", models.F("person_uid")), _negated=True),
                    models.Q(
                        ("decided_by", None),
                        models.Q(
                            models.Q(("decided_by", models.F("asked_by")), _negated=True),
                            models.Q(("decided_by", models.F("person_uid")), _negated=True),
                        ),
                        _connector="OR",
                    ),
                ),
                name="erasure_two_people",
            ),
        ),
        migrations.RunSQL(FUNCTIONS, DROP_FUNCTIONS),
        append_only("audit_erasure"),
        erasable("audit_erasure", "erasure||erasure_id"),
        erasable("audit_salt", check="audit_check_erased_salt"),
        migrations.RunSQL(FOLLOW, DROP_FOLLOW),
    ]
