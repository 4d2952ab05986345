"""What access is the same at a target (the lease), and requests that extend others.

The pointer learns both columns from its trigger. One request waits per subject and entitlement, and
one is active; what waits beside active access extends it. The trigger refuses any other.
"""

from typing import ClassVar

from django.db import migrations, models

COLUMNS = """request_id, revision, record_id, hash, state, requester_id, subject_id, entitlement_id,
      submitted_at, due_at, activated_at, extends, lease"""
#: Requests that were approved before leases were pinned have one per subject and entitlement.
LEASE = """CASE WHEN {row}target ? 'lease' THEN {row}target ->> 'lease'
      WHEN {row}target = '{{}}' THEN ''
      ELSE 'grant:' || {row}subject_id || ':' || {row}entitlement_id END"""

POINTER = f"""
CREATE OR REPLACE FUNCTION approvals_point() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE was approvals_currentrequest%ROWTYPE;
BEGIN
  IF NEW.revision = 1 THEN
    IF NEW.state <> 'pending' OR NEW.event <> 'submitted' OR NEW.previous_hash IS NOT NULL THEN
      RAISE EXCEPTION 'a request begins with a pending, submitted revision'
        USING ERRCODE = 'check_violation', CONSTRAINT = 'request_move_legal';
    END IF;
    IF NEW.extends IS NULL THEN
      IF EXISTS (SELECT FROM approvals_currentrequest WHERE subject_id = NEW.subject_id
                 AND entitlement_id = NEW.entitlement_id AND state IN ('active', 'revoking')) THEN
        RAISE EXCEPTION 'the subject has this access already'
          USING ERRCODE = 'unique_violation', CONSTRAINT = 'one_open_request';
      END IF;
    ELSIF NOT EXISTS (SELECT FROM approvals_currentrequest WHERE request_id = NEW.extends
                      AND subject_id = NEW.subject_id AND entitlement_id = NEW.entitlement_id
                      AND state = 'active') THEN
      RAISE EXCEPTION 'only active access of the same subject and entitlement can be extended'
        USING ERRCODE = 'check_violation', CONSTRAINT = 'request_extends_active';
    END IF;
    INSERT INTO approvals_currentrequest ({COLUMNS})
    VALUES (NEW.request_id, 1, NEW.id, NEW.hash, NEW.state, NEW.requester_id, NEW.subject_id,
        NEW.entitlement_id, NEW.submitted_at, NEW.due_at, NEW.activated_at, NEW.extends,
        {LEASE.format(row="NEW.")});
    RETURN NULL;
  END IF;
  SELECT * INTO was FROM approvals_currentrequest WHERE request_id = NEW.request_id FOR UPDATE;
  IF NOT FOUND OR was.revision <> NEW.revision - 1 THEN
    RAISE EXCEPTION 'stale revision: % is at %, so % does not follow',
      NEW.request_id, was.revision, NEW.revision USING ERRCODE = '40001';
  END IF;
  IF NEW.previous_hash IS DISTINCT FROM was.hash THEN
    RAISE EXCEPTION 'revision % of % does not commit to the one before', NEW.revision,
      NEW.request_id USING ERRCODE = 'check_violation', CONSTRAINT = 'request_hash_chain';
  END IF;
  IF (NEW.requester_id, NEW.subject_id, NEW.entitlement_id, NEW.submitted_at, NEW.extends)
     IS DISTINCT FROM
     (was.requester_id, was.subject_id, was.entitlement_id, was.submitted_at, was.extends) THEN
    RAISE EXCEPTION 'what was asked for does not change'
      USING ERRCODE = 'check_violation', CONSTRAINT = 'request_identity';
  END IF;
  IF (was.state::text, NEW.event::text, NEW.state::text) NOT IN (
      ('pending', 'voted', 'pending'), ('pending', 'escalated', 'pending'),
      ('pending', 'approved', 'approved'), ('pending', 'denied', 'denied'),
      ('pending', 'cancelled', 'cancelled'), ('pending', 'lapsed', 'lapsed'),
      ('approved', 'cancelled', 'cancelled'), ('approved', 'failed', 'failed'),
      ('approved', 'activated', 'active'), ('active', 'ended', 'revoking'),
      ('revoking', 'confirmed', 'expired'), ('revoking', 'confirmed', 'revoked')) THEN
    RAISE EXCEPTION 'no move from % by % to %', was.state, NEW.event, NEW.state
      USING ERRCODE = 'check_violation', CONSTRAINT = 'request_move_legal';
  END IF;
  UPDATE approvals_currentrequest SET revision = NEW.revision, record_id = NEW.id,
      hash = NEW.hash, state = NEW.state, due_at = NEW.due_at, activated_at = NEW.activated_at,
      lease = {LEASE.format(row="NEW.")}
  WHERE request_id = NEW.request_id;
  RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION approvals_rebuild_current() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE rebuilt bigint;
BEGIN
  DELETE FROM approvals_currentrequest;
  INSERT INTO approvals_currentrequest ({COLUMNS})
  SELECT DISTINCT ON (request_id) request_id, revision, id, hash, state, requester_id, subject_id,
      entitlement_id, submitted_at, due_at, activated_at, extends, {LEASE.format(row="")}
  FROM approvals_accessrequest ORDER BY request_id, revision DESC;
  GET DIAGNOSTICS rebuilt = ROW_COUNT;
  RETURN rebuilt;
END $$;
"""  # noqa: S608 - constants only
REBUILD = """
SELECT approvals_rebuild_current();
SET CONSTRAINTS ALL IMMEDIATE;
SET CONSTRAINTS ALL DEFERRED;
"""
WAITING = models.Q(("state__in", ["pending", "approved"]))


class Migration(migrations.Migration):
    dependencies: ClassVar = [("approvals", "0005_credentials")]
    operations: ClassVar = [
        migrations.AddField(
            "accessrequest",
            "extends",
            models.UUIDField(help_text="The request whose access it prolongs.", null=True),
        ),
        migrations.AddField("currentrequest", "extends", models.UUIDField(null=True)),
        migrations.AddField(
            "currentrequest",
            "lease",
            models.CharField(
                blank=True,
                default="",
                help_text="Equal for grants that make the same access.",
                max_length=100,
            ),
            preserve_default=False,
        ),
        # Not reversible: requests that extend others would break the constraints from before.
        migrations.RunSQL(POINTER),
        migrations.RunSQL(REBUILD),
        migrations.RemoveConstraint("currentrequest", "one_open_request"),
        migrations.AddConstraint(
            "currentrequest",
            models.UniqueConstraint(
                condition=WAITING, fields=("subject", "entitlement"), name="one_open_request"
            ),
        ),
        migrations.AddConstraint(
            "currentrequest",
            models.UniqueConstraint(
                condition=models.Q(("state", "active")),
                fields=("subject", "entitlement"),
                name="one_active_request",
            ),
        ),
        migrations.AddConstraint(
            "currentrequest",
            models.UniqueConstraint(
                condition=models.Q(("extends__isnull", False)) & WAITING,
                fields=("extends",),
                name="one_extension",
            ),
        ),
        migrations.AddIndex(
            "currentrequest",
            models.Index(
                condition=models.Q(("state__in", ["active", "revoking"])),
                fields=["lease", "due_at"],
                name="current_lease",
            ),
        ),
    ]
