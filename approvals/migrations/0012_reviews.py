"""Access reviews: the records, and what the database refuses of them.

No decision on one's own access, none on an item that is not the campaign's, none once the campaign
is over; no sign-off before every pinned item is decided.
"""

from typing import ClassVar

import django.db.models.deletion
import uuid_utils.compat
from django.conf import settings
from django.db import migrations, models

from audit.models.erasable import erasable
from audit.models.guards import append_only

RULES = """
CREATE FUNCTION approvals_review_hold(campaign uuid) RETURNS void LANGUAGE sql AS $$
  SELECT pg_advisory_xact_lock(hashtextextended('review:' || campaign, 3));
$$;

CREATE FUNCTION approvals_review_decided() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE it approvals_reviewitem%ROWTYPE;
BEGIN
  PERFORM approvals_review_hold(NEW.campaign_id);
  SELECT * INTO it FROM approvals_reviewitem WHERE item_id = NEW.item_id;
  IF NOT FOUND OR it.campaign_id <> NEW.campaign_id THEN
    RAISE EXCEPTION 'the campaign has no such item'
      USING ERRCODE = 'check_violation', CONSTRAINT = 'review_decision_item';
  END IF;
  IF NEW.actor_id = it.subject_id THEN
    RAISE EXCEPTION 'nobody reviews their own access'
      USING ERRCODE = 'check_violation', CONSTRAINT = 'review_decision_not_own';
  END IF;
  IF EXISTS (SELECT FROM approvals_reviewcampaign
             WHERE campaign_id = NEW.campaign_id AND revision > 1) THEN
    RAISE EXCEPTION 'the campaign is over'
      USING ERRCODE = 'check_violation', CONSTRAINT = 'review_campaign_open';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER approvals_reviewdecision_rules BEFORE INSERT ON approvals_reviewdecision
  FOR EACH ROW EXECUTE FUNCTION approvals_review_decided();
ALTER TABLE approvals_reviewdecision ENABLE ALWAYS TRIGGER approvals_reviewdecision_rules;

CREATE FUNCTION approvals_review_closed() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE was approvals_reviewcampaign%ROWTYPE;
BEGIN
  IF NEW.revision = 1 THEN
    RETURN NEW;
  END IF;
  PERFORM approvals_review_hold(NEW.campaign_id);
  SELECT * INTO was FROM approvals_reviewcampaign
    WHERE campaign_id = NEW.campaign_id AND revision = 1;
  IF NOT FOUND OR (NEW.name, NEW.scope, NEW.resource_id, NEW.resource_name, NEW.risk,
        NEW.reviewers, NEW.on_silence, NEW.items, NEW.opened_at, NEW.due_at)
      IS DISTINCT FROM (was.name, was.scope, was.resource_id, was.resource_name, was.risk,
        was.reviewers, was.on_silence, was.items, was.opened_at, was.due_at) THEN
    RAISE EXCEPTION 'what a campaign is about does not change'
      USING ERRCODE = 'check_violation', CONSTRAINT = 'review_campaign_identity';
  END IF;
  IF NEW.event = 'signed_off' AND (
      (SELECT count(*) FROM approvals_reviewitem i WHERE i.campaign_id = NEW.campaign_id)
        <> NEW.items
      OR (SELECT count(*) FROM approvals_reviewdecision d WHERE d.campaign_id = NEW.campaign_id)
        <> NEW.items) THEN
    RAISE EXCEPTION 'not every item is decided'
      USING ERRCODE = 'check_violation', CONSTRAINT = 'review_campaign_decided';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER approvals_reviewcampaign_rules BEFORE INSERT ON approvals_reviewcampaign
  FOR EACH ROW EXECUTE FUNCTION approvals_review_closed();
ALTER TABLE approvals_reviewcampaign ENABLE ALWAYS TRIGGER approvals_reviewcampaign_rules;
"""
DROP_RULES = """
DROP TRIGGER approvals_reviewcampaign_rules ON approvals_reviewcampaign;
DROP TRIGGER approvals_reviewdecision_rules ON approvals_reviewdecision;
DROP FUNCTION approvals_review_closed();
DROP FUNCTION approvals_review_decided();
DROP FUNCTION approvals_review_hold(uuid);
"""


