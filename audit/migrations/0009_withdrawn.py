"""An erasure that is asked for or approved can be withdrawn until it is carried out."""

from typing import Any, ClassVar

from django.db import migrations, models

EVENTS = [
    ("asked", "Waits for a second person"),
    ("approved", "Approved, about to be carried out"),
    ("refused", "Refused"),
    ("done", "Done"),
]
FOLLOWS = """
CREATE OR REPLACE FUNCTION audit_follow_erasure() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE before audit_erasure%%ROWTYPE;
BEGIN
  IF NEW.revision = 1 AND NEW.event = 'asked' THEN
    RETURN NEW;
  END IF;
  SELECT * INTO before FROM audit_erasure
    WHERE erasure_id = NEW.erasure_id AND revision = NEW.revision - 1;
  IF NOT FOUND
    OR (before.event::text, NEW.event::text) NOT IN
      (('asked', 'approved'), ('asked', 'refused'), ('approved', 'done')%s)
    OR (before.person_id, before.person_uid, before.asked_by, before.ground, before.reference)
      IS DISTINCT FROM (NEW.person_id, NEW.person_uid, NEW.asked_by, NEW.ground, NEW.reference)
    OR NEW.event = 'done' AND
      (NEW.decided_by IS DISTINCT FROM before.decided_by OR NOT audit_erases_now())
  THEN
    RAISE EXCEPTION 'this revision does not follow erasure %% at %%', NEW.erasure_id,
      NEW.revision - 1 USING ERRCODE = 'check_violation', CONSTRAINT = 'erasure_follows';
  END IF;
  RETURN NEW;
END $$;
"""


def _two_people(*more: models.Q) -> models.CheckConstraint:
    decided = models.Q(decided_by=None)
    for each in more:
        decided |= each
    return models.CheckConstraint(
        condition=~models.Q(asked_by=models.F("person_uid"))
        & (
            decided
            | ~models.Q(decided_by=models.F("asked_by"))
            & ~models.Q(decided_by=models.F("person_uid"))
        ),
        name="erasure_two_people",
    )


def _known(*events: str) -> models.CheckConstraint:
    return models.CheckConstraint(
        condition=models.Q(event__in=list(events)), name="erasure_event_known"
    )


def _constraint(name: str, made: models.CheckConstraint) -> list[Any]:
    return [
        migrations.RemoveConstraint(model_name="erasure", name=name),
        migrations.AddConstraint(model_name="erasure", constraint=made),
    ]


class Migration(migrations.Migration):
    dependencies: ClassVar = [("audit", "0008_entry_form")]
    operations: ClassVar = [
        migrations.AlterField(
            model_name="erasure",
            name="event",
            field=models.CharField(
                choices=[*EVENTS, ("withdrawn", "Withdrawn")], default="asked", max_length=10
            ),
        ),
        *_constraint(
            "erasure_event_known", _known("asked", "approved", "refused", "done", "withdrawn")
        ),
        *_constraint("erasure_two_people", _two_people(models.Q(event="withdrawn"))),
        migrations.RunSQL(
            FOLLOWS % ", ('asked', 'withdrawn'), ('approved', 'withdrawn')", FOLLOWS % ""
        ),
    ]
