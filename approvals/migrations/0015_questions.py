"""Questions about a pending request and their answers, and what the database refuses of them.

None on a request that is not pending; no question by who asked for the access or gets it, no answer
by anybody else, none to what is no question of the same request.
"""

from typing import ClassVar

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

from audit.models.erasable import erasable
from audit.models.guards import append_only

RULES = """
CREATE FUNCTION approvals_message_rules() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE about approvals_currentrequest%ROWTYPE;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended(NEW.request_id::text, 1));
  SELECT * INTO about FROM approvals_currentrequest WHERE request_id = NEW.request_id;
  IF NOT FOUND OR about.state <> 'pending' THEN
    RAISE EXCEPTION 'the request is not pending'
      USING ERRCODE = 'check_violation', CONSTRAINT = 'message_while_pending';
  END IF;
  IF NEW.number <> 1 + (SELECT coalesce(max(m.number), 0) FROM approvals_requestmessage m
      WHERE m.request_id = NEW.request_id) THEN
    RAISE EXCEPTION 'it does not follow the last message'
      USING ERRCODE = 'check_violation', CONSTRAINT = 'message_follows';
  END IF;
  IF (NEW.kind = 'answer') <> (NEW.actor_id IN (about.requester_id, about.subject_id)) THEN
    RAISE EXCEPTION 'approvers ask, the requester or the subject answers'
      USING ERRCODE = 'check_violation', CONSTRAINT = 'message_by_whom';
  END IF;
  IF NEW.kind = 'answer' AND NOT EXISTS (SELECT FROM approvals_requestmessage m
      WHERE m.request_id = NEW.request_id AND m.number = NEW.answers AND m.kind = 'question') THEN
    RAISE EXCEPTION 'the request has no such question'
      USING ERRCODE = 'check_violation', CONSTRAINT = 'message_answers';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER approvals_requestmessage_rules BEFORE INSERT ON approvals_requestmessage
  FOR EACH ROW EXECUTE FUNCTION approvals_message_rules();
ALTER TABLE approvals_requestmessage ENABLE ALWAYS TRIGGER approvals_requestmessage_rules;
"""
DROP_RULES = """
DROP TRIGGER approvals_requestmessage_rules ON approvals_requestmessage;
DROP FUNCTION approvals_message_rules();
"""


class Migration(migrations.Migration):
    """See the module."""

    dependencies: ClassVar = [("approvals", "0014_saved_views")]

    operations: ClassVar = [
        migrations.CreateModel(
            name="RequestMessage",
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
                (
                    "kind",
                    models.CharField(
                        choices=[("question", "Question"), ("answer", "Answer")], max_length=10
                    ),
                ),
                (
                    "answers",
                    models.PositiveSmallIntegerField(
                        help_text="The number of the question that it answers.", null=True
                    ),
                ),
                ("actor_name", models.CharField(max_length=200)),
                ("text", models.TextField()),
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
                "indexes": [
                    models.Index(fields=["actor", "-occurred_at"], name="message_actor"),
                    models.Index(fields=["-occurred_at", "-id"], name="message_newest"),
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("request_id", "number"), name="message_number"),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("answers", None), ("kind", "question")),
                            models.Q(
                                ("answers__gte", 1),
                                ("answers__lt", models.F("number")),
                                ("kind", "answer"),
                            ),
                            _connector="OR",
                        ),
                        name="message_kind_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("number__gte", 1), models.Q(("text", ""), _negated=True)
                        ),
                        name="message_says_something",
                    ),
                ],
            },
        ),
        append_only("approvals_requestmessage"),
        erasable("approvals_requestmessage", "request_message||request_id,number"),
        migrations.RunSQL(RULES, DROP_RULES),
    ]
