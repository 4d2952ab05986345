"""Handing over one's place on a request, and what the database refuses of it.

None on a request that is not pending, or at another level than the open one; none to who asked for
the access, gets it, or has voted on it, and none by them.
"""

from typing import ClassVar

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

from audit.models.erasable import erasable
from audit.models.guards import append_only

RULES = """
CREATE FUNCTION approvals_handover_rules() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE about approvals_accessrequest%ROWTYPE;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended(NEW.request_id::text, 1));
  SELECT r.* INTO about FROM approvals_currentrequest c
    JOIN approvals_accessrequest r ON r.id = c.record_id WHERE c.request_id = NEW.request_id;
  IF NOT FOUND OR about.state <> 'pending' OR about.level IS DISTINCT FROM NEW.level THEN
    RAISE EXCEPTION 'the request is not pending at this level'
      USING ERRCODE = 'check_violation', CONSTRAINT = 'handover_while_pending';
  END IF;
  IF NEW.number <> 1 + (SELECT coalesce(max(h.number), 0) FROM approvals_requesthandover h
      WHERE h.request_id = NEW.request_id) THEN
    RAISE EXCEPTION 'it does not follow the last handover'
      USING ERRCODE = 'check_violation', CONSTRAINT = 'handover_follows';
  END IF;
  IF NEW.giver_id IN (about.requester_id, about.subject_id)
      OR NEW.taker_id IN (about.requester_id, about.subject_id) THEN
    RAISE EXCEPTION 'nobody decides on their own request'
      USING ERRCODE = 'check_violation', CONSTRAINT = 'handover_not_own';
  END IF;
  IF EXISTS (SELECT FROM approvals_decision d WHERE d.request_id = NEW.request_id
      AND d.actor_id IN (NEW.giver_id, NEW.taker_id)) THEN
    RAISE EXCEPTION 'one person has one vote on a request'
      USING ERRCODE = 'check_violation', CONSTRAINT = 'handover_not_voted';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER approvals_requesthandover_rules BEFORE INSERT ON approvals_requesthandover
  FOR EACH ROW EXECUTE FUNCTION approvals_handover_rules();
ALTER TABLE approvals_requesthandover ENABLE ALWAYS TRIGGER approvals_requesthandover_rules;
"""
DROP_RULES = """
DROP TRIGGER approvals_requesthandover_rules ON approvals_requesthandover;
DROP FUNCTION approvals_handover_rules();
"""


def _person(**more: object) -> models.Field:
    return models.ForeignKey(
        db_index=False,
        on_delete=django.db.models.deletion.PROTECT,
        related_name="+",
        to=settings.AUTH_USER_MODEL,
        **more,
    )


class Migration(migrations.Migration):
    """See the module."""

    dependencies: ClassVar = [("approvals", "0015_questions")]

    operations: ClassVar = [
        migrations.CreateModel(
            name="RequestHandover",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("recorded_at", models.DateTimeField(editable=False, null=True)),
                ("request_id", models.UUIDField()),
                ("number", models.PositiveSmallIntegerField()),
                ("level", models.PositiveSmallIntegerField()),
                ("level_name", models.CharField(max_length=100)),
                ("giver_name", models.CharField(max_length=200)),
                ("taker_name", models.CharField(max_length=200)),
                ("place_name", models.CharField(max_length=200)),
                ("comment", models.TextField()),
                ("occurred_at", models.DateTimeField()),
                ("giver", _person()),
                ("taker", _person()),
                (
                    "place",
                    _person(
                        help_text="Whom the chain asks there by itself: the giver, unless they "
                        "got it from others."
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(fields=["giver", "-occurred_at"], name="handover_giver"),
                    models.Index(fields=["taker", "-occurred_at"], name="handover_taker"),
                    models.Index(fields=["-occurred_at", "-id"], name="handover_newest"),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("request_id", "number"), name="handover_number"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("level__gte", 1),
                            ("number__gte", 1),
                            ("number__lte", 10),
                            models.Q(("comment", ""), _negated=True),
                        ),
                        name="handover_has_reason",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("giver", models.F("taker")), _negated=True),
                        name="handover_to_another",
                    ),
                ],
            },
        ),
        append_only("approvals_requesthandover"),
        erasable("approvals_requesthandover", "request_handover||request_id,number"),
        migrations.RunSQL(RULES, DROP_RULES),
    ]