class Migration(migrations.Migration):
    """See the module."""

    dependencies: ClassVar = [("approvals", "0011_erase_seen")]

    operations: ClassVar = [
        migrations.CreateModel(
            name="ReviewCampaign",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("recorded_at", models.DateTimeField(editable=False, null=True)),
                ("campaign_id", models.UUIDField(default=uuid_utils.compat.uuid7)),
                ("revision", models.PositiveIntegerField(default=1)),
                (
                    "event",
                    models.CharField(
                        choices=[
                            ("opened", "Open"),
                            ("signed_off", "Signed off"),
                            ("cancelled", "Cancelled"),
                        ],
                        default="opened",
                        max_length=10,
                    ),
                ),
                ("name", models.CharField(max_length=100)),
                (
                    "scope",
                    models.CharField(
                        choices=[
                            ("all", "All active access"),
                            ("resource", "Access to one resource"),
                            ("risk", "Access of one risk"),
                        ],
                        max_length=10,
                    ),
                ),
                ("resource_name", models.CharField(blank=True, max_length=100)),
                (
                    "risk",
                    models.CharField(
                        blank=True,
                        choices=[("low", "Low"), ("medium", "Medium"), ("high", "High")],
                        max_length=10,
                    ),
                ),
                (
                    "reviewers",
                    models.CharField(
                        choices=[
                            ("manager", "Each person's manager"),
                            ("owner", "Each resource's owner"),
                        ],
                        max_length=10,
                    ),
                ),
                (
                    "on_silence",
                    models.CharField(
                        choices=[
                            ("remove", "Remove it"),
                            ("report", "Keep it, and report it as not reviewed"),
                        ],
                        max_length=10,
                    ),
                ),
                (
                    "items",
                    models.PositiveIntegerField(
                        help_text="Accesses that were pinned at the opening."
                    ),
                ),
                ("opened_at", models.DateTimeField()),
                ("due_at", models.DateTimeField()),
                ("actor_name", models.CharField(max_length=200)),
                ("comment", models.TextField(blank=True)),
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
                (
                    "resource",
                    models.ForeignKey(
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="approvals.resource",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("campaign_id", "revision"), name="review_campaign_revision"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("event", "opened"), ("revision", 1)),
                            models.Q(("event__in", ["signed_off", "cancelled"]), ("revision", 2)),
                            _connector="OR",
                        ),
                        name="review_campaign_event",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("resource", None), ("risk", ""), ("scope", "all")),
                            models.Q(
                                ("resource__isnull", False), ("risk", ""), ("scope", "resource")
                            ),
                            models.Q(
                                ("resource", None),
                                ("scope", "risk"),
                                models.Q(("risk", ""), _negated=True),
                            ),
                            _connector="OR",
                        ),
                        name="review_campaign_scope",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("reviewers__in", ["manager", "owner"]),
                            ("on_silence__in", ["remove", "report"]),
                            ("due_at__gt", models.F("opened_at")),
                        ),
                        name="review_campaign_terms",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="ReviewDecision",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("recorded_at", models.DateTimeField(editable=False, null=True)),
                ("item_id", models.UUIDField(unique=True)),
                ("campaign_id", models.UUIDField()),
                ("request_id", models.UUIDField()),
                ("actor_name", models.CharField(max_length=200)),
                (
                    "relationship",
                    models.CharField(
                        choices=[
                            ("manager", "Manager"),
                            ("owner", "Owner"),
                            ("compliance", "Compliance"),
                            ("portal", "The portal"),
                        ],
                        max_length=10,
                    ),
                ),
                (
                    "verdict",
                    models.CharField(
                        choices=[
                            ("keep", "Keep"),
                            ("remove", "Remove"),
                            ("gone", "Had ended by itself"),
                            ("unreviewed", "Not reviewed in time"),
                        ],
                        max_length=10,
                    ),
                ),
                ("reason", models.TextField()),
                ("shown_at", models.DateTimeField(null=True)),
                ("seconds", models.PositiveIntegerField(null=True)),
                ("together", models.PositiveIntegerField(default=1)),
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
            ],
            options={
                "indexes": [
                    models.Index(fields=["campaign_id", "actor"], name="review_decision_campaign"),
                    models.Index(fields=["-occurred_at", "-id"], name="review_decision_newest"),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("actor", None),
                                ("relationship", "portal"),
                                ("verdict__in", ["remove", "gone", "unreviewed"]),
                            ),
                            models.Q(
                                ("actor__isnull", False),
                                ("relationship__in", ["manager", "owner", "compliance"]),
                                ("verdict__in", ["keep", "remove"]),
                            ),
                            _connector="OR",
                        ),
                        name="review_decision_by_whom",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("reason", ""), _negated=True), ("together__gte", 1)
                        ),
                        name="review_decision_has_reason",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="ReviewItem",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("recorded_at", models.DateTimeField(editable=False, null=True)),
                (
                    "item_id",
                    models.UUIDField(default=uuid_utils.compat.uuid7, editable=False, unique=True),
                ),
                ("campaign_id", models.UUIDField()),
                ("request_id", models.UUIDField()),
                ("subject_name", models.CharField(max_length=200)),
                ("resource_name", models.CharField(max_length=100)),
                ("entitlement_name", models.CharField(max_length=100)),
                ("risk", models.CharField(max_length=10)),
                ("reviewer_name", models.CharField(blank=True, max_length=200)),
                (
                    "relationship",
                    models.CharField(
                        choices=[
                            ("manager", "Manager"),
                            ("owner", "Owner"),
                            ("compliance", "Compliance"),
                            ("portal", "The portal"),
                        ],
                        max_length=10,
                    ),
                ),
                ("activated_at", models.DateTimeField(null=True)),
                ("ends_at", models.DateTimeField(null=True)),
                ("occurred_at", models.DateTimeField()),
                (
                    "entitlement",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="approvals.entitlement",
                    ),
                ),
                (
                    "reviewer",
                    models.ForeignKey(
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "subject",
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
                    models.Index(fields=["campaign_id", "reviewer"], name="review_item_reviewer")
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("campaign_id", "request_id"), name="review_item_once"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("relationship", "compliance"), ("reviewer", None)),
                            models.Q(
                                ("relationship__in", ["manager", "owner"]),
                                ("reviewer__isnull", False),
                                models.Q(("reviewer", models.F("subject")), _negated=True),
                            ),
                            _connector="OR",
                        ),
                        name="review_item_not_own",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="ReviewShown",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("recorded_at", models.DateTimeField(editable=False, null=True)),
                ("item_id", models.UUIDField()),
                ("occurred_at", models.DateTimeField()),
                (
                    "person",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("item_id", "person"), name="review_shown_once")
                ],
            },
        ),
        append_only("approvals_reviewcampaign"),
        append_only("approvals_reviewitem"),
        append_only("approvals_reviewshown"),
        append_only("approvals_reviewdecision"),
        erasable("approvals_reviewcampaign", "review_campaign||campaign_id"),
        erasable("approvals_reviewitem", "review_item||item_id"),
        erasable("approvals_reviewdecision", "review_decision||item_id"),
        migrations.RunSQL(RULES, DROP_RULES),
    ]
