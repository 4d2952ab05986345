"""What targets said of a person goes with the person's other content when it is erased."""

from typing import ClassVar

from django.db import migrations

SEEN = """
CREATE FUNCTION approvals_erase_seen(person bigint, words text[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
  IF cardinality(audit_erased_now('user', person::text, '')) = 0 THEN
    RAISE EXCEPTION 'person % is not being erased', person USING ERRCODE = 'insufficient_privilege';
  END IF;
  DELETE FROM approvals_finding f WHERE f.person_id = person
    OR EXISTS (SELECT FROM unnest(words) word WHERE word <> '' AND lower(f.login) = lower(word));
  UPDATE approvals_finding f SET kept_because = '[erased]' WHERE f.kept_by_id = person
    OR EXISTS (SELECT FROM unnest(words) word WHERE word <> ''
      AND strpos(lower(f.kept_because), lower(word)) > 0);
  UPDATE approvals_observation o SET error = '' WHERE o.error <> '' AND EXISTS (
    SELECT FROM unnest(words) word WHERE word <> '' AND strpos(lower(o.error), lower(word)) > 0);
  UPDATE approvals_circuit c SET last_error = '[erased]' WHERE EXISTS (
    SELECT FROM unnest(words) word
    WHERE word <> '' AND strpos(lower(c.last_error), lower(word)) > 0);
  UPDATE approvals_incident i SET text = '[erased]' WHERE EXISTS (
    SELECT FROM unnest(words) word WHERE word <> '' AND strpos(lower(i.text), lower(word)) > 0);
  UPDATE approvals_outboxitem o SET last_error = '' WHERE o.last_error <> '' AND EXISTS (
    SELECT FROM unnest(words) word
    WHERE word <> '' AND strpos(lower(o.last_error), lower(word)) > 0);
END $$;
REVOKE EXECUTE ON FUNCTION approvals_erase_seen(bigint, text[]) FROM PUBLIC;
"""


class Migration(migrations.Migration):
    dependencies: ClassVar = [("approvals", "0010_heartbeats")]

    operations: ClassVar = [
        migrations.RunSQL(SEEN, "DROP FUNCTION approvals_erase_seen(bigint, text[]);")
    ]
