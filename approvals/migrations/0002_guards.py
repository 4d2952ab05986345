"""What the database itself refuses and keeps: append-only tables, the current pointer, follow-ups.

The pointer's trigger runs with its owner's rights, so that the application, which may not write the
pointer, moves it by inserting a revision and in no other way. It refuses a revision that does not
follow the newest one (40001), one whose hash chain is broken, one that changes what was asked for,
and a move that the machine does not have.
"""

from typing import ClassVar

from django.db import migrations

from audit.models.guards import append_only

RECORDS = ("accessrequest", "decision", "grantevent", "notice")
HISTORIES = (
    "historicaluser",
    "historicalgroup",
    "historicalmembership",
    "historicalresource",
    "historicalentitlement",
    "historicalpolicy",
)

POINTER = """
CREATE FUNCTION approvals_point() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE was approvals_currentrequest%ROWTYPE;
BEGIN
  IF NEW.revision = 1 THEN
    IF NEW.state <> 'pending' OR NEW.event <> 'submitted' OR NEW.previous_hash IS NOT NULL THEN
      RAISE EXCEPTION 'a request begins with a pending, submitted revision'
        USING ERRCODE = 'check_violation', CONSTRAINT = 'request_move_legal';
    END IF;
    INSERT INTO approvals_currentrequest (request_id, revision, record_id, hash, state,
        requester_id, subject_id, entitlement_id, submitted_at, due_at, activated_at)
    VALUES (NEW.request_id, 1, NEW.id, NEW.hash, NEW.state, NEW.requester_id, NEW.subject_id,
        NEW.entitlement_id, NEW.submitted_at, NEW.due_at, NEW.activated_at);
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
  IF (NEW.requester_id, NEW.subject_id, NEW.entitlement_id, NEW.submitted_at) IS DISTINCT FROM
     (was.requester_id, was.subject_id, was.entitlement_id, was.submitted_at) THEN
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
      hash = NEW.hash, state = NEW.state, due_at = NEW.due_at, activated_at = NEW.activated_at
  WHERE request_id = NEW.request_id;
  RETURN NULL;
END $$;
CREATE TRIGGER approvals_accessrequest_point AFTER INSERT ON approvals_accessrequest
  FOR EACH ROW EXECUTE FUNCTION approvals_point();
ALTER TABLE approvals_accessrequest ENABLE ALWAYS TRIGGER approvals_accessrequest_point;

CREATE FUNCTION approvals_rebuild_current() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE rebuilt bigint;
BEGIN
  DELETE FROM approvals_currentrequest;
  INSERT INTO approvals_currentrequest (request_id, revision, record_id, hash, state,
      requester_id, subject_id, entitlement_id, submitted_at, due_at, activated_at)
  SELECT DISTINCT ON (request_id) request_id, revision, id, hash, state, requester_id, subject_id,
      entitlement_id, submitted_at, due_at, activated_at
  FROM approvals_accessrequest ORDER BY request_id, revision DESC;
  GET DIAGNOSTICS rebuilt = ROW_COUNT;
  RETURN rebuilt;
END $$;
REVOKE EXECUTE ON FUNCTION approvals_rebuild_current() FROM PUBLIC;
"""
DROP_POINTER = """
DROP TRIGGER approvals_accessrequest_point ON approvals_accessrequest;
DROP FUNCTION approvals_point();
DROP FUNCTION approvals_rebuild_current();
"""

FOLLOW = """
CREATE FUNCTION approvals_follow(keys text[]) RETURNS void LANGUAGE sql AS $$
  INSERT INTO approvals_outboxitem
    (topic, lane, key, payload, not_before, attempts, last_error, created_at)
  VALUES ('directory.changed', 'due', '', jsonb_build_object('keys', keys),
          clock_timestamp(), 0, '', clock_timestamp());
$$;

CREATE FUNCTION approvals_user_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'UPDATE' AND (OLD.manager_id, OLD.is_active, OLD.username)
      IS NOT DISTINCT FROM (NEW.manager_id, NEW.is_active, NEW.username) THEN
    RETURN NULL;
  END IF;
  PERFORM approvals_follow(
    ARRAY['p:' || NEW.id, 'l:' || lower(NEW.username)]
    || CASE WHEN TG_OP = 'UPDATE' THEN ARRAY['l:' || lower(OLD.username)] ELSE '{}' END
    || ARRAY(SELECT 'g:' || g.name FROM approvals_membership m
             JOIN approvals_group g ON g.id = m.group_id WHERE m.person_id = NEW.id));
  RETURN NULL;
END $$;
CREATE TRIGGER approvals_user_follow AFTER INSERT OR UPDATE ON approvals_user
  FOR EACH ROW EXECUTE FUNCTION approvals_user_changed();

CREATE FUNCTION approvals_membership_changed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE keys text[] := '{}';
BEGIN
  IF TG_OP <> 'INSERT' THEN
    SELECT array_agg('g:' || name) INTO keys FROM approvals_group WHERE id = OLD.group_id;
  END IF;
  IF TG_OP <> 'DELETE' THEN
    keys := keys || ARRAY(SELECT 'g:' || name FROM approvals_group WHERE id = NEW.group_id);
  END IF;
  PERFORM approvals_follow(keys);
  RETURN NULL;
END $$;
CREATE TRIGGER approvals_membership_follow
  AFTER INSERT OR UPDATE OR DELETE ON approvals_membership
  FOR EACH ROW EXECUTE FUNCTION approvals_membership_changed();

CREATE FUNCTION approvals_group_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF OLD.name IS DISTINCT FROM NEW.name THEN
    PERFORM approvals_follow(ARRAY['g:' || OLD.name, 'g:' || NEW.name]);
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER approvals_group_follow AFTER UPDATE ON approvals_group
  FOR EACH ROW EXECUTE FUNCTION approvals_group_changed();

CREATE FUNCTION approvals_resource_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF (OLD.owner_id, OLD.is_retired) IS DISTINCT FROM (NEW.owner_id, NEW.is_retired) THEN
    PERFORM approvals_follow(
      ARRAY(SELECT 'r:' || id FROM approvals_entitlement WHERE resource_id = NEW.id));
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER approvals_resource_follow AFTER UPDATE ON approvals_resource
  FOR EACH ROW EXECUTE FUNCTION approvals_resource_changed();

CREATE FUNCTION approvals_entitlement_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF OLD.is_retired IS DISTINCT FROM NEW.is_retired THEN
    PERFORM approvals_follow(ARRAY['e:' || NEW.id]);
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER approvals_entitlement_follow AFTER UPDATE ON approvals_entitlement
  FOR EACH ROW EXECUTE FUNCTION approvals_entitlement_changed();
"""
DROP_FOLLOW = (
    "".join(
        f"DROP TRIGGER approvals_{name}_follow ON approvals_{name};"
        f"DROP FUNCTION approvals_{name}_changed();"
        for name in ("user", "membership", "group", "resource", "entitlement")
    )
    + "DROP FUNCTION approvals_follow(text[]);"
)


class Migration(migrations.Migration):
    dependencies: ClassVar = [("approvals", "0001_initial"), ("audit", "0001_guards")]
    operations: ClassVar = [
        *(append_only(f"approvals_{table}") for table in RECORDS),
        *(append_only(f"approvals_{table}", stamped=False) for table in HISTORIES),
        migrations.RunSQL(POINTER, DROP_POINTER),
        migrations.RunSQL(FOLLOW, DROP_FOLLOW),
    ]
